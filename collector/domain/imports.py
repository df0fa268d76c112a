"""Imported totals: what happened before Leadlight counted, as one number per identity and event name.

The imported part stands in `imported_*` beside the identity's own half. An identity's own total is always what was imported, what
was pruned (`base_*`) and the events of its timeline together, and the person's total is always the fold of its identities' own ones;
both are worked out anew here, not adjusted, so that setting a base twice, or a smaller one, leaves nothing behind.
"""

from collections.abc import Collection, Sequence

import msgspec

from collector.domain import changes, identities
from collector.domain.identities import Key, Maker, NewIdentity
from collector.domain.names import EVENT, NameGone, Names
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal

LARGEST_COUNT = 10**12
"""Of one base: a person's sum of many stays far from what the columns hold."""


class Base(msgspec.Struct, frozen=True):
    """An imported total: how often, and when first and last, in ms. A count of 0 takes the base away."""

    name: str
    count: int
    first: int | None
    last: int | None


def set_bases(tx: Connection, site: int, names: Names, maker: Maker, now_ms: int, key: Key, bases: Sequence[Base]) -> None:
    """Set the imported bases of an identity, which is made where it is missing. The names were allocated beforehand.

    Raises:
        Refusal: a base reaches back behind the person's deletion.
        NameGone: a name has no number.
    """
    identity = identities.resolve(tx, site, [NewIdentity(key)], maker, now_ms)[key]
    if any(base.first is not None and base.first <= identity.not_before for base in bases if identity.not_before):
        raise Refusal(Reason.PERSON_DELETED, "event_summaries")
    numbered: dict[int, Base] = {}
    for base in bases:
        number = names.number(site, EVENT, base.name)
        if number is None:
            raise NameGone
        numbered[number] = base
    times = _times(tx, site, identity.id, numbered)
    for number, base in sorted(numbered.items()):
        _set_own(tx, site, number, identity.id, base, times.get(number, _NOTHING))
        _refold(tx, site, number, identity.principal_id)
    changes.note(tx, site, (identity.principal_id,), now_ms)


_Times = tuple[int | None, int | None]
"""First and last, in ms."""


def _times(tx: Connection, site: int, identity: int, names: Collection[int]) -> dict[int, _Times]:
    """Return when an identity's events of these names happened first and last; all that it did is read once."""
    among, parameters = tx.among(sorted(names))
    sql = f"SELECT name, min(at), max(at) FROM events WHERE site = ? AND identity = ? AND name {among} GROUP BY name"
    return {name: (first, last) for name, first, last in tx.rows(sql, (site, identity, *parameters))}


def _set_own(tx: Connection, site: int, name: int, identity: int, base: Base, events: _Times) -> None:
    """Put the new base in the place of the present one; `events` is what its timeline says.

    The count changes by their difference, whatever pruning moves meanwhile; first and last are those of all parts, and one that
    stands in two of them changes nothing.
    """
    sql = "SELECT base_first, base_last FROM totals WHERE site = ? AND identity = ? AND name = ?"
    parts = [(base.first, base.last), events, tx.row(sql, (site, identity, name)) or _NOTHING]
    own = (_least(*(part[0] for part in parts)), _most(*(part[1] for part in parts)))
    tx.insert(
        "totals",
        ("site", "name", "identity", "own_count", "own_first", "own_last", "imported_count", "imported_first", "imported_last"),
        [(site, name, identity, base.count, *own, base.count, base.first, base.last)],
        "ON CONFLICT (site, name, identity) DO UPDATE SET own_count = totals.own_count - totals.imported_count + excluded.own_count, "
        "own_first = excluded.own_first, own_last = excluded.own_last, imported_count = excluded.imported_count, "
        "imported_first = excluded.imported_first, imported_last = excluded.imported_last",
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


_NOTHING: _Times = (None, None)
