"""Attributes: one current value about a person, with where it came from and when.

Each identity keeps its own value; the person's stands on the principal's row: the user's own where it has one, else the newest
among its leads. Own values are ordered by (source, time, text of the value), so that the order of
arrival does not matter and an unverified browser never displaces what REST or a verified browser set.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from collector.domain.identities import EMAIL, LEAD, USER, Identity, marks
from collector.domain.names import ATTRIBUTE, Names
from collector.storage.database import Connection
from collector.values.text import fold

BROWSER = 1
"""Source of a lead or an unverified user id."""
TRUSTED = 2
"""Source of REST, the console, import, or a verified user id."""

_RANKS = {LEAD: 0, EMAIL: 1, USER: 2}
"""A user's own value counts before that of the email it was known by first, and both before those of its leads."""

Own = tuple[str, int, int]
"""An identity's own value: JSON, time in ms, source."""


class Folded(NamedTuple):
    """The person's half of a row: JSON, its number or folded text where it is one, time in ms, source. All None where unset."""

    value: str | None
    num: float | None
    folded: str | None
    set_at: int | None
    source: int | None


UNSET = Folded(None, None, None, None, None)


def apply(tx: Connection, site: int, names: Names, identity: Identity, values: Mapping[str, Any], at_ms: int, source: int) -> list[str]:
    """Set attributes of an identity and re-fold the person's; return the names whose present value outranks the new one's source."""
    if not values:
        return []
    numbers = {names.number(site, ATTRIBUTE, name): name for name in values}
    own = {
        attr: (value, at, rank)
        for attr, value, at, rank in tx.rows(
            f"SELECT attr, own_value, own_at, own_source FROM attributes "
            f"WHERE site = ? AND identity = ? AND attr IN ({marks(list(numbers))}) AND own_value IS NOT NULL",
            (site, identity.id, *numbers),
        )
    }
    changed: list[tuple[int, Own]] = []
    outranked: list[str] = []
    for attr, name in numbers.items():
        if attr is None:
            raise LookupError(f"the attribute {name!r} was not allocated beforehand")
        new: Own = (json.dumps(values[name], ensure_ascii=False), at_ms, source)
        present = own.get(attr)
        if present is not None and present[2] > source:
            if present[0] != new[0]:
                outranked.append(name)
        elif present is None or _order(new) > _order(present):
            changed.append((attr, new))
    tx.run_many(
        "INSERT INTO attributes (site, attr, identity, own_value, own_at, own_source) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (site, attr, identity) DO UPDATE SET own_value = excluded.own_value, own_at = excluded.own_at, "
        "own_source = excluded.own_source",
        [(site, attr, identity.id, *new) for attr, new in sorted(changed)],
    )
    refold(tx, site, identity.principal_id, [attr for attr, _ in changed])
    return outranked


def refold(tx: Connection, site: int, principal_id: int, attrs: Iterable[int]) -> None:
    """Work out the person's value of these attributes anew from what each of its identities has of its own."""
    wanted = sorted(set(attrs))
    if not wanted:
        return
    rows = tx.rows(
        "SELECT a.attr, i.kind, a.own_value, a.own_at, a.own_source FROM attributes a "
        "JOIN identities i ON i.site = a.site AND i.id = a.identity "
        f"WHERE a.site = ? AND a.attr IN ({marks(wanted)}) AND i.principal_id = ? AND a.own_value IS NOT NULL",
        (site, *wanted, principal_id),
    )
    for attr in wanted:
        tx.run(
            "INSERT INTO attributes (site, attr, identity, value, num, folded, set_at, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (site, attr, identity) DO UPDATE SET value = excluded.value, num = excluded.num, folded = excluded.folded, "
            "set_at = excluded.set_at, source = excluded.source",
            (site, attr, principal_id, *fold_own((kind, (value, at, source)) for a, kind, value, at, source in rows if a == attr)),
        )


def fold_own(own: Iterable[tuple[str, Own]]) -> Folded:
    """Return what a person's identities, each with its kind, make of their own values of one attribute."""
    candidates = [(_RANKS[kind], *_order(value)) for kind, value in own]
    if not candidates:
        return UNSET
    _, source, at, text = max(candidates)
    value = json.loads(text)
    return Folded(text, _number(value), fold(value) if isinstance(value, str) else None, at, source)


def absorb(tx: Connection, site: int, lead_id: int, principal_id: int) -> None:
    """Take a lead's attributes into the person that now owns it (the pointer has moved already)."""
    attrs = [row[0] for row in tx.rows("SELECT attr FROM attributes WHERE site = ? AND identity = ?", (site, lead_id))]
    tx.run(
        "UPDATE attributes SET value = NULL, num = NULL, folded = NULL, set_at = NULL, source = NULL WHERE site = ? AND identity = ?",
        (site, lead_id),
    )
    refold(tx, site, principal_id, attrs)


def of_person(connection: Connection, site: int, names: Names, principal_id: int) -> dict[str, Any]:
    """Return the person's values by attribute name; what was unset is left out."""
    rows = connection.rows("SELECT attr, value FROM attributes WHERE site = ? AND identity = ? AND value IS NOT NULL", (site, principal_id))
    decoded = ((names.text(site, attr), json.loads(value)) for attr, value in rows)
    return {name: value for name, value in decoded if value is not None}


def _order(own: Own) -> tuple[int, int, str]:
    value, at, source = own
    return (source, at, value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # beyond every double, as comparisons have to see it
        return float("inf") if value > 0 else float("-inf")
