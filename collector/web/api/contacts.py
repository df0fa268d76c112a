"""Contacts: POST, GET, PUT and DELETE /contacts, one by id or external id, the list."""

import functools
from typing import Any

from flask import Response, jsonify

from collector.domain import contacts, deletion, people
from collector.domain.contacts import ContactExists
from collector.domain.names import ATTRIBUTE
from collector.domain.people import NoPerson, Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.attributes import clean_rest_contact
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.fields import clean_user_id, shown
from collector.web.api import lookup, paging
from collector.web.api.body import query_text, read_object
from collector.web.api.contact_shape import contact_json
from collector.web.api.views import Route

ROLES = ("user", "lead")
_NOT_ATTRIBUTES = ("role", "external_id")


def create(services: Services, site: Site) -> Response:
    """Make a contact: a user with an external id or an email, or a lead."""
    body = read_object(services)
    role, external_id, values = _clean(site, body)
    if role == "lead" and external_id is not None:
        raise problem(400, Reason.FIELD_INVALID, "external_id", "a lead has no external id")
    if role != "lead" and external_id is None and values.get("email") is None:
        raise problem(400, Reason.FIELD_MISSING, "external_id", "a user has an external_id or an email; for a lead give role")
    now = services.clock()
    services.names.ensure(site.id, ATTRIBUTE, values.keys(), now)

    def work(tx: Connection) -> str:
        if role == "lead":
            return contacts.create_lead(tx, site.id, services.names, services.maker, now, values)
        return contacts.create(tx, site.id, services.names, services.maker, now, external_id=external_id, values=values)

    try:
        contact_id: str = services.writer.run(site.id, work)
    except ContactExists as error:
        raise _conflict(error) from None
    return answer_contact(services, site, lookup.by_contact_id(services, site, contact_id))


def show(services: Services, site: Site, contact_id: str) -> Response:
    """Give out a contact; a merged lead answers 410 and names the contact it became part of."""
    return answer_contact(services, site, lookup.by_contact_id(services, site, contact_id))


def find(services: Services, site: Site, external_id: str) -> Response:
    """Give out the user with an external id."""
    return answer_contact(services, site, lookup.by_external_id(services, site, external_id))


def update(services: Services, site: Site, contact_id: str) -> Response:
    """Change attributes; a user known by an email may be given an external id."""
    body = read_object(services)
    person = lookup.by_contact_id(services, site, contact_id)
    role, external_id, values = _clean(site, body)
    if role is not None and role != person.role:
        raise problem(400, Reason.NOT_SUPPORTED, "role", "not supported: a role changes by a merge only")
    now = services.clock()
    services.names.ensure(site.id, ATTRIBUTE, values.keys(), now)

    def work(tx: Connection) -> None:
        contacts.update(tx, site.id, services.names, services.maker, now, person.contact_id, external_id=external_id, values=values)

    try:
        services.writer.run(site.id, work)
    except ContactExists as error:
        raise _conflict(error) from None
    except NoPerson:  # deleted since it was read, or merged: 410
        lookup.by_contact_id(services, site, contact_id)
        raise lookup.user_not_found() from None
    return answer_contact(services, site, lookup.by_contact_id(services, site, contact_id))


def delete(services: Services, site: Site, contact_id: str) -> Response:
    """Delete a person whole, with every identity, and answer when nothing of it is left.

    Interrupted (503, or a collector that was killed), the contact is unknown when it is asked for again (404), while what it did is wiped
    within minutes by whichever collector comes to it.
    """
    person = lookup.by_contact_id(services, site, contact_id)
    transact = functools.partial(services.writer.run, site.id)
    if not deletion.erase(services.written, services.slices, transact, services.keyring, site.id, person.id, services.clock):
        lookup.by_contact_id(services, site, contact_id)  # merged since it was read: 410
        raise lookup.user_not_found()
    return jsonify(type="contact", id=person.contact_id, external_id=person.user_id, deleted=True)


def index(services: Services, site: Site) -> Response:
    """List contacts, the newest first; `email` and `external_id` in the address narrow the list down."""
    email, external_id = query_text("email"), query_text("external_id")
    asked = paging.asked(services, site)
    after = asked.after

    def read(connection: Connection) -> dict[str, Any]:
        if email is None and external_id is None:
            total = contacts.count(connection, site.id)
            found = contacts.page(connection, site.id, after, asked.per_page + 1, asked.offset)
        else:
            matching = _narrowed(connection, site, email, external_id)
            total = len(matching)
            found = [number for number in matching if after is None or number < after][asked.offset :]
        shown_people = [people.load(connection, site.id, number) for number in found[: asked.per_page]]
        data = [contact_json(services, connection, site, person) for person in shown_people]
        last = found[asked.per_page - 1] if len(found) > asked.per_page else None
        return paging.listed(services, site, data, total, asked, last)

    return jsonify(lookup.steady(services, read))


def _narrowed(connection: Connection, site: Site, email: str | None, external_id: str | None) -> list[int]:
    matching = None if email is None else contacts.with_email(connection, site.id, email)
    if external_id is not None:
        person = people.by_key(connection, site.id, ("user", clean_user_id(external_id, field="external_id")))
        users = [] if person is None else [person.id]
        matching = users if matching is None else [number for number in matching if number in users]
    return matching or []


def _clean(site: Site, body: dict[str, Any]) -> tuple[str | None, str | None, dict[str, Any]]:
    """Return role, external id and attributes of a body; what is null is absent."""
    role, external_id = body.get("role"), body.get("external_id")
    if role is not None and role not in ROLES:
        raise Refusal(Reason.FIELD_INVALID, "role", f"expected user or lead, not {shown(role)}")
    if external_id is not None:
        external_id = clean_user_id(external_id, field="external_id")
    values, _ = clean_rest_contact({key: value for key, value in body.items() if key not in _NOT_ATTRIBUTES}, site.zone)
    return role, external_id, values


def _conflict(error: ContactExists) -> Problem:
    return problem(409, Reason.CONFLICT, error.field, f"a contact with this {error.field} exists already: id={error.contact_id}")


def answer_contact(services: Services, site: Site, person: Person) -> Response:
    """Give out a contact in its whole shape."""
    with services.database.read() as connection:
        return jsonify(contact_json(services, connection, site, person))


ROUTES: tuple[Route, ...] = (
    ("POST", "/contacts", create),
    ("GET", "/contacts", index),
    ("GET", "/contacts/find_by_external_id/<path:external_id>", find),
    ("GET", "/contacts/<contact_id>", show),
    ("PUT", "/contacts/<contact_id>", update),
    ("DELETE", "/contacts/<contact_id>", delete),
)
