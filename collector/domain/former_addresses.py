"""Addresses that a user was known by before another one, so that who deletes the user deletes who had those addresses.

They are kept as the digests that become tombstones, and no longer than nobody else is known by them.
"""

from collections.abc import Collection, Sequence

from collector.domain import tombstones
from collector.domain.secrets import Keyring
from collector.domain.tombstones import Key
from collector.storage.database import Connection

_CHUNK = 500


def leave(tx: Connection, site: int, keyring: Keyring, identity: int, address: Key) -> None:
    """Remember that an identity was known by an address."""
    row = (site, identity, tombstones.mac(keyring, site, address))
    tx.insert("former_addresses", ("site", "identity", "mac"), [row], "ON CONFLICT DO NOTHING")


def take_up(tx: Connection, site: int, keyring: Keyring, addresses: Collection[Key]) -> None:
    """Forget whose these addresses were: somebody is known by them now, whom no deletion of the others concerns.

    Done before the tombstones are asked for, it waits for a deletion that is setting one up.
    """
    for address in sorted(addresses):
        for mac in tombstones.macs(keyring, site, address):
            tx.run("DELETE FROM former_addresses WHERE site = ? AND mac = ?", (site, mac))


def of(tx: Connection, site: int, identities: Sequence[int]) -> list[bytes]:
    """Return the digests of the addresses that identities were known by, and lock them until the commit."""
    found: list[bytes] = []
    for start in range(0, len(identities), _CHUNK):
        among, parameters = tx.among(identities[start : start + _CHUNK])
        sql = f"SELECT mac FROM former_addresses WHERE site = ? AND identity {among} ORDER BY mac{tx.lock_suffix()}"
        found += [bytes(mac) for (mac,) in tx.rows(sql, (site, *parameters))]
    return found
