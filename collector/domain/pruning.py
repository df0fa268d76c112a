"""Pruning: weeks that the timeline has left behind are closed, added to the totals' base, and dropped. No total changes by it.

`own = imported + base + the rows of the slices` holds after every step, since a step moves counts and says how far it came in one
transaction (`slice_sites.moved`). Whatever is interrupted goes on where it stopped, from any process.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from collector.domain import identities
from collector.domain.deletion import Transact
from collector.domain.rounds import Attempt, raising
from collector.domain.sites import site_ids
from collector.storage.database import Connection, Database
from collector.storage.slices import CLOSED, DRIFT, OVERFLOW, Slices, note_overflow, numbers_in, wipe
from collector.values.ids import first_event_id

STEP = {"sqlite": 1_000, "postgresql": 10_000}
"""Events moved in one transaction, about: an identity is moved whole."""


PART = "weeks"
"""What pruning is called as a part of upkeep."""
_NOTHING_MOVED = -1
"""How far moving came where it has not begun: before every identity."""
_LOCK = 7_305_808_869_229_540  # PostgreSQL advisory lock; any fixed number


class Step(msgspec.Struct, frozen=True):
    """What one transaction did: `closed`, `moved`, `wiped` or `dropped`, in which slice, and how many events it touched."""

    what: str
    slice: int
    events: int = 0


def prune(
    database: Database,
    slices: Slices,
    transact: Transact,
    now_ms: int,
    retention_ms: int,
    attempt: Attempt = raising,
    leave: Callable[[str], None] | None = None,
    clock_ms: int | None = None,
) -> Iterator[Step]:
    """Prune whatever is due, one transaction after the other; between two the caller may rest, or stop.

    `now_ms` is the present that is believed, `clock_ms` what the clock says, where that is later. Where another process of the installation
    prunes, nothing is done, and `leave` is told so. A week stays for as long as one site's events of it cannot be moved.
    """
    with database.alone(_LOCK) as alone:
        if alone:
            yield from _prune(database, slices, transact, now_ms, retention_ms, attempt, max(now_ms, clock_ms or 0))
        elif leave is not None:
            leave(PART)


def _prune(
    database: Database, slices: Slices, transact: Transact, now_ms: int, retention_ms: int, attempt: Attempt, clock_ms: int
) -> Iterator[Step]:
    for number in slices.closable(now_ms, retention_ms):
        with attempt(PART, 0):
            transact(functools.partial(_close, slices=slices, number=number))
            slices.forget()
            yield Step("closed", number)
    with database.read() as connection:
        closed = numbers_in(connection, CLOSED)
        sites = site_ids(connection)
    for number in closed:
        moved = 0
        for site in sites:
            with attempt(PART, site):
                yield from _move(database, transact, number, site, STEP[database.engine])
                moved += 1
        if moved < len(sites):
            continue
        with attempt(PART, 0):
            for site in sites if database.engine == "sqlite" else ():
                yield from _wipe(transact, number, site)
            slices.drop(database, number)
            yield Step("dropped", number)
    for site in sites:
        with attempt(PART, site):
            yield from _move_overflow(database, transact, site, now_ms - retention_ms - DRIFT, clock_ms)


def _close(tx: Connection, *, slices: Slices, number: int) -> int:
    slices.close(tx, number)
    return 0


class _Sums(msgspec.Struct, frozen=True):
    """What the identities after `before` up to `upto` did in a closed slice: (name, identity, count, last, first)."""

    before: int
    upto: int
    rows: list[tuple[int, int, int, int, int]]


def _move(database: Database, transact: Transact, number: int, site: int, limit: int) -> Iterator[Step]:
    """Add one site's counts of a closed slice to the base, identity by identity.

    One of them may have millions of events, so they are counted while nobody waits. What is closed takes nothing any more, and loses only
    what those did who are deleted, who have no totals: so what was counted holds for as long as nobody else moves it.
    """
    while (found := _count(database, number, site, limit)) is not None:
        moved = transact(functools.partial(_move_counted, number=number, site=site, found=found))
        if moved:
            yield Step("moved", number, moved)


def _count(database: Database, number: int, site: int, limit: int) -> _Sums | None:
    """Count what is to be moved next; None where there is nothing, or no such slice any more."""
    with database.snapshot() as connection:
        if number not in numbers_in(connection, CLOSED):
            return None
        before = connection.value("SELECT moved FROM slice_sites WHERE site = ? AND slice = ?", (site, number))
        before = _NOTHING_MOVED if before is None else before
        events = f"FROM events_{number} WHERE site = ? AND identity > ?"
        upto = connection.value(f"SELECT identity {events} ORDER BY identity LIMIT 1 OFFSET ?", (site, before, limit - 1))
        if upto is None:
            upto = connection.value(f"SELECT max(identity) {events}", (site, before))
        if upto is None:
            return None
        found = f"{events} AND identity <= ? GROUP BY name, identity ORDER BY name, identity"
        rows = connection.rows(f"SELECT name, identity, count(*), max(at), min(at) {found}", (site, before, upto))
        return _Sums(before, upto, rows)


def _move_counted(tx: Connection, number: int, site: int, found: _Sums) -> int:
    """Add what was counted to the base and say how far that came, unless another has moved it meanwhile."""
    if number not in numbers_in(tx, CLOSED):
        return 0
    tx.insert("slice_sites", ("site", "slice", "moved"), [(site, number, _NOTHING_MOVED)], "ON CONFLICT DO NOTHING")
    cursor = f"SELECT moved FROM slice_sites WHERE site = ? AND slice = ?{tx.lock_suffix()}"
    if tx.value(cursor, (site, number)) != found.before:
        return 0
    add_to_base(tx, site, found.rows)
    tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", (found.upto, site, number))
    return sum(row[2] for row in found.rows)


def _wipe(transact: Transact, number: int, site: int) -> Iterator[Step]:
    """Delete what one site has in a closed slice, all of it moved before."""
    while True:
        wiped = transact(lambda tx: wipe(tx, site, number, STEP["sqlite"]) if number in numbers_in(tx, CLOSED) else 0)
        if not wiped:
            return
        yield Step("wiped", number, wiped)


def _move_overflow(database: Database, transact: Transact, site: int, before_ms: int, clock_ms: int) -> Iterator[Step]:
    """Move events of the overflow that arrived before a time, and delete them: this table stays.

    Of those that are due no index tells, which each event would pay for. So they are looked for while nobody waits, page by page.
    """
    # When they arrived, a collector's clock said, which may have been behind; that an id was made lately is another word for that. Those
    # of whom was deleted are somebody else's to wipe, who has to find them.
    due = "coalesce(arrived_at, at) < ? AND NOT (id >= ? AND id < ?) AND identity NOT IN (SELECT identity FROM deletions WHERE site = ?)"
    bounds = (before_ms, first_event_id(before_ms), first_event_id(clock_ms + 1), site)
    look = f"SELECT id FROM events_{OVERFLOW} WHERE site = ? AND slice = ? AND id > ? AND {due} ORDER BY id LIMIT ?"
    last = b""
    while True:
        with database.read() as connection:
            found = [bytes(row[0]) for row in connection.rows(look, (site, OVERFLOW, last, *bounds, STEP["sqlite"]))]
        if not found:
            return
        last = found[-1]
        moved = transact(functools.partial(_move_these, site=site, found=found, due=due, bounds=bounds))
        if moved:
            yield Step("moved", OVERFLOW, moved)


def _move_these(tx: Connection, site: int, found: Sequence[bytes], due: str, bounds: Sequence[Any]) -> int:
    """Move events that were found, as far as they still are there and due."""
    among, parameters = tx.among(found)
    rows = tx.rows(
        f"DELETE FROM events_{OVERFLOW} WHERE site = ? AND slice = ? AND id {among} AND {due} "
        "RETURNING name, identity, at, coalesce(arrived_at, at)",
        (site, OVERFLOW, *parameters, *bounds),
    )
    counts: dict[tuple[int, int], list[int]] = {}
    for name, identity, at, _ in rows:
        known = counts.setdefault((name, identity), [0, at, at])
        known[:] = [known[0] + 1, max(known[1], at), min(known[2], at)]
    add_to_base(tx, site, [(*key, *counted) for key, counted in sorted(counts.items())])
    if rows:
        note_overflow(tx, max(arrived for *_, arrived in rows))
    return len(rows)


def add_to_base(tx: Connection, site: int, rows: list[tuple[Any, ...]]) -> None:
    """Add (name, identity, count, last, first) to the pruned part of their totals. Whoever was deleted has none any more.

    A merge takes many totals of one person, and its group those of others after that: no order of rows fits both, so who they are of is
    locked first.
    """
    identities.lock(tx, site, {identity for _, identity, *_ in rows})
    tx.run_many(
        "UPDATE totals SET base_count = base_count + ?, base_last = larger(coalesce(base_last, ?), ?), "
        "base_first = lesser(coalesce(base_first, ?), ?) WHERE site = ? AND name = ? AND identity = ?",
        [(count, last, last, first, first, site, name, identity) for name, identity, count, last, first in rows],
    )
