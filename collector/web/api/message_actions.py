"""What is done to auto messages as a whole: one is duplicated, all of a site are paused or get another colour."""

import msgspec
from flask import Response, jsonify

from collector.domain import copies, people, trials
from collector.domain.auto_messages import AutoMessage
from collector.domain.sites import Site
from collector.domain.trials import Trial
from collector.services import Services
from collector.storage.database import Connection
from collector.values.colours import brand, clean_colour
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import shown
from collector.values.text import storable
from collector.web.api.body import read_object
from collector.web.api.views import Route


def duplicate(services: Services, site: Site, message_id: str) -> tuple[Response, int]:
    """Store a draft like this message: 201 and its whole definition."""
    now = services.clock()

    def work(tx: Connection) -> AutoMessage:
        found = services.auto_messages.get(tx, site.id, message_id) if storable(message_id) else None
        if found is None:
            raise problem(404, Reason.NOT_FOUND, None, "Auto message not found")
        return copies.duplicate(tx, services.auto_messages, site, found, services.settings.retention_days, now)

    made: AutoMessage = services.writer.run(site.id, work)
    return jsonify(made.as_json()), 201


def test_link(services: Services, site: Site, message_id: str) -> Response:
    """Give out a link to a page of the site that shows this message there, with examples or the values of a contact, and counts nowhere."""
    body, now = read_object(services), services.clock()
    page, contact = body.get("page"), body.get("contact_id")
    if not isinstance(page, str) or not _is_page(site, page):
        code = Reason.FIELD_INVALID if "page" in body else Reason.FIELD_MISSING
        raise problem(400, code, "page", f"expected the address of a page of this site, not {shown(page)}")
    with services.database.read() as connection:
        found = services.auto_messages.get(connection, site.id, message_id) if storable(message_id) else None
        if found is None:
            raise problem(404, Reason.NOT_FOUND, None, "Auto message not found")
        if contact is not None and not _is_contact(connection, site, contact):
            raise problem(400, Reason.PERSON_UNKNOWN, "contact_id")
    url = trials.link(services.keyring, site, page, Trial(found.public_id, contact), now)
    return jsonify(url=url, expires_at=(now + trials.LIFE) // 1000)


def _is_page(site: Site, page: str) -> bool:
    try:
        return trials.is_page(site, page)
    except ValueError:
        return False


def _is_contact(connection: Connection, site: Site, contact: object) -> bool:
    if not isinstance(contact, str) or not storable(contact):
        return False
    try:
        return people.by_contact_id(connection, site.id, contact)[0] is not None
    except people.NoPerson:  # gone, or merged, since the first statement
        return False


def paused(services: Services, site: Site) -> Response:  # noqa: ARG001 (every view is called with them)
    """Say whether all messages of the site are paused."""
    return jsonify(paused=site.settings.messages_paused)


def pause(services: Services, site: Site) -> Response:
    """Pause all messages of the site, or lift that. Each keeps its own state."""
    body = read_object(services)
    wanted = body.get("paused")
    if not isinstance(wanted, bool):
        code = Reason.FIELD_INVALID if "paused" in body else Reason.FIELD_MISSING
        raise problem(400, code, "paused", f"expected true or false, not {shown(wanted)}")
    services.writer.run(site.id, lambda tx: services.sites.change(tx, site.id, messages_paused=wanted))
    services.sites.forget()
    return jsonify(paused=wanted)


def looks(services: Services, site: Site) -> Response:  # noqa: ARG001 (every view is called with them)
    """Give out the site's brand colour, and what becomes of it on light and on dark cards."""
    return _looks(site.settings.brand_color)


def change_looks(services: Services, site: Site) -> Response:
    """Set the site's brand colour, or with null go back to the messenger's own."""
    body = read_object(services)
    if "brand_color" not in body:
        raise problem(400, Reason.FIELD_MISSING, "brand_color", "expected a colour such as #1f4fd1, or null")
    try:
        colour = None if body["brand_color"] is None else clean_colour(body["brand_color"])
    except Refusal as refusal:
        raise problem(400, refusal.code, "brand_color", refusal.message) from None
    services.writer.run(site.id, lambda tx: services.sites.change(tx, site.id, brand_color=colour))
    services.sites.forget()
    return _looks(colour)


def _looks(colour: str | None) -> Response:
    return jsonify(brand_color=colour, brand=None if colour is None else msgspec.to_builtins(brand(colour)))


ROUTES: tuple[Route, ...] = (
    ("POST", "/auto_messages/<message_id>/duplicate", duplicate),
    ("POST", "/auto_messages/<message_id>/test_link", test_link),
    ("GET", "/auto_messages/paused", paused),
    ("PUT", "/auto_messages/paused", pause),
    ("GET", "/auto_messages/looks", looks),
    ("PUT", "/auto_messages/looks", change_looks),
)
