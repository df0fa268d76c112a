"""Finding the person a client means, with the answers for nobody and for a merged lead."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from flask import request, url_for

from collector.domain import people
from collector.domain.identities import USER
from collector.domain.people import NoPerson, Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.attributes import clean_email
from collector.values.errors import Problem, Reason, problem
from collector.values.fields import clean_user_id
from collector.values.text import storable
from collector.web.api.body import query_text

_T = TypeVar("_T")
_ATTEMPTS = 2


def user_not_found() -> Problem:
    """Return Intercom's answer for nobody."""
    return problem(404, Reason.NOT_FOUND, None, "User Not Found")


def contact_merged(contact_id: str) -> Problem:
    """Return the answer for a lead that became part of this contact."""
    address = url_for("api.contacts_show", contact_id=contact_id)
    return problem(410, Reason.CONTACT_MERGED, None, headers=[("Link", f'<{address}>; rel="canonical"')])


def by_contact_id(services: Services, site: Site, contact_id: str) -> Person:
    """Return the person of a contact id.

    Raises:
        Problem: 404, or 410 for a merged lead.
    """
    return steady(services, lambda connection: in_connection(connection, site, contact_id))


def in_connection(connection: Connection, site: Site, contact_id: str) -> Person:
    """Return the person of a contact id, as this connection sees it.

    Raises:
        Problem: 404, or 410 for a merged lead. NoPerson: merged or deleted between two statements.
    """
    if not storable(contact_id):
        raise user_not_found()
    person, moved = people.by_contact_id(connection, site.id, contact_id)
    if moved is not None:
        raise contact_merged(moved)
    return _found(person)


def by_external_id(services: Services, site: Site, external_id: str) -> Person:
    """Return the user with this external id.

    Raises:
        Problem: 404. Refusal: the id is none.
    """
    key = (USER, clean_user_id(external_id, field="external_id"))
    return _found(steady(services, lambda connection: people.by_key(connection, site.id, key)))


def by_query(services: Services, site: Site) -> Person:
    """Return the person named by exactly one of `user_id`, `email` and `intercom_user_id` in the address.

    Raises:
        Problem: 400, 404, or 410 for a merged lead. Refusal: what is given is no user id, or no email.
    """
    given = [name for name in ("user_id", "email", "intercom_user_id") if name in request.args]
    if len(given) != 1:
        code = Reason.FIELD_INVALID if given else Reason.FIELD_MISSING
        raise problem(400, code, given[1] if given else "user_id", "expected exactly one of user_id, email and intercom_user_id")
    text = query_text(given[0]) or ""
    if given[0] == "user_id":
        key = (USER, clean_user_id(text))
        return _found(steady(services, lambda connection: people.by_key(connection, site.id, key)))
    if given[0] == "email":
        email = clean_email(text)
        return _found(steady(services, lambda connection: people.by_email(connection, site.id, email)))
    return by_contact_id(services, site, text)


def _found(person: Person | None) -> Person:
    if person is None:
        raise user_not_found()
    return person


def steady(services: Services, read: Callable[[Connection], _T]) -> _T:
    """Read in several statements; again where a merge between two of them took a person away, at last in a moment that stands still."""
    for _ in range(_ATTEMPTS):
        with services.database.read() as connection, contextlib.suppress(NoPerson):
            return read(connection)
    with services.database.snapshot() as connection:
        return read(connection)
