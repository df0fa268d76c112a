"""Why a message is shown to somebody, or not: each live message with what was decided about it lately, and the decision on one in words."""

import uuid

import msgspec
from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue

from collector.domain import decision_explanation, decision_words, decisions, deliveries, people, trigger_events
from collector.domain.auto_messages import AutoMessage
from collector.domain.decision_explanation import Why
from collector.domain.decisions import Decided
from collector.domain.delivery import Moment, TriggerEvent
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.page_rules import MAX_URL, page_of
from collector.web.console import asked, current, reading
from collector.web.console.profile import find, lead_on
from collector.web.console.query_words import Line

LABELS = {
    "state": "State",
    "schedule": "Schedule",
    "audience": "Audience",
    "page": "Page",
    "trigger": "Trigger",
    "holdout": "Holdout",
    "frequency": "How often",
    "caps": "Limits across messages",
    "content": "Content",
    "consent": "Consent",
}
"""The rules as marketers call them."""


class Lately(msgspec.Struct, frozen=True):
    """A live message, and the newest of what was decided about it for somebody, in words; empty where nothing was."""

    message: AutoMessage
    newest: str


class Asked(msgspec.Struct, frozen=True):
    """The page that is asked about, as it was written, and what is wrong with it."""

    url: str
    problem: str = ""


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/people/<contact_id>/why")
    def why_messages(contact_id: str) -> ResponseReturnValue:
        """List the live messages, to ask why this person is shown one or not."""
        site, now = current.site(), current.current().now
        with services.database.read() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            if person is None:
                return lead_on(contact_id, merged_into)
            card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
            live = [one for one in services.auto_messages.all(connection, site.id) if one.definition.state == "live"]
            had = deliveries.of_person(connection, site.id, person.id)
            newest: dict[int, Decided] = {}
            for one in decisions.with_deliveries(decisions.of_person(connection, site.id, person.id), had, now):
                newest.setdefault(one.message, one)
        lately = [
            Lately(one, decision_words.past(newest[one.id], now, site.zone) if one.id in newest else "")
            for one in sorted(live, key=lambda one: (-one.definition.priority, one.id))
        ]
        return render_template("why_messages.html", person=person, card=card, lately=lately)

    @bp.get("/people/<contact_id>/why/<message_id>")
    def why(contact_id: str, message_id: str) -> ResponseReturnValue:
        """Show the decision on a message for a person, rule by rule, on the page that is asked about."""
        site, now = current.site(), current.current().now
        page = _page()
        with services.database.read() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            if person is None:
                return lead_on(contact_id, merged_into)
            card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
            message = services.auto_messages.get(connection, site.id, current.public_id(message_id)) or abort(404)
            moment = Moment(
                now=now,
                page_url="" if page.problem else page.url,
                asserted=person.role == "user",
                event=_last_event(connection, services, site, person, message, now),
            )
            answer = decision_explanation.explain(connection, site, services.names, person, message, moment, services.settings.retention)
            past = decision_explanation.past(connection, site, person, message, now)
        return render_template(
            "why.html",
            person=person,
            card=card,
            message=message,
            page=page,
            answer=answer,
            labels=LABELS,
            tree=_tree(answer),
            past=[decision_words.past(one, now, site.zone) for one in past],
        )


def _page() -> Asked:
    url = current.argument("url", MAX_URL + 1)
    if url and (len(url) > MAX_URL or page_of(url) is None):
        return Asked(url, "This is no address of a page. Write the whole of it, such as https://example.com/pricing.")
    return Asked(url)


def _last_event(
    connection: Connection, services: Services, site: Site, person: Person, message: AutoMessage, now_ms: int
) -> TriggerEvent | None:
    """Return the newest event of the name that opens a message; None where none does, or it never happened in the timeline."""
    name, oldest = message.definition.trigger.event, now_ms - services.settings.retention
    if name is None:
        return None
    found = people.timeline(connection, site.id, services.names, person.identities, oldest, event=name, limit=1)
    return trigger_events.named(connection, site.id, services.names, person, uuid.UUID(found[0].id).bytes, oldest, None) if found else None


def _tree(answer: Why) -> list[Line]:
    return [] if answer.audience is None else asked.lines(answer.audience)
