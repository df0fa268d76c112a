"""Restoring forgets what happened since the backup, but not who was deleted since: that is done again.

Tombstones are carried from the database that is replaced, and from files of them that were written more often than backups. They
hold digests and times alone.
"""

import functools
import heapq
import itertools
import json
import operator
from collections.abc import Iterable, Iterator
from typing import Any

from collector.domain import identities, merging, tombstones
from collector.domain.deletion import delete_person
from collector.domain.identities import EMAIL, LEAD
from collector.domain.secrets import Keyring
from collector.domain.tombstones import CONTACT
from collector.storage.database import Connection

Tombstone = tuple[int, bytes, int]
"""Site, digest of an identity, time of the deletion in ms."""

_CHUNK = 500
_DIGEST = 32


def check_key(connection: Connection, keyring: Keyring) -> None:
    """Make sure that the secret key is the one this installation was made with: another finds nobody who was deleted.

    Raises:
        KeyMissing: it is not.
    """
    for (encrypted,) in connection.rows("SELECT identity_secrets FROM sites"):
        for token in json.loads(encrypted):
            keyring.decrypt(token)


def written(connection: Connection, table: str = "tombstones") -> Iterator[Tombstone]:
    """Yield all tombstones of a table."""
    for rows in connection.chunks(f"SELECT site, mac, at FROM {table} ORDER BY site, mac"):
        for site, mac, at in rows:
            yield site, bytes(mac), at


def to_line(tombstone: Tombstone) -> str:
    """Return a tombstone as a line of a file."""
    site, mac, at = tombstone
    return json.dumps({"site": site, "mac": mac.hex(), "at": at}) + "\n"


def from_lines(lines: Iterable[str]) -> Iterator[Tombstone]:
    """Yield the tombstones of a file.

    Raises:
        ValueError: a line is none; the message names it.
    """
    for number, line in enumerate(lines, 1):
        try:
            fields: dict[str, Any] = json.loads(line)
            site, mac, at = fields["site"], bytes.fromhex(fields["mac"]), fields["at"]
        except (ValueError, TypeError, KeyError):
            site, mac, at = None, b"", None
        if type(site) is not int or type(at) is not int or len(mac) != _DIGEST:
            raise ValueError(f"line {number} is no deletion as `leadlight backup --deletions` writes them")
        yield site, mac, at


def united(*sorted_: Iterable[Tombstone]) -> Iterator[Tombstone]:
    """Yield the tombstones of several, each in order, in order: of several times the latest. Out of order, some come more than once."""
    for (site, mac), same in itertools.groupby(heapq.merge(*sorted_), key=operator.itemgetter(0, 1)):
        yield site, mac, max(at for *_, at in same)


def remember(tx: Connection, kept: Iterable[Tombstone]) -> None:
    """Add tombstones to those that are there; those of sites that are not there mean nothing."""
    sites = {row[0] for row in tx.rows("SELECT id FROM sites")}
    for site, mac, at in kept:
        if site in sites:
            tombstones.set_up(tx, site, [mac], at)


def delete_again(tx: Connection, keyring: Keyring) -> int:
    """Delete whoever is older than their tombstone, as of the tombstone's time, and return how many people that were.

    Their events are left to be wiped.
    """
    deleted = 0
    for (site,) in tx.rows("SELECT DISTINCT site FROM tombstones ORDER BY site"):
        for person, due in sorted(_due(tx, site, keyring).items()):
            deleted += _delete(tx, site, keyring, person, due)
    return deleted


_Due = dict[int, int]
"""When identities (row ids) were deleted, in ms."""


def _due(tx: Connection, site: int, keyring: Keyring) -> dict[int, _Due]:
    """Return by person (its principal's row id) which of its identities were deleted."""
    found: dict[int, _Due] = {}
    last = 0
    sql = "SELECT id, kind, value, not_before, principal_id, public_id FROM identities WHERE site = ? AND id > ? ORDER BY id LIMIT ?"
    while rows := tx.rows(sql, (site, last, _CHUNK)):
        last = rows[-1][0]
        times = tombstones.times(tx, site, keyring, [(kind, value) for _, kind, value, *_ in rows])
        contacts = tombstones.times(tx, site, keyring, [(CONTACT, row[5]) for row in rows if row[1] == EMAIL])
        told = tombstones.told_by_contact(tx, site, keyring, [key for key in times if key[0] == EMAIL])
        for number, kind, value, not_before, person, public_id in rows:
            at = times.get((kind, value), 0)
            if (CONTACT, public_id) in contacts:
                found.setdefault(person, {})[number] = contacts[(CONTACT, public_id)]
            elif not_before < at and (kind, value) in told:  # somebody else had the address when they were deleted
                identities.refuse_before(tx, site, number, at)
            elif not_before < at:
                found.setdefault(person, {})[number] = at
    return found


def _delete(tx: Connection, site: int, keyring: Keyring, person: int, due: _Due) -> int:
    """Delete what is due of a person and return how many people that were.

    A lead that was not deleted when the user was had been parted from it before, so both are parted again.
    """
    members = identities.of_person(tx, site, person)
    joined = {one.id for one in members if one.absorbed and one.kind == LEAD}
    gone = {number: at for number, at in due.items() if number not in joined}
    if gone:
        gone = {person: gone.get(person, max(gone.values()))}
    for lead in sorted(lead for lead in joined if due.get(lead) != gone.get(person)):
        merged_at = tx.value("SELECT max(at) FROM merges WHERE site = ? AND lead = ? AND outcome = 'merged'", (site, lead))
        merging.detach(tx, site, lead, person, max(due.values()), merged_at or 0)
        if lead in due:
            gone[lead] = due[lead]
    return sum(bool(delete_person(tx, site, keyring, number, functools.partial(int, at))) for number, at in sorted(gone.items()))
