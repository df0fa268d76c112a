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


class Outdated(Exception):
    """What was looked up before is not what the timeline holds now; look again."""


class _Total(msgspec.Struct, frozen=True):
    """An identity's own half of a total. Times in ms."""

    own_count: int = 0
    own_first: int | None = None
    own_last: int | None = None
    base_count: int = 0
    base_first: int | None = None
    base_last: int | None = None
    imported_count: int = 0
    imported_first: int | None = None
    imported_last: int | None = None

    @property
    def happened(self) -> int:
        """How often it happened here, pruned or not."""
        return self.own_count - self.imported_count

    def hides(self, base: Base) -> bool:
        """Say whether the timeline alone knows what first and last are once this base stands in the place of the present one."""
        if self.happened == self.base_count or self.imported_first is None or self.imported_last is None:
            return False
        of_first = self.own_first == self.imported_first and (base.first is None or base.first > self.imported_first)
        of_last = self.own_last == self.imported_last and (base.last is None or base.last < self.imported_last)
        return of_first or of_last

    @property
    def known(self) -> "_Times":
        """First and last of what happened here, as far as the present base hides neither."""
        first = None if self.own_first == self.imported_first else self.own_first
        last = None if self.own_last == self.imported_last else self.own_last
        return _least(first, self.base_first), _most(last, self.base_last)


class Seen(msgspec.Struct, frozen=True):
    """What was read of a timeline: of which identity (row id), and by name how often it had happened, and when first and last (ms)."""

    identity: int
    times: dict[int, tuple[int, "_Times"]]


def look(connection: Connection, site: int, names: Names, key: Key, bases: Sequence[Base]) -> Seen | None:
    """Read what `set_bases` has to know of the timeline, where it does: while nobody waits, since one may have done it a million times.

    Raises:
        NameGone: a name has no number.
    """
    identity = identities.find(connection, site, {key}).get(key)
    if identity is None:
        return None
    numbered = _numbered(site, names, bases)
    present = _totals(connection, site, identity.id, numbered)  # before what it counts: so an event that comes meanwhile is noticed
    hidden = [number for number, base in numbered.items() if present.get(number, _NO_TOTAL).hides(base)]
    found = _times(connection, site, identity.id, hidden)
    return Seen(identity.id, {number: (present[number].happened, found.get(number, _NOTHING)) for number in hidden})


def set_bases(
    tx: Connection, site: int, names: Names, maker: Maker, now_ms: int, key: Key, bases: Sequence[Base], seen: Seen | None = None
) -> None:
    """Set the imported bases of an identity, which is made where it is missing. The names were allocated beforehand.

    What is not `seen` of the timeline is read.

    Raises:
        Refusal: a base reaches back behind the person's deletion.
        NameGone: a name has no number.
        Outdated: something was seen, and something else has happened since.
    """
    identity = identities.resolve(tx, site, [NewIdentity(key)], maker, now_ms)[key]
    if any(base.first is not None and base.first <= identity.not_before for base in bases if identity.not_before):
        raise Refusal(Reason.PERSON_DELETED, "event_summaries")
    numbered = _numbered(site, names, bases)
    present = _totals(tx, site, identity.id, numbered)
    hidden = [number for number, base in numbered.items() if present.get(number, _NO_TOTAL).hides(base)]
    if seen is None:
        times = _times(tx, site, identity.id, hidden)
    else:
        known = seen.times if seen.identity == identity.id else {}
        if any(number not in known or known[number][0] != present[number].happened for number in hidden):
            raise Outdated
        times = {number: known[number][1] for number in hidden}
    for number, base in sorted(numbered.items()):
        _set_own(tx, site, number, identity.id, base, [present.get(number, _NO_TOTAL).known, times.get(number, _NOTHING)])
        _refold(tx, site, number, identity.principal_id)
    changes.note(tx, site, (identity.principal_id,), now_ms)


_Times = tuple[int | None, int | None]
"""First and last, in ms."""


def _numbered(site: int, names: Names, bases: Sequence[Base]) -> dict[int, Base]:
    numbered: dict[int, Base] = {}
    for base in bases:
        number = names.number(site, EVENT, base.name)
        if number is None:
            raise NameGone
        numbered[number] = base
    return numbered


def _totals(connection: Connection, site: int, identity: int, names: Collection[int]) -> dict[int, _Total]:
    among, parameters = connection.among(sorted(names))
    columns = ", ".join(_Total.__struct_fields__)
    sql = f"SELECT name, {columns} FROM totals WHERE site = ? AND identity = ? AND name {among}"
    return {name: _Total(*row) for name, *row in connection.rows(sql, (site, identity, *parameters))}


def _times(connection: Connection, site: int, identity: int, names: Collection[int]) -> dict[int, _Times]:
    """Return when an identity's events of these names happened first and last; all that it did is read once."""
    if not names:
        return {}
    among, parameters = connection.among(sorted(names))
    sql = f"SELECT name, min(at), max(at) FROM events WHERE site = ? AND identity = ? AND name {among} GROUP BY name"
    return {name: (first, last) for name, first, last in connection.rows(sql, (site, identity, *parameters))}


def _set_own(tx: Connection, site: int, name: int, identity: int, base: Base, others: Sequence[_Times]) -> None:
    """Put the new base in the place of the present one; `others` is what else there is.

    The count changes by their difference, whatever pruning moves meanwhile; first and last are those of all parts, and one that
    stands in two of them changes nothing.
    """
    parts = [(base.first, base.last), *others]
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
    if not count:  # left as a merge and its undo leave what nobody did
        nothing = "UPDATE totals SET count = NULL, first = NULL, last = NULL WHERE site = ? AND name = ? AND identity = ?"
        tx.run(nothing, (site, name, principal))
        return
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
_NO_TOTAL = _Total()
