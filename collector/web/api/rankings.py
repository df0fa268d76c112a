"""GET /events/top: who did an event most often, ever or within the last days."""

from typing import Any

from flask import Response, jsonify

from collector.domain import people, rankings
from collector.domain.rankings import Place
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.clock import DAY
from collector.values.errors import Reason, problem
from collector.values.fields import clean_event_name
from collector.web.api.body import query_number, query_text
from collector.web.api.contact_shape import contact_json
from collector.web.api.events import iso
from collector.web.api.paging import DEFAULT_PER_PAGE, MOST_PER_PAGE
from collector.web.api.views import Route

_MOST_PAGES = 100_000


def top(services: Services, site: Site) -> Response:
    """Give out a page of people, who did it most often first; `within_days` counts over the timeline, else all time does."""
    name = query_text("event_name")
    if name is None:
        raise problem(400, Reason.FIELD_MISSING, "event_name")
    event = clean_event_name(name, field="event_name")
    days = query_number("within_days", 0, 1, services.settings.retention_days)
    per_page = query_number("per_page", DEFAULT_PER_PAGE, 1, MOST_PER_PAGE)
    page = query_number("page", 1, 1, _MOST_PAGES)
    limit, offset = per_page + 1, (page - 1) * per_page
    with services.database.snapshot() as connection:
        if days:
            after = services.clock() - days * DAY
            found = rankings.since(connection, site.id, services.names, event, after, limit=limit, offset=offset)
        else:
            found = rankings.of_all_time(connection, site.id, services.names, event, limit=limit, offset=offset)
        data = [_json(services, connection, site, place) for place in found[:per_page]]
    following = {"page": page + 1, "per_page": per_page} if len(found) > per_page else None
    return jsonify(
        type="event.top",
        event_name=event,
        within_days=days or None,
        data=data,
        pages={"type": "pages", "page": page, "per_page": per_page, "next": following},
    )


def _json(services: Services, connection: Connection, site: Site, place: Place) -> dict[str, Any]:
    return {
        "count": place.count,
        "first": iso(place.first_ms),
        "last": iso(place.last_ms),
        "contact": contact_json(services, connection, site, people.load(connection, site.id, place.person)),
    }


ROUTES: tuple[Route, ...] = (("GET", "/events/top", top),)
