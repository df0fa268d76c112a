"""Contacts as REST writes and lists them. A contact is a person; its id is the principal identity's public id.

A user without an external id is known by its email: an identity of kind `email` with the folded address as its value.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from collector.domain import attributes, changes, former_addresses, identities, people
from collector.domain.identities import EMAIL, LEAD, USER, Identity, Key, Maker, NewIdentity, marks
from collector.domain.names import Names
from collector.storage.database import Connection
from collector.storage.faults import RunAgain
from collector.values.errors import Reason, Refusal
from collector.values.ids import new_nonce
from collector.values.text import fold

_T = TypeVar("_T")
_CHUNK = 500


class ContactExists(Exception):
    """There is a contact like this already; `contact_id` is its id, `field` what is equal."""

    def __init__(self, field: str, contact_id: str) -> None:
        super().__init__(field)
        self.field = field
        self.contact_id = contact_id


def create(tx: Connection, site: int, names: Names, maker: Maker, now_ms: int, *, external_id: str | None, values: dict[str, Any]) -> str:
    """Make a user known by an external id, else by the email among the values, and return the contact id.

    The names of the values were allocated beforehand.

    Raises:
        ContactExists: the external id is taken; without one, a user has the email.
    """
    if external_id is not None:
        made = _insert(tx, site, (USER, external_id), "external_id", maker, now_ms)
    else:
        email = values["email"]
        present = _by_email(tx, site, email)
        if present is not None:
            raise ContactExists("email", present.contact_id)
        made = _insert(tx, site, (EMAIL, fold(email)), "email", maker, now_ms)
    # Whoever waited for a deletion makes somebody anew, of whom everything is younger than that.
    attributes.apply(tx, site, names, made, values, max(now_ms, made.not_before + 1), attributes.TRUSTED)
    changes.note(tx, site, (made.id,), now_ms)
    return made.public_id


def create_lead(tx: Connection, site: int, names: Names, maker: Maker, now_ms: int, values: dict[str, Any]) -> str:
    """Make a lead that no browser holds (its secret is unknown to everybody) and return the contact id."""
    made = _insert(tx, site, (LEAD, new_nonce()), "role", maker, now_ms)
    attributes.apply(tx, site, names, made, values, now_ms, attributes.TRUSTED)
    changes.note(tx, site, (made.id,), now_ms)
    return made.public_id


def update(
    tx: Connection, site: int, names: Names, maker: Maker, now_ms: int, contact_id: str, *, external_id: str | None, values: dict[str, Any]
) -> None:
    """Set attributes of a person; an external id may be added to a user who has none.

    Raises:
        Refusal: the person cannot take this external id, or cannot be without an email.
        ContactExists: another user has the external id, or is known by the email.
        NoPerson: there is nobody with this contact id any more, or it became part of another person.
    """
    # By the contact id: whoever has the same external id or email by now may have come after a deletion.
    principal = identities.by_public_id(tx, site, contact_id)
    others = {} if external_id is None else identities.find(tx, site, [(USER, external_id)])
    if principal is not None:
        identities.lock(tx, site, {principal.id, *(other.id for other in others.values())})  # together, in their order
        principal = identities.by_ids(tx, site, [principal.id]).get(principal.id)
    if principal is None or principal.absorbed:
        raise people.NoPerson(contact_id)
    person = people.load(tx, site, principal.id)
    if external_id is not None and external_id != person.user_id:
        if person.role == "lead" or person.user_id is not None:
            what = "a lead becomes a user by a merge" if person.role == "lead" else "an external id does not change"
            raise Refusal(Reason.NOT_SUPPORTED, "external_id", f"not supported: {what}")
        _insert(tx, site, (USER, external_id), "external_id", maker, now_ms, principal.id)
    if principal.kind == EMAIL and "email" in values:
        _rename(tx, site, maker, principal, values["email"], known_otherwise=external_id is not None or person.user_id is not None)
    attributes.set_now(tx, site, names, principal, values, now_ms)
    changes.note(tx, site, (principal.id,), now_ms)


def page(connection: Connection, site: int, after: int | None, limit: int, offset: int = 0) -> list[int]:
    """Return principal ids, the newest first, those made before `after`."""
    bound = "" if after is None else " AND id < ?"
    sql = f"SELECT id FROM identities WHERE site = ? AND principal_id = id{bound} ORDER BY id DESC LIMIT ? OFFSET ?"
    return [row[0] for row in connection.rows(sql, (site, *(() if after is None else (after,)), limit, offset))]


def count(connection: Connection, site: int) -> int:
    """Return how many people the site has."""
    return int(connection.value("SELECT count(*) FROM identities WHERE site = ? AND principal_id = id", (site,)))


def with_email(connection: Connection, site: int, email: str) -> list[int]:
    """Return the principal ids of everybody with this email, users and leads, the newest first."""
    folded = fold(email)
    sql = (
        "SELECT id FROM identities WHERE site = ? AND principal_id = id AND id IN ("
        "SELECT identity FROM attributes WHERE site = ? AND attr = 1 AND folded = ? UNION "
        "SELECT principal_id FROM identities WHERE site = ? AND kind = 'email' AND value = ?) ORDER BY id DESC"
    )
    return [row[0] for row in connection.rows(sql, (site, site, folded, site, folded))]


def by_contact_ids(connection: Connection, site: int, contact_ids: Collection[str]) -> dict[str, Identity]:
    """Return the identities that contact ids name, merged leads' too, by contact id."""
    rows: dict[int, str] = {}
    for chunk in _chunks(sorted(contact_ids)):
        sql = f"SELECT id, public_id FROM identities WHERE site = ? AND public_id IN ({marks(chunk)})"
        rows.update(connection.rows(sql, (site, *chunk)))
    return {rows[number]: identity for number, identity in identities.by_ids(connection, site, rows).items()}


