"""Tombstones: that somebody was deleted, and when, without saying who.

A tombstone is a keyed digest of site and identity with the time of the deletion (ms). It refuses whatever is older than the deletion
and lets the person come anew; the identity made then carries the time as its `not_before`.

Addresses pass from one to another, so who had one then is not always who is found to have it in a backup. A user known by an address
has a tombstone for its contact id too, which tells them apart, and beside the address's stands a mark that says so.

Digests are made with the last secret key, as everything is, and looked for with every one. So a key is first given to all collectors, then
used, and one that was used for long ago can be taken away.
"""

import itertools
from collections.abc import Collection, Iterable, Sequence

from collector.domain.secrets import Keyring
from collector.storage.database import Connection

Key = tuple[str, str]
"""Kind and value of an identity: `("user", "u-1")`."""

CONTACT = "contact"
"""The kind, in a key, of what a contact id names."""

_CHUNK = 500


def mac(keyring: Keyring, site: int, key: Key) -> bytes:
    """Return the digest that stands for an identity (32 bytes)."""
    return macs(keyring, site, key)[-1]


def macs(keyring: Keyring, site: int, key: Key) -> list[bytes]:
    """Return the digests that may stand for an identity."""
    kind, value = key
    return keyring.macs("tombstone", f"{site}:{kind}:{value}")


def set_up(tx: Connection, site: int, macs: Iterable[bytes], at_ms: int) -> None:
    """Remember that these identities were deleted at a time; of several times the latest counts."""
    rows = [(site, one, at_ms) for one in sorted(set(macs))]
    tx.insert("tombstones", ("site", "mac", "at"), rows, "ON CONFLICT (site, mac) DO UPDATE SET at = larger(tombstones.at, excluded.at)")


def set_up_addresses(tx: Connection, site: int, keyring: Keyring, macs: Iterable[bytes], at_ms: int) -> None:
    """Remember that whoever had these addresses was deleted at a time, and that a tombstone for their contact id says who.

    The mark is left out where an older deletion has none: then the address alone has to tell.
    """
    marks = {one: _marks(keyring, site, one) for one in macs}
    known = _stored(tx, site, [*marks, *itertools.chain(*marks.values())])
    told = [one for one in marks if one not in known or not known.keys().isdisjoint(marks[one])]
    set_up(tx, site, [*marks, *(marks[one][-1] for one in told)], at_ms)


def told_by_contact(connection: Connection, site: int, keyring: Keyring, keys: Collection[Key]) -> set[Key]:
    """Return those of the addresses for which contact ids tell who was deleted."""
    marks = {mark: key for key in keys for one in macs(keyring, site, key) for mark in _marks(keyring, site, one)}
    return {marks[one] for one in _stored(connection, site, list(marks))}


def times(connection: Connection, site: int, keyring: Keyring, keys: Collection[Key]) -> dict[Key, int]:
    """Return when those of the identities that were deleted once were deleted last, in ms."""
    by_mac = {one: key for key in keys for one in macs(keyring, site, key)}
    found: dict[Key, int] = {}
    for one, at in _stored(connection, site, list(by_mac)).items():
        found[by_mac[one]] = max(at, found.get(by_mac[one], at))
    return found


def _stored(connection: Connection, site: int, macs: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    ordered = sorted(macs)
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        sql = f"SELECT mac, at FROM tombstones WHERE site = ? AND mac IN ({', '.join('?' * len(chunk))})"
        found.update((bytes(one), at) for one, at in connection.rows(sql, (site, *chunk)))
    return found


def _marks(keyring: Keyring, site: int, address: bytes) -> list[bytes]:
    return keyring.macs("tombstone", f"{site}:told by contact:{address.hex()}")
