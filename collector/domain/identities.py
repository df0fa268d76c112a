"""Identities: leads, user ids and verified emails. A person is the principal identity that the others point to.

Everything that changes what is a person's (totals, attributes, visits, deliveries) first locks the identity and its principal, in ascending
order of ids, so that nobody meets anybody over what follows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from collector.domain import former_addresses, tombstones
from collector.domain.secrets import Keyring
from collector.storage.database import Connection
from collector.storage.faults import RunAgain
from collector.storage.questions import Question
from collector.values.ids import RowIds, new_public_id
from collector.values.text import fold

_T = TypeVar("_T")

Key = tombstones.Key

LEAD = "lead"
USER = "user"
EMAIL = "email"

_CHUNK = 500
_COLUMNS = (
    "id, kind, value, secret_hash, public_id, principal_id, created_at, not_before, active_at, own_active_at, verified, unverified_at, "
    "visit_count, visit_started_at, visit_ended_at, previous_visit_ended_at"
)
_OF_BYTES = frozenset({"secret_hash"})

_LOCK = (
    "WITH k (kind, value) AS ({keys}), w AS MATERIALIZED (SELECT i.id, i.principal_id FROM k "
    "JOIN identities i ON i.site = ? AND i.kind = k.kind AND i.value = k.value) "
    f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND id IN (SELECT id FROM w UNION SELECT principal_id FROM w) "
    "ORDER BY id FOR NO KEY UPDATE"
)
_LOCK_BY_ID = (
    "WITH w AS MATERIALIZED (SELECT id, principal_id FROM identities WHERE site = ? AND id {among}) "
    "SELECT id, principal_id FROM identities WHERE site = ? AND id IN (SELECT id FROM w UNION SELECT principal_id FROM w) "
    "ORDER BY id FOR NO KEY UPDATE"
)


class Identity(msgspec.Struct):
    """One row of identities, its columns in their order, as the transaction at work sees it. Times in ms."""

    id: int
    kind: str
    value: str
    secret_hash: bytes | None
    public_id: str
    principal_id: int
    created_at: int
    not_before: int
    active_at: int | None
    own_active_at: int | None
    verified: int
    unverified_at: int | None
    visit_count: int | None
    visit_started_at: int | None
    visit_ended_at: int | None
    previous_visit_ended_at: int | None
    """The last four are the person's, on its principal's row: how many visits, the latest, and when the one before ended."""

    @property
    def absorbed(self) -> bool:
        """Whether another identity's person has taken this one in."""
        return self.principal_id != self.id


class Maker(msgspec.Struct, frozen=True):
    """Makes identities: mints their row ids, and knows who was deleted once."""

    row_ids: RowIds
    keyring: Keyring

    def deletions(self, connection: Connection, site: int, keys: Collection[Key]) -> dict[Key, int]:
        """Return when those of the identities that were deleted once were deleted last, in ms."""
        return tombstones.times(connection, site, self.keyring, keys) if keys else {}


class NewIdentity(msgspec.Struct, frozen=True):
    """What makes an identity: its key, and for a lead the digest of its secret."""

    key: Key
    secret_hash: bytes | None = None


def find(connection: Connection, site: int, keys: Iterable[Key]) -> dict[Key, Identity]:
    """Return the identities that exist, by key."""
    found: dict[Key, Identity] = {}
    by_kind: dict[str, list[str]] = {}
    for kind, value in set(keys):
        by_kind.setdefault(kind, []).append(value)
    for kind, values in by_kind.items():
        for chunk in _chunks(values):
            among, parameters = connection.among(chunk)
            sql = f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND kind = ? AND value {among}"
            for row in connection.rows(sql, (site, kind, *parameters)):
                identity = _identity(row)
                found[(identity.kind, identity.value)] = identity
    return found


def find_locked(tx: Connection, site: int, keys: Collection[Key]) -> dict[Key, Identity]:
    """Return the identities that exist, by key; they and their principals stay locked, in ascending order, until the commit.

    Raises:
        RunAgain: one became part of another person meanwhile.
    """
    if tx.engine == "sqlite" or not keys:
        return find(tx, site, keys)
    with_keys, parameters = tx.pairs(sorted(keys))
    locked = {row[0]: _identity(row) for row in tx.rows(_LOCK.format(keys=with_keys), (*parameters, site, site))}
    if any(one.principal_id not in locked for one in locked.values()):
        # Moved while we waited: locking what it points to now as well could go down and not up.
        raise RunAgain("an identity became part of another person")
    return {(one.kind, one.value): one for one in locked.values() if (one.kind, one.value) in keys}


def lock(tx: Connection, site: int, ids: Collection[int]) -> None:
    """Lock identities (row ids) and their principals, in ascending order, until the commit; those that are gone are not missed.

    Raises:
        RunAgain: one became part of another person meanwhile.
    """
    if tx.engine == "sqlite" or not ids:
        return
    among, parameters = tx.among(sorted(ids))
    locked = dict(tx.rows(_LOCK_BY_ID.format(among=among), (site, *parameters, site)))
    if any(locked[number] not in locked for number in ids if number in locked):
        raise RunAgain("an identity became part of another person")


