"""Events without code: GET and POST /event_rules, one of them, DELETE archives it."""

from typing import Any

from flask import Response, jsonify

from collector.domain import event_rules
from collector.domain.event_rules import EventRule
from collector.domain.names import EVENT, PAGE_VIEW
from collector.domain.sites import Site
from collector.services import Services
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.fields import clean_event_name
from collector.values.page_rules import parse_page_rule, rule_json
from collector.values.text import storable
from collector.web.api.body import read_object, unknown_key
from collector.web.api.views import Route

_KEYS = frozenset({"event_name", "page"})


def index(services: Services, site: Site) -> Response:
    """List every rule, the newest first, archived ones too."""
    with services.database.read() as connection:
        data = [_json(rule) for rule in event_rules.all_of(connection, site.id)]
    return jsonify(type="list", data=data, total_count=len(data))


def show(services: Services, site: Site, rule_id: str) -> Response:
    """Give out one rule; `backfilled_at` is null until it was applied to the timeline."""
    return jsonify(_json(_find(services, site, rule_id)))


def create(services: Services, site: Site) -> tuple[Response, int]:
    """Store a rule: 201. It counts from now on; page views of the timeline follow within the next minutes."""
    body = read_object(services)
    unknown = unknown_key(body, _KEYS)
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    missing = next((key for key in ("event_name", "page") if key not in body), None)
    if missing is not None:
        raise problem(400, Reason.FIELD_MISSING, missing)
    name = clean_event_name(body["event_name"], field="event_name")
    if name == PAGE_VIEW:
        raise Refusal(Reason.FIELD_INVALID, "event_name", "expected another name than that of the page view itself")
    page = parse_page_rule(body["page"])
    now = services.clock()
    services.names.ensure(site.id, EVENT, [name], now)
    made: EventRule = services.writer.run(site.id, lambda tx: services.event_rules.create(tx, site.id, name, page, now))
    services.event_rules.forget(site.id)
    return jsonify(_json(made)), 201


def archive(services: Services, site: Site, rule_id: str) -> Response:
    """Let a rule make no more events; those it made stay."""
    found = _find(services, site, rule_id)
    services.writer.run(site.id, lambda tx: event_rules.archive(tx, site.id, found.public_id, services.clock()))
    services.event_rules.forget(site.id)
    return jsonify(_json(_find(services, site, rule_id)))


def _find(services: Services, site: Site, rule_id: str) -> EventRule:
    with services.database.read() as connection:
        found = event_rules.get(connection, site.id, rule_id) if storable(rule_id) else None
    if found is None:
        raise _not_found()
    return found


def _json(rule: EventRule) -> dict[str, Any]:
    times = {"created_at": rule.created_at, "archived_at": rule.archived_at, "backfilled_at": rule.backfilled_at}
    return {
        "type": "event_rule",
        "id": rule.public_id,
        "event_name": rule.event,
        "page": rule_json(rule.page),
        **{name: None if at is None else at // 1000 for name, at in times.items()},
    }


def _not_found() -> Problem:
    return problem(404, Reason.NOT_FOUND, None, "Event rule not found")


ROUTES: tuple[Route, ...] = (
    ("GET", "/event_rules", index),
    ("POST", "/event_rules", create),
    ("GET", "/event_rules/<rule_id>", show),
    ("DELETE", "/event_rules/<rule_id>", archive),
)