def by_emails(connection: Connection, site: int, folded: Collection[str]) -> dict[str, Identity]:
    """Return for folded emails the identity of the user who has it: as `people.by_email` does for one."""
    found = {value: one for (_, value), one in identities.find(connection, site, [(EMAIL, email) for email in folded]).items()}
    owners: dict[str, int] = {}
    for chunk in _chunks(sorted(set(folded) - found.keys())):
        sql = (
            "SELECT a.folded, i.id FROM attributes a JOIN identities i ON i.site = a.site AND i.id = a.identity "
            f"WHERE a.site = ? AND a.attr = 1 AND a.folded IN ({marks(chunk)}) AND a.source = {attributes.TRUSTED} "
            "AND i.principal_id = i.id AND i.kind <> 'lead' "
            "ORDER BY coalesce(i.active_at, i.created_at), i.id DESC"  # ascending: the one seen last stands last and stays
        )
        owners.update(connection.rows(sql, (site, *chunk)))
    rows = identities.by_ids(connection, site, owners.values())
    return {**found, **{email: rows[number] for email, number in owners.items() if number in rows}}


def _insert(tx: Connection, site: int, key: Key, field: str, maker: Maker, now_ms: int, principal: int | None = None) -> Identity:
    """Make an identity that must not exist yet, of a person of its own or of another principal's."""
    identities.find_locked(tx, site, {key})  # whoever deletes it says so in the commit that is waited for here
    while True:
        made = identities.create(tx, site, [NewIdentity(key)], maker, now_ms, principal)
        present = identities.find(tx, site, [key]).get(key)
        if present is not None and made:
            return present
        if present is not None:
            known = identities.by_ids(tx, site, [present.principal_id]).get(present.principal_id)
            if known is None:
                raise RunAgain("who has it was deleted just now")
            raise ContactExists(field, known.public_id)


def _by_email(tx: Connection, site: int, email: str) -> people.Person | None:
    """Return the user with this email; one that is deleted while it is looked at has it no more."""
    try:
        return people.by_email(tx, site, email)
    except people.NoPerson as error:
        raise RunAgain("who has the email was deleted just now") from error


def _rename(tx: Connection, site: int, maker: Maker, principal: Identity, email: str | None, *, known_otherwise: bool) -> None:
    """Let a user who is known by an email be known by another one.

    The old one still means this user where a deletion is concerned; what is older than a deletion of the new one's does not count.
    """
    if email is None:
        if not known_otherwise:
            raise Refusal(Reason.FIELD_INVALID, "email", "a user without an external id is known by the email")
        return
    if fold(email) == principal.value:
        return
    other = _by_email(tx, site, email)
    if other is not None and other.id != principal.id:
        raise ContactExists("email", other.contact_id)
    key = (EMAIL, fold(email))
    former_addresses.leave(tx, site, maker.keyring, principal.id, (EMAIL, principal.value))
    former_addresses.take_up(tx, site, maker.keyring, [key])
    tx.run("UPDATE identities SET value = ?, folded = ? WHERE site = ? AND id = ?", (fold(email), fold(email), site, principal.id))
    for deleted_at in maker.deletions(tx, site, [key]).values():
        identities.refuse_before(tx, site, principal.id, deleted_at)


def _chunks(values: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
