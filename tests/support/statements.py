"""The statements that the program sends: heard while it works, and taken apart as far as tests ask about them."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

from collector.storage.database import Connection

Crossing = tuple[str, str]
"""A table that a statement names without saying of which site, and the statement."""

_ABOUT_ROWS = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|COPY)\b")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_QUERY = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_ARMS = re.compile(r"\b(?:UNION ALL|UNION|EXCEPT|INTERSECT)\b")
_EQUAL = re.compile(r"(?:\b(\w+)\.)?\bsite = (?:\?\d*|\$\d+|(\w+)\.site\b)")
_NO_ALIAS = "cross|for|from|full|group|indexed|inner|join|left|limit|not|on|order|returning|right|set|union|using|values|where"
_NAMED = re.compile(
    rf"(?:\b(?:FROM|JOIN|UPDATE|INTO)|,) +(?:ONLY +)?(\w+)\b(?!\.)(?: +(?:AS +)?(?!(?:{_NO_ALIAS})\b)(\w+))?", re.IGNORECASE
)


@contextmanager
def heard() -> Iterator[set[str]]:
    """Hear every statement that goes to a database of this process meanwhile, but for COPY into a table, which names its columns."""
    statements: set[str] = set()
    dialect = Connection._dialect

    def listening(self: Connection, sql: str) -> str:
        statements.add(sql)
        return dialect(self, sql)

    with patch.object(Connection, "_dialect", listening):
        yield statements


class _Query(NamedTuple):
    """A query or statement without those inside of it, which are named by their places; and the query that it stands in."""

    text: str
    around: int | None


def crossings(statements: Collection[str], tables: Collection[str]) -> list[Crossing]:
    """Return which of these tables of sites the statements name without the site that is meant, as a value of the statement.

    It is enough that the table's site equals that of another table, of which the same is known.
    """
    return sorted((table, sql) for sql in statements if _ABOUT_ROWS.match(sql) for table in _unbound(sql, frozenset(tables)))


def _unbound(sql: str, tables: frozenset[str]) -> set[str]:
    queries = _taken_apart(sql)
    found: set[str] = set()
    bound: dict[int, set[str]] = {}
    for place, (text, around) in sorted(queries.items()):  # whatever stands around a query has a lower number
        outer = set() if around is None else bound[around]
        bound[place] = set(outer)
        for arm in _ARMS.split(text):
            named = _named(arm, tables)
            known = _known(arm, set(named), (outer - named.keys()) | _made_here(arm))
            bound[place] |= known
            found |= {table for alias, table in named.items() if alias not in known}
    return found


def _taken_apart(sql: str) -> dict[int, _Query]:
    """Return a statement (0) and every query inside of it, each in the place of parentheses; numbers grow towards the inside."""
    text, parts = " ".join(_TEXT.sub("''", sql).split()), list[str]()
    while (match := _INNERMOST.search(text)) is not None:
        inside = match[1]
        if _QUERY.match(inside):
            parts.append(inside)
            replacement = f" query{len(parts)} "
        else:  # a list, a call, a condition
            replacement = f" {inside.replace(',', ' ')} "
        if re.search(r"\bINTO \w+ *$", text[: match.start()]):
            replacement = f" <{inside}> "
        text = text[: match.start()] + replacement + text[match.end() :]
    found = {0: _Query(text, None)}
    pending = [(0, text)]
    while pending:
        around, outer = pending.pop()
        for number in re.findall(r"\bquery(\d+)\b", outer):
            place = len(found)
            found[place] = _Query(parts[int(number) - 1], around)
            pending.append((place, parts[int(number) - 1]))
    return found


def _named(arm: str, tables: frozenset[str]) -> dict[str, str]:
    """Return the tables of sites that a query names, by what they are called in it. An INSERT that gives the site names none."""
    given = {match[1] for match in re.finditer(r"\bINTO (\w+) *<([^>]*)>", arm) if "site" in match[2].replace(",", " ").split()}
    found: dict[str, str] = {}
    for match in _NAMED.finditer(arm):
        table, alias = match[1], match[2]
        inserted = match[0].upper().startswith("INTO")
        if plain(table) in tables and not (inserted and table in given):
            found[alias or table] = table
    return found


def _known(arm: str, named: set[str], known: set[str]) -> set[str]:
    """Return what in a query is of one site, from what is known to be."""
    found = set(known)
    pairs = [(match[1] or "", match[2]) for match in _EQUAL.finditer(arm)]
    while True:
        before = len(found)
        for left, right in pairs:
            sides = {left} if left else named or {""}
            if right is None or right in found:
                found |= sides
            elif sides & found:
                found.add(right)
        if len(found) == before:
            return found


def _made_here(arm: str) -> set[str]:
    """Return what queries inside of this one are called: their rows are of one site, or are found there."""
    return set(re.findall(r"\bquery\d+ +(?:AS +)?(\w+)", arm)) | set(re.findall(r"\b(\w+) AS (?:MATERIALIZED )?query\d+", arm))


def plain(table: str) -> str:
    """Return what a table is called that may be one of a week."""
    return "events" if re.fullmatch(r"events_\d+", table) else table


class Written(NamedTuple):
    """What statements write: the columns of each INSERT by table, the columns set in each table, and the tables deleted from."""

    inserted: dict[str, set[frozenset[str]]]
    changed: dict[str, set[str]]
    deleted: set[str]


_INSERT = re.compile(r"\s*INSERT INTO (\w+) \(([^)]*)\)")
_CHANGE = re.compile(r"\s*UPDATE (\w+)\b|\s*INSERT INTO (\w+)\b.*\bDO UPDATE\b", re.DOTALL)
_SET = re.compile(r"(?:\bSET|,)\s+(\w+) = ")
_DELETE = re.compile(r"\s*DELETE FROM (\w+)")


def written(statements: Collection[str]) -> Written:
    """Return what statements write."""
    found = Written({}, {}, set())
    for sql in statements:
        if (insert := _INSERT.match(sql)) is not None:
            found.inserted.setdefault(plain(insert[1]), set()).add(frozenset(insert[2].split(", ")))
        if (change := _CHANGE.match(sql)) is not None:
            found.changed.setdefault(plain(change[1] or change[2]), set()).update(_SET.findall(sql))
        if (delete := _DELETE.match(sql)) is not None:
            found.deleted.add(plain(delete[1]))
    return found


def unlike(new: Written, known: Written, tables: Collection[str]) -> set[str]:
    """Return, in words, what is written into these tables now and was not. An INSERT may leave columns out that stay null."""
    inserts = {
        f"INSERT INTO {table} ({', '.join(sorted(columns))})"
        for table in new.inserted.keys() & set(tables)
        for columns in new.inserted[table]
        if not any(columns <= one for one in known.inserted.get(table, ()))
    }
    changes = {
        f"UPDATE {table} SET {column}"
        for table in new.changed.keys() & set(tables)
        for column in new.changed[table] - known.changed.get(table, set())
    }
    return inserts | changes | {f"DELETE FROM {table}" for table in (new.deleted - known.deleted) & set(tables)}
