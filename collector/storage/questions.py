"""Questions that are asked together: of PostgreSQL as one statement, whose row holds what each of them finds as JSON."""

import functools
from typing import Any, NamedTuple

import msgspec
import psycopg


class Question(NamedTuple):
    """A query, its parameters, and which of its columns hold bytes.

    Every column has a name of its own, but for `q`, and holds whole numbers, text or bytes: what goes through JSON unchanged.
    """

    sql: str
    parameters: tuple[Any, ...]
    of_bytes: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=64)
def together(queries: tuple[str, ...]) -> str:
    """Return the statement of PostgreSQL's that asks these queries; each column of its row is what one of them finds, as JSON."""
    return "SELECT " + ", ".join(f"(SELECT json_agg(q)::text FROM ({query}) q)" for query in queries)


def rows_of(text: str | None, question: Question) -> list[tuple[Any, ...]]:
    """Return the rows that JSON holds, as the question alone would have them; None where it finds nothing."""
    rows = _decode(text) if text else []
    for row in rows if question.of_bytes else ():
        for name in question.of_bytes:
            if row[name] is not None:
                row[name] = bytes(_unescape(row[name].encode()))
    return [tuple(row.values()) for row in rows]


_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode
_unescape = psycopg.pq.Escaping().unescape_bytea
