"""Auto messages: POST and GET /auto_messages; one of them, changed and deleted; its earlier versions, its reach, its numbers."""

from typing import Any

import msgspec
from flask import Response, jsonify

from collector.domain.auto_messages import AutoMessage, MessageInUse, MessageWasSent, NoMessage
from collector.domain.message_numbers import stats
from collector.domain.reach import impossible, reach
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Problem, Reason, problem
from collector.values.messages import AutoMessageDefinition, clean_auto_message
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
    return jsonify(_told(message, site, now)), 201


def index(services: Services, site: Site) -> Response:
    """List every message of the site, the newest first."""
    with services.database.read() as connection:
        data = [message.as_json() for message in services.auto_messages.all(connection, site.id)]
    return jsonify(type="list", data=data, total_count=len(data))


def show(services: Services, site: Site, message_id: str) -> Response:
    """Give out one message."""
    with services.database.read() as connection:
        return jsonify(_find(services, connection, site, message_id).as_json())


def update(services: Services, site: Site, message_id: str) -> Response:
    """Change the parts that are given, each of them whole. With `version`, only where it is still that one."""
    body = read_object(services)
    expected = body.get("version")
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
        raise problem(400, Reason.FIELD_INVALID, "version", "expected the number that was given out")

    def change(version: int, definition: dict[str, Any]) -> AutoMessageDefinition:
        if expected is not None and expected != version:
            raise problem(409, Reason.CONFLICT, "version", f"it is version {version} by now")
        merged = {**definition, **body}
        return clean_auto_message(merged, retention_days=services.settings.retention_days, time_zone=site.zone)

    if not storable(message_id):
        raise _not_found()
    try:
        changed: AutoMessage = services.writer.run(
            site.id, lambda tx: services.auto_messages.update(tx, site.id, message_id, change, services.clock())
        )
    except NoMessage:
        raise _not_found() from None
    services.auto_messages.forget(site.id)
    return jsonify(_told(changed, site, services.clock()))


def delete(services: Services, site: Site, message_id: str) -> Response:
    """Delete a message that reached nobody."""
    if not storable(message_id):
        raise _not_found()
    try:
        services.writer.run(site.id, lambda tx: services.auto_messages.delete(tx, site.id, message_id))
    except NoMessage:
        raise _not_found() from None
    except MessageWasSent:
        raise problem(409, Reason.CONFLICT, None, "it reached people; set its state to archived instead") from None
    except MessageInUse as error:
        raise problem(409, Reason.CONFLICT, None, f"“{error.name}” asks for this message") from None
    services.auto_messages.forget(site.id)
    return jsonify(id=message_id, deleted=True)


def versions(services: Services, site: Site, message_id: str) -> Response:
    """List what a message was before it was edited, the newest first."""
    with services.database.read() as connection:
        found = services.auto_messages.versions(connection, site.id, _find(services, connection, site, message_id))
    data = [{**one.definition, "id": message_id, "version": one.number, "until": one.until // 1000} for one in found]
    return jsonify(type="list", data=data, total_count=len(data))


def reached(services: Services, site: Site, message_id: str) -> Response:
    """Say how many people a message is for now, and how many of them could not be shown it, for lack of which values."""
    now = services.clock()
    with services.database.read() as connection:
        found = _find(services, connection, site, message_id)
        counted = reach(connection, services.columns, site, services.names, found.definition, now, services.settings.retention)
    return jsonify(msgspec.to_builtins(counted))


def numbers(services: Services, site: Site, message_id: str) -> Response:
    """Give out what became of a message."""
    with services.database.read() as connection:
        return jsonify(stats(connection, site.id, _find(services, connection, site, message_id)))


def _find(services: Services, connection: Connection, site: Site, message_id: str) -> AutoMessage:
    found = services.auto_messages.get(connection, site.id, message_id) if storable(message_id) else None
    if found is None:
        raise _not_found()
    return found


def _told(message: AutoMessage, site: Site, now_ms: int) -> dict[str, Any]:
    """Return a message as it was stored, with a warning where it will never be shown: one that no page can tell of."""
    against = impossible(message.definition, now_ms, site.zone)
    return {**message.as_json(), "warnings": [one.as_json() for one in against]} if against else message.as_json()


def _not_found() -> Problem:
    return problem(404, Reason.NOT_FOUND, None, "Auto message not found")


ROUTES: tuple[Route, ...] = (
    ("POST", "/auto_messages", create),
    ("GET", "/auto_messages", index),
    ("GET", "/auto_messages/<message_id>", show),
    ("PUT", "/auto_messages/<message_id>", update),
    ("DELETE", "/auto_messages/<message_id>", delete),
    ("GET", "/auto_messages/<message_id>/versions", versions),
    ("GET", "/auto_messages/<message_id>/reach", reached),
    ("GET", "/auto_messages/<message_id>/stats", numbers),
)
