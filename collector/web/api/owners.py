"""Whose events these are: addresses (contact id, user id, email) to identities, many at once."""

from collections.abc import Iterable

import msgspec

from collector.domain import contacts, identities
from collector.domain.identities import EMAIL, LEAD, USER, Identity, Key
from collector.domain.sites import Site
from collector.domain.submissions import AttributeChange, Submission
from collector.storage.database import Connection
from collector.web.api.event_input import Address, Draft


class Owner(msgspec.Struct, frozen=True):
    """An identity that an address means.

    Facts belong to `key` for ever. Equal events without an id are one for `same`: the identity itself, but for an external id
    that was added to a user known by email, where both names are the same user from its first day on.
    """

    key: Key
    same: Key
    exists: bool


def find(connection: Connection, site: int, addresses: Iterable[Address]) -> dict[Address, Owner]:
    """Return the owner of each address. An unknown user id or email has one that does not exist yet; an unknown contact has none."""
    wanted = set(addresses)
    found = _identities(connection, site, wanted)
    elsewhere = {one.principal_id for one in found.values() if one.kind != LEAD and one.absorbed}
    principals = identities.by_ids(connection, site, elsewhere)
    owners: dict[Address, Owner] = {}
    for address in wanted:
        identity = found.get(address)
        if identity is not None:
            same = principals.get(identity.principal_id, identity) if identity.kind != LEAD else identity
            owners[address] = Owner(_key(identity), _key(same), exists=True)
        elif address.kind != "contact":
            new = (USER if address.kind == "user" else EMAIL, address.value)
            owners[address] = Owner(new, new, exists=False)
    return owners


def submission(site: Site, owner: Owner, drafts: list[Draft], *, create: bool) -> Submission:
    """Return these events of one identity for the ledger; a user who is made by an email is given that email, as of the last of them."""
    events = [draft.event(site.salt, owner.same) for draft in drafts]
    emails = [draft.email for draft in drafts if draft.email is not None]
    return Submission(
        owner=owner.key,
        browser=False,
        create=create and any(draft.address.kind != "contact" for draft in drafts),
        events=events,
        changes=[AttributeChange({"email": emails[0]}, max(event.at for event in events))] if emails and not owner.exists else [],
        by="rest",
    )


def _identities(connection: Connection, site: int, wanted: set[Address]) -> dict[Address, Identity]:
    by_kind: dict[str, set[str]] = {"contact": set(), "user": set(), "email": set()}
    for address in wanted:
        by_kind[address.kind].add(address.value)
    users = identities.find(connection, site, [(USER, value) for value in by_kind["user"]])
    return {
        **{Address("user", value): one for (_, value), one in users.items()},
        **{Address("contact", value): one for value, one in contacts.by_contact_ids(connection, site, by_kind["contact"]).items()},
        **{Address("email", value): one for value, one in contacts.by_emails(connection, site, by_kind["email"]).items()},
    }


def _key(identity: Identity) -> Key:
    return (identity.kind, identity.value)
