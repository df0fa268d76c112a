"""POST /contacts/{id}/explain: whether a query holds for somebody, rule by rule, and the nearest change that would turn it."""

from typing import Any

from flask import Response, jsonify

from collector.domain import outlook, segments
from collector.domain.explanation import Explained
from collector.domain.explanation import explain as explain_query
from collector.domain.nearest_change import Nearest, nearest_change
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.values.queries import parse
from collector.values.query_tree import needs
from collector.web.api import lookup
from collector.web.api.body import read_object, unknown_key
from collector.web.api.views import Route


def explain(services: Services, site: Site, contact_id: str) -> Response:
    """Give out the verdict of a query on a contact with its reasons."""
    body = read_object(services)
    unknown = unknown_key(body, frozenset({"query"}))
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    if body.get("query") is None:
        raise problem(400, Reason.FIELD_MISSING, "query")
    node = parse(body["query"], retention_days=services.settings.retention_days, time_zone=site.zone)

    def read(connection: Connection) -> dict[str, Any]:
        now, person = services.clock(), lookup.in_connection(connection, site, contact_id)
        asked = segments.expand(connection, site.id, node)
        ahead = outlook.load(connection, site, services.names, person, needs(asked), now, services.settings.retention)
        explained = explain_query(asked, ahead.facts(now), now, site.zone, ahead.message_names)
        nearest = nearest_change(asked, ahead, now, site.zone)
        return {
            "matches": explained.holds,
            "in_words": explained.in_words,
            **tree_json(explained, nearest),
        }

    return jsonify(lookup.steady(services, read))


def tree_json(explained: Explained, nearest: Nearest) -> dict[str, Any]:
    """Return a query's tree with each verdict, and the nearest change, as the API gives them out."""
    return {
        "tree": explained.as_json(),
        "nearest_change": None if nearest.change is None else nearest.change.as_json(),
        "why_no_change": nearest.why_none,
    }


ROUTES: tuple[Route, ...] = (("POST", "/contacts/<contact_id>/explain", explain),)
