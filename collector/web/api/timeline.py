"""GET /contacts/{id}/timeline: single events of somebody, the newest first, each with the contact id of the identity that sent it."""

from typing import Any

from flask import Response, jsonify

from collector.domain import people
from collector.domain.people import TimelineEvent
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.web.api import lookup
from collector.web.api.body import query_flag, query_number, query_text
from collector.web.api.paging import DEFAULT_PER_PAGE, MOST_PER_PAGE
from collector.web.api.views import Route


def show(services: Services, site: Site, contact_id: str) -> Response:
    """Give out a page of events; with `before_sign_up=true` what the user's leads did before each became part of the user."""
    event = query_text("event_name")
    before_sign_up = query_flag("before_sign_up")
    per_page = query_number("per_page", DEFAULT_PER_PAGE, 1, MOST_PER_PAGE)
    behind = _behind()
    oldest = services.clock() - services.settings.retention

    def read(connection: Connection) -> list[TimelineEvent]:
        person = lookup.in_connection(connection, site, contact_id)
        names, limit = services.names, per_page + 1
        if before_sign_up:
            return people.before_sign_up(connection, site.id, names, person, oldest, event=event, behind=behind, limit=limit)
        return people.timeline(connection, site.id, names, person.identities, oldest, event=event, behind=behind, limit=limit)

    found = lookup.steady(services, read)
    page = found[:per_page]
    following = {"per_page": per_page, "starting_after": page[-1].cursor} if len(found) > per_page else None
    return jsonify(type="list", data=[_json(one) for one in page], pages={"type": "pages", "per_page": per_page, "next": following})


def _behind() -> tuple[int, bytes] | None:
    cursor = query_text("starting_after")
    found = None if cursor is None else people.behind(cursor)
    if cursor is not None and found is None:
        raise problem(400, Reason.FIELD_INVALID, "starting_after", "expected the value of pages.next.starting_after")
    return found


def _json(one: TimelineEvent) -> dict[str, Any]:
    return {
        "type": "event",
        "id": one.id,
        "event_name": one.name,
        "created_at": one.at // 1000,
        "contact_id": one.contact_id,
        "unverified": one.unverified,
        "page": one.page or None,
        "metadata": one.metadata,
    }


ROUTES: tuple[Route, ...] = (("GET", "/contacts/<contact_id>/timeline", show),)
