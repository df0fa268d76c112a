"""Deletion: a person is gone from every table, and only a keyed tombstone remembers that somebody was deleted.

The person disappears in one commit. Its events may be many, and the claims to it that were refused; they are wiped after that in steps,
and what is still to be wiped is written down, so that whoever comes next goes on where another was interrupted. No reader finds events
without their identity, nor lines of the journal.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

from collector.domain import changes, former_addresses, identities, tombstones
from collector.domain.attributes import TRUSTED
from collector.domain.identities import EMAIL, LEAD, Identity, Key, marks
from collector.domain.names import STANDARD_ATTRIBUTES
from collector.domain.secrets import Keyring
from collector.domain.tombstones import CONTACT
from collector.storage.database import Connection, Database
from collector.storage.slices import Slices
from collector.values.clock import Clock
from collector.values.ids import RowIds

Transact = Callable[[Callable[[Connection], int]], int]
"""Runs work in a transaction and returns what it returns: `Database.transact`, or the writer of a serving process."""

STEP = 1_000
"""Events, or lines of the journal, wiped in one transaction, so that nobody waits long for the database."""
_CHUNK = 400
_EVER = 2**62


def erase(database: Database, slices: Slices, transact: Transact, keyring: Keyring, site: int, person: int, clock: Clock) -> bool:
    """Delete a person whole and return when no row of it is left; False where there is none. Who else is being wiped is not waited for.

    SQLite's file is overwritten where the rows stood. Copies may stay in unused parts of it, and in its log where somebody reads there
    now, until the next round of upkeep (`rewriting`), which the first commit asks for: nothing rests on whether the log can be cut here.
    """
    gone: list[int] = []

    def delete(tx: Connection) -> int:
        gone[:] = delete_person(tx, site, keyring, person, clock)
        return len(gone)

    if not transact(delete):
        return False
    for identity in gone:
        while _is_left(database, site, identity):
            transact(functools.partial(_step, slices=slices, site=site, identity=identity))
    database.cut_log()
    return True


def delete_person(tx: Connection, site: int, keyring: Keyring, person: int, clock: Clock) -> list[int]:
    """Delete a person (its principal's row id) and return the row ids of its identities, none where there is nobody.

    What is left of them is wiped by `wipe`.
    """
    members = _locked(tx, site, person)
    if not members:
        return []
    now_ms = clock()  # not before: what was taken while this waited happened before the deletion
    numbers = [one.id for one in members]
    _remember(tx, site, keyring, members, now_ms)
    _remove(tx, site, numbers, now_ms)
    tx.owe_rewriting()
    return numbers


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


def wipe(database: Database, slices: Slices, transact: Transact, site: int, before_ms: int = _EVER) -> Iterator[int]:
    """Wipe what is left of a site's identities deleted before a time, one transaction at a time; yields the number of events after each."""
    while True:
        with database.read() as connection:
            identity = connection.value("SELECT min(identity) FROM deletions WHERE site = ? AND at < ?", (site, before_ms))
        if identity is None:
            break
        yield transact(functools.partial(_step, slices=slices, site=site, identity=identity))


def _is_left(database: Database, site: int, identity: int) -> bool:
    with database.read() as connection:
        return connection.row("SELECT 1 FROM deletions WHERE site = ? AND identity = ?", (site, identity)) is not None


def _step(tx: Connection, slices: Slices, site: int, identity: int) -> int:
    """Wipe some of a deleted identity's events, then of its lines, then that it is being wiped; return how many events."""
    # Two at a time would each pass over what the other one takes, and call it all.
    if tx.row(f"SELECT 1 FROM deletions WHERE site = ? AND identity = ?{tx.lock_suffix()}", (site, identity)) is None:
        return 0
    gone = slices.delete_of(tx, site, identity, STEP)
    # None may have been found because pruning took all that were chosen, while it was waited for.
    if not gone and not slices.has_of(tx, site, identity) and not tx.run(_SOME_LINES, (site, site, identity, identity, STEP)):
        tx.run("DELETE FROM deletions WHERE site = ? AND identity = ?", (site, identity))
    return gone


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
    """Return the addresses that REST knows a user by now: its identity's, and that of the attribute where nobody else is known by it.

    One that a browser typed is none of them: it may be anybody's.
    """
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
        theirs = f"lead IN ({some}) OR target IN ({some})"
        tx.run(f"DELETE FROM merges WHERE site = ? AND outcome = 'merged' AND ({theirs})", (site, *chunk, *chunk))
        tx.run(f"DELETE FROM identities WHERE site = ? AND id IN ({some})", (site, *chunk))
    changes.note(tx, site, numbers, now_ms)


_TABLES = ("visits", "totals", "attributes", "deliveries", "delivery_links", "decisions", "former_addresses", "handovers")
_SOME_LINES = "DELETE FROM merges WHERE site = ? AND id IN (SELECT id FROM merges WHERE site = ? AND (lead = ? OR target = ?) LIMIT ?)"
_FOLDED = f"SELECT folded FROM attributes WHERE site = ? AND attr = ? AND identity = ? AND source = {TRUSTED} AND folded IS NOT NULL"
_HAS_EMAIL = "SELECT 1 FROM attributes WHERE site = ? AND attr = ? AND identity = ? AND value IS NOT NULL AND value <> 'null'"
