"""Auto messages: POST and GET /auto_messages, one of them, its numbers."""

from flask import Response, jsonify

from collector.domain.auto_messages import AutoMessage
from collector.domain.message_numbers import stats
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Problem, Reason, problem
from collector.values.messages import clean_auto_message
from collector.values.text import storable
from collector.web.api.body import read_object
from collector.web.api.views import Route


def create(services: Services, site: Site) -> tuple[Response, int]:
    """Store a message: 201 and its whole definition, with defaults, id and version."""
    body = read_object(services)
    definition = clean_auto_message(body, retention_days=services.settings.retention_days, time_zone=site.zone)
    now = services.clock()
    message: AutoMessage = services.writer.run(site.id, lambda tx: services.auto_messages.create(tx, site.id, definition, now))
    services.auto_messages.forget(site.id)
    return jsonify(message.as_json()), 201


def index(services: Services, site: Site) -> Response:
    """List every message of the site, the newest first."""
    with services.database.read() as connection:
        data = [message.as_json() for message in services.auto_messages.all(connection, site.id)]
    return jsonify(type="list", data=data, total_count=len(data))


def show(services: Services, site: Site, message_id: str) -> Response:
    """Give out one message."""
    with services.database.read() as connection:
        return jsonify(_find(services, connection, site, message_id).as_json())


def numbers(services: Services, site: Site, message_id: str) -> Response:
    """Give out what became of a message."""
    with services.database.read() as connection:
        return jsonify(stats(connection, site.id, _find(services, connection, site, message_id)))


def _find(services: Services, connection: Connection, site: Site, message_id: str) -> AutoMessage:
    found = services.auto_messages.get(connection, site.id, message_id) if storable(message_id) else None
    if found is None:
        raise _not_found()
    return found


def _not_found() -> Problem:
    return problem(404, Reason.NOT_FOUND, None, "Auto message not found")


ROUTES: tuple[Route, ...] = (
    ("POST", "/auto_messages", create),
    ("GET", "/auto_messages", index),
    ("GET", "/auto_messages/<message_id>", show),
    ("GET", "/auto_messages/<message_id>/stats", numbers),
)
