"""The slices: what is written down about them against the tables there are, and each event in the slice it belongs to."""

from collections.abc import Iterator
from typing import Any

from collector.domain.checks.findings import Finding, Part, Slice
from collector.storage.database import Connection
from collector.storage.slices import CLOSED, OPEN, OVERFLOW, PRUNED, WEEK
from collector.storage.snapshots import event_tables, in_timeline, refuses


def slices(connection: Connection) -> tuple[list[Slice], list[Finding]]:
    """Return the slices whose rows count, and what is wrong with any."""
    states: dict[int, str] = dict(connection.rows("SELECT slice, state FROM slices ORDER BY slice"))
    tables = event_tables(connection)
    cursors: dict[int, dict[int, int]] = {}
    for site, number, moved in connection.rows("SELECT site, slice, moved FROM slice_sites"):
        cursors.setdefault(number, {})[site] = moved
    found: list[Finding] = []
    for number in sorted(states.keys() | tables | cursors.keys()):
        wrong = list(_wrong(connection, number, states.get(number), number in tables, number in cursors))
        found += [Finding("slice", expected, f"{what} (slice {number})") for expected, what in wrong]
    counted = [Slice(number, cursors.get(number, {})) for number, state in states.items() if state in (OPEN, CLOSED) and number in tables]
    return counted, found


def _wrong(connection: Connection, number: int, state: str | None, table: bool, cursor: bool) -> Iterator[tuple[str, str]]:
    if state not in (OPEN, CLOSED, PRUNED):
        yield "open, closed or pruned", f"{'a table' if table else 'a cursor'} of no slice" if state is None else state
        return
    if state == PRUNED and table:
        yield "no table of a pruned slice", "a table"
    elif state != PRUNED and not table:
        yield f"the table of a slice that is {state}", "none"
    elif state == OPEN and not in_timeline(connection, number):
        yield "the timeline reads every open slice", "it does not"
    elif state == CLOSED and not refuses(connection, number):
        yield "a closed slice takes no event", "it does"
    if state != OPEN and number == OVERFLOW:
        yield "the overflow is always open", state
    if cursor and state != CLOSED:
        yield "cursors of closed slices only", f"one of a slice that is {state}"


def places(whole: Part) -> Iterator[Finding]:
    """Each event stands in the week of its id, or in the overflow; no id in both."""
    for one in whole.slices:
        number, site = one.number, whole.site
        beyond = f"SELECT identity, count(*) FROM events_{number} WHERE site = ? AND slice {{}} ? GROUP BY identity"
        wrong: list[tuple[str, tuple[Any, ...]]] = [(beyond.format(sign), (site, number)) for sign in ("<", ">")]
        if number != OVERFLOW:
            week = f"SELECT identity, count(*) FROM events_{number} WHERE site = ? AND slice = ? AND id {{}} ? GROUP BY identity"
            wrong += [(week.format(sign), (site, number, _first_id(bound))) for sign, bound in (("<", number), (">=", number + 1))]
        for sql, parameters in wrong:
            for identity, count in whole.rows(sql, parameters):
                yield whole.finding("event_slice", f"ids and slice of week {number}", f"{count} events of another", identity)
        if number != OVERFLOW and any(other.number == OVERFLOW for other in whole.slices):
            bounds = (site, OVERFLOW, _first_id(number), _first_id(number + 1), site, number)
            for identity, count in whole.rows(_TWICE.format(number), bounds):
                yield whole.finding("event_twice", f"an id in the overflow or in week {number}", f"{count} in both", identity)


_TWICE = f"""SELECT o.identity, count(*) FROM events_{OVERFLOW} o WHERE o.site = ? AND o.slice = ? AND o.id >= ? AND o.id < ?
AND EXISTS (SELECT 1 FROM events_{{}} e WHERE e.site = ? AND e.slice = ? AND e.id = o.id) GROUP BY o.identity"""


def _first_id(week: int) -> bytes:
    """Return the bytes that the ids of a week begin with at the least."""
    return (week * WEEK).to_bytes(6, "big")
