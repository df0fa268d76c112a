"""Events without code: GET and POST /event_rules, one of them, DELETE archives it.

A rule's `source` says what it makes events of: page views (the default) by their address, clicks or submits by a CSS selector.
"""

from typing import Any

from flask import Response, jsonify

from collector.domain import element_rules, event_rules
from collector.domain.element_rules import ElementRule
from collector.domain.event_rules import EventRule
from collector.domain.names import EVENT, PAGE_VIEW
from collector.domain.sites import Site
from collector.services import Services
from collector.values.element_rules import FIELDS, SOURCES, clean_element_rule
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.fields import clean_event_name, shown
from collector.values.page_rules import parse_page_rule, rule_json
from collector.values.text import storable
from collector.web.api.body import read_object, unknown_key
from collector.web.api.views import Route

_VIEW = "page_view"
_VIEW_KEYS = frozenset({"event_name", "source", "page"})
_ELEMENT_KEYS = FIELDS | {"event_name"}


def index(services: Services, site: Site) -> Response:
    """List every rule, the newest first, archived ones too."""
    with services.database.read() as connection:
        found: list[EventRule | ElementRule] = [*event_rules.all_of(connection, site.id), *element_rules.all_of(connection, site.id)]
    data = [_json(rule) for rule in sorted(found, key=lambda rule: rule.id, reverse=True)]
    return jsonify(type="list", data=data, total_count=len(data))


def show(services: Services, site: Site, rule_id: str) -> Response:
    """Give out one rule; `backfilled_at` of one about page views is null until it was applied to the timeline."""
    return jsonify(_json(_find(services, site, rule_id)))


def create(services: Services, site: Site) -> tuple[Response, int]:
    """Store a rule: 201. It counts from now on; for a rule about page views, those of the timeline follow within the next minutes."""
    body = read_object(services)
    source = body.get("source", _VIEW)
    if source not in (_VIEW, *SOURCES):
        raise Refusal(Reason.FIELD_INVALID, "source", f"There is {shown(source)}; expected one of {_VIEW} {' '.join(SOURCES)}.")
    unknown = unknown_key(body, _VIEW_KEYS if source == _VIEW else _ELEMENT_KEYS)
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    missing = next((key for key in ("event_name", "page" if source == _VIEW else "selector") if key not in body), None)
    if missing is not None:
        raise problem(400, Reason.FIELD_MISSING, missing)
    name = clean_event_name(body["event_name"], field="event_name")
    if name == PAGE_VIEW:
        raise Refusal(Reason.FIELD_INVALID, "event_name", "expected another name than that of the page view itself")
    rule = parse_page_rule(body["page"]) if source == _VIEW else clean_element_rule(body)
    services.names.ensure(site.id, EVENT, [name], services.clock())
    made: EventRule | ElementRule = services.writer.run(
        site.id, lambda tx: services.event_rules.create(tx, site.id, name, rule, services.clock())
    )
    services.event_rules.forget(site.id)
    return jsonify(_json(made)), 201


def archive(services: Services, site: Site, rule_id: str) -> Response:
    """Let a rule make no more events; those it made stay."""
    found = _find(services, site, rule_id)
    of_its_kind = element_rules if isinstance(found, ElementRule) else event_rules
    services.writer.run(site.id, lambda tx: of_its_kind.archive(tx, site.id, found.public_id, services.clock()))
    services.event_rules.forget(site.id)
    return jsonify(_json(_find(services, site, rule_id)))


def _find(services: Services, site: Site, rule_id: str) -> EventRule | ElementRule:
    found: EventRule | ElementRule | None = None
    if storable(rule_id):
        with services.database.read() as connection:
            found = event_rules.get(connection, site.id, rule_id) or element_rules.get(connection, site.id, rule_id)
    if found is None:
        raise _not_found()
    return found


def _json(rule: EventRule | ElementRule) -> dict[str, Any]:
    times = {"created_at": rule.created_at, "archived_at": rule.archived_at}
    if isinstance(rule, EventRule):
        definition: dict[str, Any] = {"source": _VIEW, "page": rule_json(rule.page)}
        times["backfilled_at"] = rule.backfilled_at
    else:
        definition = rule.definition.as_json()
    return {
        "type": "event_rule",
        "id": rule.public_id,
        "event_name": rule.event,
        **definition,
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
