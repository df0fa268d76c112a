"""Deletion: a person is gone from every table, and only a keyed tombstone remembers that somebody was deleted.

The person disappears in one commit. Its events may be many; they are wiped after that in steps, and what is still to be wiped is
written down, so that whoever comes next goes on where another was interrupted. No reader finds events without their identity.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from collector.domain import changes, former_addresses, identities, tombstones
from collector.domain.identities import EMAIL, LEAD, Identity, Key, marks
from collector.domain.names import STANDARD_ATTRIBUTES
from collector.domain.secrets import Keyring
from collector.domain.tombstones import CONTACT
from collector.storage.database import Connection, Database
from collector.storage.slices import Slices
from collector.values.ids import RowIds

Transact = Callable[[Callable[[Connection], int]], int]
"""Runs work in a transaction and returns what it returns: `Database.transact`, or the writer of a serving process."""

STEP = 1_000
"""Events wiped in one transaction, so that nobody waits long for the database."""
_CHUNK = 400


def erase(database: Database, slices: Slices, transact: Transact, keyring: Keyring, site: int, person: int, now_ms: int) -> bool:
    """Delete a person whole and return when no row of it is left; False where there is none.

    SQLite's file is overwritten where the rows stood. Copies may stay in unused parts of it, and in its log where somebody reads there
    now, until the next round of upkeep (`rewriting`), which the first commit asks for: nothing rests on whether the log can be cut here.
    """
    if not transact(lambda tx: int(delete_person(tx, site, keyring, person, now_ms))):
        return False
    for _ in wipe(database, slices, transact, site):
        pass
    database.cut_log()
    return True


def delete_person(tx: Connection, site: int, keyring: Keyring, person: int, now_ms: int) -> bool:
    """Delete a person (its principal's row id) with all its identities; False where there is none. Their events are wiped by `wipe`."""
    members = _locked(tx, site, person)
    if not members:
        return False
    _remember(tx, site, keyring, members, now_ms)
    _remove(tx, site, [one.id for one in members], now_ms)
    tx.owe_rewriting()
    return True


def delete_silent_lead(tx: Connection, site: int, lead: int, before_ms: int, now_ms: int) -> bool:
    """Delete a lead that was not seen since `before_ms`, has no email and belongs to nobody; False where that is not so (any more).

    No tombstone is set: all that could come late is older than the timeline.
    """
    members = _locked(tx, site, lead)
    if len(members) != 1 or members[0].kind != LEAD or (members[0].active_at or members[0].created_at) >= before_ms:
        return False
    if tx.row(_HAS_EMAIL, (site, STANDARD_ATTRIBUTES["email"], lead)):
        return False
    _remove(tx, site, [lead], now_ms)
    return True


def silent_leads(database: Database, site: int, before_ms: int) -> Iterator[int]:
    """Yield the row ids of leads that were not seen since `before_ms`, belong to nobody and have no email."""
    last = 0
    newest = RowIds.first_at(before_ms)
    while True:
        with database.read() as connection:
            rows = connection.rows(
                "SELECT id, kind, principal_id, coalesce(active_at, created_at) FROM identities "
                "WHERE site = ? AND id > ? AND id < ? ORDER BY id LIMIT 1000",
                (site, last, newest),
            )
            silent = [number for number, kind, principal, seen in rows if kind == LEAD and principal == number and seen < before_ms]
            for number in silent:
                if not connection.row(_HAS_EMAIL, (site, STANDARD_ATTRIBUTES["email"], number)):
                    yield number
        if not rows:
            return
        last = rows[-1][0]


def wipe(database: Database, slices: Slices, transact: Transact, site: int | None = None) -> Iterator[int]:
    """Wipe the events of deleted identities, one transaction at a time; yields the number of events after each."""
    while True:
        with database.read() as connection:
            row = connection.row(
                f"SELECT site, identity FROM deletions {'' if site is None else 'WHERE site = ? '}ORDER BY site, identity LIMIT 1",
                () if site is None else (site,),
            )
        if row is None:
            break
        of, identity = row

        def step(tx: Connection, of: int = of, identity: int = identity) -> int:
            # Two at once would choose the same events, and who found them gone would take that for the end.
            if tx.row(f"SELECT 1 FROM deletions WHERE site = ? AND identity = ?{tx.lock_suffix()}", (of, identity)) is None:
                return 0
            gone = slices.delete_of(tx, of, identity, STEP)
            if not gone:
                tx.run("DELETE FROM deletions WHERE site = ? AND identity = ?", (of, identity))
            return gone

        yield transact(step)


def _locked(tx: Connection, site: int, person: int) -> Sequence[Identity]:
    """Lock a person whole, in ascending order, and return its identities; nobody joins while its principal is locked."""
    while True:
        numbers = {one.id for one in identities.of_person(tx, site, person)}
        with contextlib.suppress(_SomebodyMoved), tx.savepoint():
            identities.by_ids(tx, site, numbers, lock=True)
            members = identities.of_person(tx, site, person)
            if {one.id for one in members} == numbers:
                return members
            raise _SomebodyMoved  # gives the locks back: who joined meanwhile may come before them


class _SomebodyMoved(Exception):
    """A person had other identities when they were locked than when they were looked at."""


def _remember(tx: Connection, site: int, keyring: Keyring, members: Sequence[Identity], now_ms: int) -> None:
    """Set up the tombstones: of each identity, and of whatever address meant the person."""
    keys: list[Key] = [(one.kind, one.value) for one in members if one.kind != EMAIL]
    keys += [(CONTACT, one.public_id) for one in members if one.kind == EMAIL]
    tombstones.set_up(tx, site, [tombstones.mac(keyring, site, key) for key in keys], now_ms)
    addresses = [tombstones.mac(keyring, site, key) for key in _addresses(tx, site, members)]
    addresses += former_addresses.of(tx, site, [one.id for one in members if one.kind == EMAIL])
    tombstones.set_up_addresses(tx, site, keyring, addresses, now_ms)


def _addresses(tx: Connection, site: int, members: Sequence[Identity]) -> list[Key]:
    """Return the addresses that REST knows a user by now: its identity's, and that of the attribute where nobody else is known by it."""
    keys: list[Key] = [(one.kind, one.value) for one in members if one.kind == EMAIL]
    if members[0].kind != LEAD:
        row = tx.row(_FOLDED, (site, STANDARD_ATTRIBUTES["email"], members[0].id))
        if row is not None and not identities.find(tx, site, [(EMAIL, row[0])]):
            keys.append((EMAIL, row[0]))
    return keys


def _remove(tx: Connection, site: int, numbers: Sequence[int], now_ms: int) -> None:
    tx.insert("deletions", ("site", "identity", "at"), [(site, number, now_ms) for number in sorted(numbers)], "ON CONFLICT DO NOTHING")
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        for table in _TABLES:
            tx.run(f"DELETE FROM {table} WHERE site = ? AND identity IN ({marks(chunk)})", (site, *chunk))
        some = marks(chunk)
        tx.run(f"DELETE FROM merges WHERE site = ? AND (lead IN ({some}) OR target IN ({some}))", (site, *chunk, *chunk))
        tx.run(f"DELETE FROM identities WHERE site = ? AND id IN ({some})", (site, *chunk))
    changes.note(tx, site, numbers, now_ms)


_TABLES = ("visits", "totals", "attributes", "deliveries", "delivery_links", "decisions", "former_addresses", "handovers")
_FOLDED = "SELECT folded FROM attributes WHERE site = ? AND attr = ? AND identity = ? AND folded IS NOT NULL"
_HAS_EMAIL = "SELECT 1 FROM attributes WHERE site = ? AND attr = ? AND identity = ? AND value IS NOT NULL AND value <> 'null'"
