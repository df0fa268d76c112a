"""GET /contacts/{id}/explain/{auto_message_id}: why somebody is shown a message or not, rule by rule, and what was decided lately."""

import contextlib
import uuid
from typing import Any

from flask import Response, jsonify

from collector.domain import decision_explanation, decision_words, trigger_events
from collector.domain.decision_explanation import Why
from collector.domain.decisions import Decided
from collector.domain.delivery import Moment, TriggerEvent
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.values.ids import UUID_LENGTH
from collector.values.page_rules import MAX_URL, page_of
from collector.values.text import storable
from collector.web.api import lookup
from collector.web.api.body import query_text
from collector.web.api.explain import tree_json
from collector.web.api.views import Route


def explain(services: Services, site: Site, contact_id: str, message_id: str) -> Response:
    """Give out the decision on a message for a contact, for the page (`url`) and the event (`event_id`) of the address, where given."""
    url, event_id = _url(), _event_id()

    def read(connection: Connection) -> dict[str, Any]:
        now, person = services.clock(), lookup.in_connection(connection, site, contact_id)
        message = services.auto_messages.get(connection, site.id, message_id) if storable(message_id) else None
        if message is None:
            raise problem(404, Reason.NOT_FOUND, "auto_message_id", "there is no such message")
        event = None if event_id is None else _event(connection, services, site, person, event_id)
        # Of a user the answer is that for a page where it is signed in.
        moment = Moment(now=now, page_url=url, asserted=person.role == "user", event=event)
        why = decision_explanation.explain(connection, site, services.names, person, message, moment, services.settings.retention)
        past = decision_explanation.past(connection, site, person, message, now)
        return {
            "would_show": why.would_show,
            "verdicts": _verdicts(why),
            "decisions": [_decided(one, person, now, site) for one in past],
        }

    return jsonify(lookup.steady(services, read))


def _verdicts(why: Why) -> list[dict[str, Any]]:
    verdicts = []
    for reason in why.reasons:
        more = tree_json(why.audience, why.nearest) if reason.rule == "audience" and why.audience and why.nearest else {}
        verdicts.append(
            {
                "rule": reason.rule,
                "holds": reason.holds,
                "expected": reason.expected,
                "actual": reason.actual,
                "in_words": reason.in_words,
                **more,
            }
        )
    return verdicts


def _decided(one: Decided, person: Person, now_ms: int, site: Site) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "times": one.times,
        "at": one.last_at // 1000,
        "contact_id": next((identity.public_id for identity in person.identities if identity.id == one.identity), person.contact_id),
        "in_words": decision_words.past(one, now_ms, site.zone),
    }


def _url() -> str:
    """Return the page of the address, empty where none is given.

    Raises:
        Problem: 400.
    """
    url = query_text("url") or ""
    if url and (len(url) > MAX_URL or page_of(url) is None):
        raise problem(400, Reason.FIELD_INVALID, "url", "expected the whole address of a page, such as https://example.com/pricing")
    return url


def _event_id() -> bytes | None:
    text = query_text("event_id")
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if len(text) == UUID_LENGTH:
            return uuid.UUID(text).bytes
    raise problem(400, Reason.FIELD_INVALID, "event_id", "expected the id of an event as the timeline gives it out")


def _event(connection: Connection, services: Services, site: Site, person: Person, event_id: bytes) -> TriggerEvent:
    oldest = services.clock() - services.settings.retention
    event = trigger_events.named(connection, site.id, services.names, person, event_id, oldest, None)
    if event is None:
        raise problem(404, Reason.NOT_FOUND, "event_id", "this contact has no such event")
    return event


ROUTES: tuple[Route, ...] = (("GET", "/contacts/<contact_id>/explain/<message_id>", explain),)
