"""Imported totals: what happened before Leadlight counted, as one number per identity and event name.

The imported part stands in `imported_*` beside the identity's own half. An identity's own total is always what was imported, what
was pruned (`base_*`) and the events of its timeline together, and the person's total is always the fold of its identities' own ones;
both are worked out anew here, not adjusted, so that setting a base twice, or a smaller one, leaves nothing behind.
"""

from collections.abc import Sequence

import msgspec

from collector.domain import identities
from collector.domain.identities import Key, NewIdentity
from collector.domain.names import EVENT, Names
from collector.storage.database import Connection
from collector.values.ids import RowIds

LARGEST_COUNT = 10**12
"""Of one base: a person's sum of many stays far from what the columns hold."""


class Base(msgspec.Struct, frozen=True):
    """An imported total: how often, and when first and last, in ms. A count of 0 takes the base away."""

    name: str
    count: int
    first: int | None
    last: int | None


def set_bases(tx: Connection, site: int, names: Names, row_ids: RowIds, now_ms: int, key: Key, bases: Sequence[Base]) -> None:
    """Set the imported bases of an identity, which is made where it is missing. The names were allocated beforehand."""
    identity = identities.resolve(tx, site, [NewIdentity(key)], row_ids, now_ms)[key]
    numbered = {names.number(site, EVENT, base.name): base for base in bases}
    for number, base in sorted((number, base) for number, base in numbered.items() if number is not None):
        _set_own(tx, site, number, identity.id, base)
        _refold(tx, site, number, identity.principal_id)


def _set_own(tx: Connection, site: int, name: int, identity: int, base: Base) -> None:
    counted = tx.row("SELECT count(*), min(at), max(at) FROM events WHERE site = ? AND identity = ? AND name = ?", (site, identity, name))
    pruned = tx.row(
        "SELECT base_count, base_first, base_last FROM totals WHERE site = ? AND identity = ? AND name = ?", (site, identity, name)
    )
    parts = [(base.count, base.first, base.last), counted or _NOTHING, pruned or _NOTHING]
    own = (sum(part[0] for part in parts), _least(*(part[1] for part in parts)), _most(*(part[2] for part in parts)))
    tx.insert(
        "totals",
        ("site", "name", "identity", "own_count", "own_first", "own_last", "imported_count", "imported_first", "imported_last"),
        [(site, name, identity, *own, base.count, base.first, base.last)],
        "ON CONFLICT (site, name, identity) DO UPDATE SET own_count = excluded.own_count, own_first = excluded.own_first, "
        "own_last = excluded.own_last, imported_count = excluded.imported_count, imported_first = excluded.imported_first, "
        "imported_last = excluded.imported_last",
    )


def _refold(tx: Connection, site: int, name: int, principal: int) -> None:
    row = tx.row(
        "SELECT sum(own_count), min(own_first), max(own_last) FROM totals WHERE site = ? AND name = ? AND identity IN "
        "(SELECT id FROM identities WHERE site = ? AND principal_id = ?)",
        (site, name, site, principal),
    )
    count, first, last = row or (0, None, None)
    tx.run(
        "INSERT INTO totals (site, name, identity, count, first, last) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (site, name, identity) DO UPDATE SET count = excluded.count, first = excluded.first, last = excluded.last",
        (site, name, principal, int(count), first, last),
    )


def _least(*times: int | None) -> int | None:
    return min((at for at in times if at is not None), default=None)


def _most(*times: int | None) -> int | None:
    return max((at for at in times if at is not None), default=None)


_NOTHING = (0, None, None)
