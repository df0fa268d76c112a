"""Tombstones: that somebody was deleted, and when, without saying who.

A tombstone is a keyed digest of site and identity with the time of the deletion (ms). It refuses whatever is older than the deletion
and lets the person come anew; the identity made then carries the time as its `not_before`.
"""

from collections.abc import Collection, Iterable

from collector.domain.secrets import Keyring
from collector.storage.database import Connection

Key = tuple[str, str]
"""Kind and value of an identity: `("user", "u-1")`."""

_CHUNK = 500


def mac(keyring: Keyring, site: int, key: Key) -> bytes:
    """Return the digest that stands for an identity (32 bytes)."""
    kind, value = key
    return keyring.mac("tombstone", f"{site}:{kind}:{value}")


def set_up(tx: Connection, site: int, macs: Iterable[bytes], at_ms: int) -> None:
    """Remember that these identities were deleted at a time; of several times the latest counts."""
    rows = [(site, one, at_ms) for one in sorted(set(macs))]
    tx.insert("tombstones", ("site", "mac", "at"), rows, "ON CONFLICT (site, mac) DO UPDATE SET at = larger(tombstones.at, excluded.at)")


def times(connection: Connection, site: int, keyring: Keyring, keys: Collection[Key]) -> dict[Key, int]:
    """Return when those of the identities that were deleted once were deleted last, in ms."""
    by_mac = {mac(keyring, site, key): key for key in keys}
    found: dict[Key, int] = {}
    macs = sorted(by_mac)
    for start in range(0, len(macs), _CHUNK):
        chunk = macs[start : start + _CHUNK]
        sql = f"SELECT mac, at FROM tombstones WHERE site = ? AND mac IN ({', '.join('?' * len(chunk))})"
        found.update((by_mac[bytes(one)], at) for one, at in connection.rows(sql, (site, *chunk)))
    return found