def by_ids(connection: Connection, site: int, ids: Iterable[int], *, lock: bool = False) -> dict[int, Identity]:
    """Return identities by row id; with `lock` they stay locked, in ascending order, until the commit."""
    found: dict[int, Identity] = {}
    suffix = connection.lock_suffix() if lock else ""
    for chunk in _chunks(sorted(set(ids))):
        among, parameters = connection.among(chunk)
        sql = f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND id {among} ORDER BY id{suffix}"
        for row in connection.rows(sql, (site, *parameters)):
            found[row[0]] = _identity(row)
    return found


def by_public_id(connection: Connection, site: int, public_id: str) -> Identity | None:
    """Return the identity a contact id names."""
    row = connection.row(f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND public_id = ?", (site, public_id))
    return None if row is None else _identity(row)


def of_person(connection: Connection, site: int, principal_id: int) -> list[Identity]:
    """Return all identities of a person, the principal first, then the oldest first."""
    found = [_identity(row) for row in connection.asked(question_of_person(site, principal_id))]
    return found if len(found) == 1 else sorted(found, key=lambda one: (one.absorbed, one.created_at, one.id))


def of_people(connection: Connection, site: int, people: Collection[int]) -> dict[int, list[Identity]]:
    """Return all identities of each of these people (principal ids), the principal first, then the oldest first."""
    found: dict[int, list[Identity]] = {}
    for chunk in _chunks(sorted(people)):
        among, parameters = connection.among(chunk)
        sql = f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND principal_id {among} ORDER BY created_at, id"
        for row in connection.rows(sql, (site, *parameters)):
            identity = _identity(row)
            found.setdefault(identity.principal_id, []).append(identity)
    return {person: sorted(members, key=lambda identity: identity.absorbed) for person, members in found.items()}


def question_of_person(site: int, principal_id: int) -> Question:
    """Return what `of_person` asks."""
    return Question(f"SELECT {_COLUMNS} FROM identities WHERE site = ? AND principal_id = ?", (site, principal_id), _OF_BYTES)


class Visits(NamedTuple):
    """What a person's visits add up to: how many, start and end of the latest, end of the one before (ms)."""

    number: int | None
    started_at: int | None
    ended_at: int | None
    previous_ended_at: int | None


class Member(NamedTuple):
    """One of a person's identities: the person's principal id, its own kind, and on the principal's row what the visits add up to."""

    person: int
    kind: str
    visits: Visits


Members = dict[int, Member]
"""Identities of people, by row id."""


def members(connection: Connection, site: int, people: Collection[int]) -> Members:
    """Return the identities of people (principal ids)."""
    found: Members = {}
    for chunk in _chunks(sorted(people)):
        among, parameters = connection.among(chunk)
        columns = "id, principal_id, kind, visit_count, visit_started_at, visit_ended_at, previous_visit_ended_at"
        rows = connection.rows(f"SELECT {columns} FROM identities WHERE site = ? AND principal_id {among}", (site, *parameters))
        found.update((number, Member(person, kind, Visits(*made))) for number, person, kind, *made in rows)
    return found


def create(tx: Connection, site: int, wanted: Collection[NewIdentity], maker: Maker, now_ms: int, principal: int | None = None) -> int:
    """Make the identities that do not exist, in a fixed order; those that another transaction makes meanwhile are left alone.

    Each is a person of its own, or joins the person of `principal`. Who was deleted once comes anew from then on. Returns how many
    were made.
    """
    if emails := [new.key for new in wanted if new.key[0] == EMAIL]:
        former_addresses.take_up(tx, site, maker.keyring, emails)
    deleted = maker.deletions(tx, site, [new.key for new in wanted])
    rows = []
    for new in sorted(wanted, key=lambda new: new.key):
        number, not_before = maker.row_ids.mint(now_ms), deleted.get(new.key, 0)
        person = principal or number
        rows.append((site, number, *new.key, fold(new.key[1]), new.secret_hash, new_public_id(), person, now_ms, not_before, 0))
    columns = ("site", "id", "kind", "value", "folded", "secret_hash", "public_id", "principal_id", "created_at", "not_before")
    return len(tx.insert("identities", (*columns, "visit_count"), rows, "ON CONFLICT DO NOTHING RETURNING id"))


def refuse_before(tx: Connection, site: int, identity: int, at_ms: int) -> None:
    """Let nothing count for an identity any more that happened up to a time."""
    tx.run("UPDATE identities SET not_before = larger(not_before, ?) WHERE site = ? AND id = ?", (at_ms, site, identity))


def resolve(
    tx: Connection, site: int, wanted: Sequence[NewIdentity], maker: Maker, now_ms: int, known: Mapping[Key, Identity] | None = None
) -> dict[Key, Identity]:
    """Return the identities for these keys, made where missing, they and their principals locked until the commit.

    `known` are those of them that this transaction has found and locked already.
    """
    keys = {new.key for new in wanted}
    found = find_locked(tx, site, keys) if known is None else {key: one for key, one in known.items() if key in keys}
    while missing := {new.key: new for new in wanted if new.key not in found}:
        create(tx, site, list(missing.values()), maker, now_ms)
        found.update(find_locked(tx, site, missing.keys()))  # not all, where a row id collided with another process's: mint again
    return found


def marks(values: Sequence[object]) -> str:
    """Return as many placeholders as there are values."""
    return ", ".join("?" * len(values))


def _chunks(values: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _identity(row: tuple[Any, ...]) -> Identity:
    return Identity(*row)
