"""GET /contacts/{id}/export: everything stored about a person as one JSON document, written as it is read. Times are unix seconds.

A document that breaks off, because the database did or the person was deleted meanwhile, is no JSON. Where nothing of it was sent yet, the
answer says why under `leadlight serve`; other WSGI servers break it off.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from flask import Response

from collector.domain import attributes, export
from collector.domain.audiences import Total
from collector.domain.identities import Identity
from collector.domain.people import NoPerson, Person
from collector.domain.sites import Site
from collector.ingest.failures import log_failure
from collector.services import Services
from collector.storage.database import Connection
from collector.values.ids import event_id_text
from collector.values.visit_context import CLIENT
from collector.web.api import lookup
from collector.web.api.contact_shape import contact_json
from collector.web.api.errors import request_id, unexpected
from collector.web.api.merges import merge_json
from collector.web.api.views import Route
from collector.web.streams import BrokenOff

_SOURCES = {attributes.BROWSER: "browser", attributes.TRUSTED: "trusted"}


def show(services: Services, site: Site, contact_id: str) -> Response:
    """Give out everything about a person; a merged lead answers 410 and names the contact it became part of."""
    with services.database.snapshot() as connection:
        return give_out(services, connection, site, lookup.in_connection(connection, site, contact_id))


def give_out(services: Services, connection: Connection, site: Site, person: Person) -> Response:
    """Return the answer for a person. Journal, visits and events are read later, while it is being sent, on connections of their own."""
    now = services.clock()
    oldest = now - services.settings.retention
    contact = contact_json(services, connection, site, person)
    head = {
        "type": "contact.export",
        "exported_at": now // 1000,
        "events_since": oldest // 1000,
        "contact": msgspec.Raw(json.dumps(contact).encode()),
        "identities": [_identity(one) for one in person.identities],
        **_records(export.records(connection, site.id, services.names, person), _contact_ids(person)),
    }
    answer = Response(_document(services, site, person, oldest, head, request_id()), content_type="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="contact-{person.contact_id}.json"'
    return answer


def _document(services: Services, site: Site, person: Person, oldest: int, head: dict[str, Any], request: str) -> Iterator[bytes]:
    ids = _contact_ids(person)
    merges = export.merges(services.database, site.id, person)
    visits = export.visits(services.database, site.id, person.identities)
    events = export.events(services.database, site.id, services.names, person.identities, oldest)
    try:
        yield msgspec.json.encode(head)[:-1]
        yield from _list("merges", ([{**merge_json(one), "outcome": one.outcome} for one in page] for page in merges))
        yield from _list("visits", ([_visit(one, ids) for one in page] for page in visits))
        yield from _list("events", ([_event(one, ids) for one in page] for page in events))
        yield b"}"
    except Exception as error:  # what databases say quotes values, and whoever sends this would log it
        log_failure(request, error)
        raise BrokenOff(lookup.user_not_found() if isinstance(error, NoPerson) else unexpected(error), request) from None


def _list(name: str, pages: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    begin = b',"%s":[' % name.encode()
    for page in pages:
        yield begin + msgspec.json.encode(page)[1:-1]
        begin = b","
    yield b"]" if begin == b"," else begin + b"]"


def _records(found: export.Records, ids: dict[int, str]) -> dict[str, Any]:
    return {
        "attributes": [
            {
                "contact_id": ids[one.identity],
                "name": one.name,
                "value": msgspec.Raw(one.value.encode()),
                "set_at": one.set_at // 1000,
                "source": _SOURCES[one.source],
            }
            for one in found.attributes
        ],
        "totals": [
            {
                "contact_id": ids[one.identity],
                "event_name": one.name,
                **_total(one.own),
                "base": _total(one.base),
                "imported": _total(one.imported),
            }
            for one in found.totals
        ],
        "deliveries": [_delivery(one, ids) for one in found.received],
        "decisions": [
            {
                "contact_id": ids[one.decided.identity],
                "message_id": one.message_id,
                "message_name": one.message_name,
                "outcome": one.decided.outcome,
                "times": one.decided.times,
                "at": one.decided.last_at // 1000,
            }
            for one in found.decisions
        ],
    }


def _identity(one: Identity) -> dict[str, Any]:
    return {
        "contact_id": one.public_id,
        "kind": one.kind,
        "value": one.value,
        "created_at": one.created_at // 1000,
        "last_active_at": _seconds(one.own_active_at),
        "verified": bool(one.verified),
        "unverified_at": _seconds(one.unverified_at),
        "deleted_before": _seconds(one.not_before or None),
    }


def _total(total: Total) -> dict[str, Any]:
    return {"count": total.count, "first": _seconds(total.first_ms), "last": _seconds(total.last_ms)}


def _delivery(one: export.Received, ids: dict[int, str]) -> dict[str, Any]:
    delivery = one.delivery
    return {
        "contact_id": ids[delivery.identity],
        "message_id": one.message_id,
        "message_name": one.message_name,
        "version": delivery.version,
        "arm": delivery.arm,
        "claimed_at": delivery.claimed_at // 1000,
        "seen_at": _seconds(delivery.seen_at),
        "clicked_at": _seconds(delivery.clicked_at),
        "answered_at": _seconds(delivery.answered_at),
        "answer": _stored(delivery.answer),
        "dismissed_at": _seconds(delivery.dismissed_at),
        "goal_at": _seconds(delivery.goal_at),
        "event_id": _id(delivery.event),
        "view_id": _id(delivery.view),
        "links": [{"link": link, "clicked_at": at // 1000} for link, at in one.links],
    }


def _visit(visit: export.Visit, ids: dict[int, str]) -> dict[str, Any]:
    known = json.loads(visit.context or "{}")
    return {
        "id": _id(visit.id),
        "contact_id": ids[visit.identity],
        "started_at": visit.started_at // 1000,
        "ended_at": max(visit.started_at, visit.ended_at) // 1000,  # it is kept to the minute
        "page": {key: value for key, value in known.items() if key not in CLIENT} or None,
        "client": {key: value for key, value in known.items() if key in CLIENT} or None,
    }


def _event(event: export.StoredEvent, ids: dict[int, str]) -> dict[str, Any]:
    return {
        "id": _id(event.id),
        "event_name": event.name,
        "created_at": event.at // 1000,
        "contact_id": ids[event.identity],
        "visit_id": _id(event.visit),
        "unverified": event.unverified,
        "page": _stored(event.page),
        "metadata": _stored(event.metadata or "{}"),
    }


def _contact_ids(person: Person) -> dict[int, str]:
    return {one.id: one.public_id for one in person.identities}


def _stored(text: str | None) -> msgspec.Raw | None:
    """Return JSON that stands in a row, as it stands there."""
    return None if text is None else msgspec.Raw(text.encode())


def _id(id16: bytes | None) -> str | None:
    return None if id16 is None else event_id_text(id16)


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000


ROUTES: tuple[Route, ...] = (("GET", "/contacts/<contact_id>/export", show),)
