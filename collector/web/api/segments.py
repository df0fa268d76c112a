"""Segments: GET, POST, PUT and DELETE /segments, one of them, those a contact is in."""

from typing import Any

from flask import Response, jsonify

from collector.domain import counting, facts, segments
from collector.domain.audiences import matches
from collector.domain.segments import NoSegment, Segment, SegmentExists, SegmentInUse
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Problem, Reason, problem
from collector.values.query_tree import needs, to_json
from collector.values.text import storable
from collector.web.api import lookup
from collector.web.api.body import query_flag, read_object, unknown_key
from collector.web.api.views import Route

_KEYS = frozenset({"name", "query"})


def index(services: Services, site: Site) -> Response:
    """List every segment, by name; with `include_count=true` how many people are in each."""
    counted = query_flag("include_count")
    with services.database.read() as connection:
        found = segments.all_of(connection, site.id)
        listed = [_json(one, _count(services, connection, site, one) if counted else None) for one in found]
    return jsonify(type="segment.list", segments=listed)


def show(services: Services, site: Site, segment_id: str) -> Response:
    """Give out one segment and how many people are in it."""
    with services.database.read() as connection:
        found = segments.get(connection, site.id, segment_id) if storable(segment_id) else None
        if found is None:
            raise _not_found()
        return jsonify(_json(found, _count(services, connection, site, found)))


def create(services: Services, site: Site) -> tuple[Response, int]:
    """Store a segment: 201."""
    body = _body(services)
    if "name" not in body or "query" not in body:
        raise problem(400, Reason.FIELD_MISSING, "query" if "name" in body else "name")
    name = segments.clean_name(body["name"])
    query = segments.clean_query(body["query"], services.settings.retention_days, site.zone)
    now = services.clock()

    def work(tx: Connection) -> Segment:
        return segments.create(tx, site.id, services.row_ids, name, query, services.auto_messages.queries, now)

    try:
        made: Segment = services.writer.run(site.id, work)
    except SegmentExists:
        raise _taken() from None
    services.auto_messages.forget(site.id)
    return jsonify(_json(made, None)), 201


def update(services: Services, site: Site, segment_id: str) -> Response:
    """Change name, query or both."""
    body = _body(services)
    name = segments.clean_name(body["name"]) if "name" in body else None
    query = segments.clean_query(body["query"], services.settings.retention_days, site.zone) if "query" in body else None
    if not storable(segment_id):
        raise _not_found()

    def work(tx: Connection) -> Segment:
        return segments.update(tx, site.id, segment_id, name, query, services.auto_messages.queries, services.clock())

    try:
        changed: Segment = services.writer.run(site.id, work)
    except NoSegment:
        raise _not_found() from None
    except SegmentExists:
        raise _taken() from None
    services.auto_messages.forget(site.id)
    return jsonify(_json(changed, None))


def delete(services: Services, site: Site, segment_id: str) -> Response:
    """Delete a segment that no message asks for."""
    if not storable(segment_id):
        raise _not_found()

    try:
        services.writer.run(site.id, lambda tx: segments.delete(tx, site.id, segment_id, services.auto_messages.queries))
    except NoSegment:
        raise _not_found() from None
    except SegmentInUse as error:
        raise problem(409, Reason.CONFLICT, None, f"the message “{error.name}” asks for this segment") from None
    return jsonify(type="segment", id=segment_id, deleted=True)


def of_contact(services: Services, site: Site, contact_id: str) -> Response:
    """List the segments a contact is in."""
    person = lookup.by_contact_id(services, site, contact_id)
    now = services.clock()
    with services.database.read() as connection:
        found = segments.all_of(connection, site.id)
        wanted = needs(*(one.query for one in found))
        known = facts.load(connection, site, services.names, person, wanted, now, services.settings.retention)
    return jsonify(type="list", data=[_json(one, None) for one in found if matches(one.query, known, now, site.zone)])


def _count(services: Services, connection: Connection, site: Site, one: Segment) -> int:
    settings = services.settings
    return counting.count(connection, services.columns, site, services.names, one.query, services.clock(), settings.retention)


def _body(services: Services) -> dict[str, Any]:
    body = read_object(services)
    unknown = unknown_key(body, _KEYS)
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    return body


def _json(one: Segment, count: int | None) -> dict[str, Any]:
    return {
        "type": "segment",
        "id": one.public_id,
        "name": one.name,
        "query": to_json(one.query),
        "person_type": "contact",
        "created_at": one.created_at // 1000,
        "updated_at": one.updated_at // 1000,
        **({} if count is None else {"count": count}),
    }


def _not_found() -> Problem:
    return problem(404, Reason.NOT_FOUND, None, "Segment not found")


def _taken() -> Problem:
    return problem(409, Reason.CONFLICT, "name", "a segment of this name exists already")


ROUTES: tuple[Route, ...] = (
    ("GET", "/segments", index),
    ("POST", "/segments", create),
    ("GET", "/segments/<segment_id>", show),
    ("PUT", "/segments/<segment_id>", update),
    ("DELETE", "/segments/<segment_id>", delete),
    ("GET", "/contacts/<contact_id>/segments", of_contact),
)
