"""Messages with their numbers, and one message in words."""

import json

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from collector.domain import message_numbers
from collector.domain.auto_messages import AutoMessage
from collector.domain.message_numbers import Behind
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.questions import Answer
from collector.values.text import storable
from collector.web.console import current, query_words, reading
from collector.web.console.install import address
from collector.web.console.pages import Pages

PER_PAGE = 50
FEW = 10
"""Answers on a message's own page; all are on a page of their own."""
_EXAMPLE = """curl {address}/api/auto_messages -H "Authorization: Bearer ACCESS_TOKEN" -H "Content-Type: application/json" -d '{{
  "name": "Pricing, again", "type": "popup", "state": "live",
  "content": {{"title": "Still comparing plans?", "body": "Ask us anything.", "buttons": [{{"label": "Close", "action": "dismiss"}}]}},
  "audience": {{"event": "page-view", "field": "count", "operator": ">", "value": 3}}
}}'"""
_STEPS = {
    "matched": "Matched",
    "held_out": "Held out",
    "sent": "Sent",
    "seen": "Seen",
    "clicked": "Clicked",
    "answered": "Answered",
    "dismissed": "Dismissed",
    "goal": "Goal met",
}
_LONGEST_RATING = 4
_ORDER = {"live": 0, "paused": 1, "draft": 2, "archived": 3}


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages")
    def messages_list() -> ResponseReturnValue:
        """List all messages: the live ones first, each group the newest first."""
        site = current.site()
        with services.database.read() as connection:
            found = services.auto_messages.all(connection, site.id)
            numbers = message_numbers.recipients(connection, site.id, [message.id for message in found])
        found.sort(key=lambda message: _ORDER[message.definition.state])
        example = _EXAMPLE.format(address=address(services))
        resting = site.id in services.breaker.resting()
        return render_template("messages.html", messages=found, numbers=numbers, example=example, resting=resting)

    @bp.get("/messages/<public_id>")
    def message(public_id: str) -> ResponseReturnValue:
        """Show what a message is, whom it is for, its numbers and its recipients."""
        site = current.site()
        page = current.number("page", 1, 1, 100_000)
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
            numbers = message_numbers.stats(connection, site.id, found)
            offset = (page - 1) * PER_PAGE
            answers, total_answers = reading.answers(connection, site.id, services.names, found, limit=FEW, offset=0)
            recipients, total = reading.recipients(connection, site.id, services.names, found, limit=PER_PAGE, offset=offset)
        definition, document = found.definition, found.as_json()
        return render_template(
            "message.html",
            message=found,
            numbers=numbers,
            steps=_STEPS,
            recipients=recipients,
            answers=answers,
            total_answers=total_answers,
            pages=Pages(page, PER_PAGE, total),
            audience=query_words.audience(definition.audience) if definition.audience else None,
            goal=query_words.audience(definition.goal.query) if definition.goal else None,
            page_rule=query_words.page_rule(definition.page) if definition.page else None,
            trigger=query_words.trigger(definition),
            frequency=query_words.frequency(definition),
            saved="saved" in request.args,
            document={part: json.dumps(document[part], indent=2, ensure_ascii=False) for part in ("audience", "page", "trigger", "goal")},
        )

    @bp.get("/messages/<public_id>/people")
    def message_people(public_id: str) -> ResponseReturnValue:
        """Show the people behind one of a message's numbers."""
        site, number = current.site(), _number()
        page = current.number("page", 1, 1, 100_000)
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
            offset = (page - 1) * PER_PAGE
            people, total = reading.behind(connection, site.id, services.names, found, number, limit=PER_PAGE, offset=offset)
        pages, label = Pages(page, PER_PAGE, total), _STEPS[number.step]
        return render_template("message_people.html", message=found, number=number, label=label, people=people, pages=pages)

    @bp.get("/messages/<public_id>/answers")
    def message_answers(public_id: str) -> ResponseReturnValue:
        """Show all answers to a message with the people who gave them."""
        site = current.site()
        page = current.number("page", 1, 1, 100_000)
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
            offset = (page - 1) * PER_PAGE
            answers, total = reading.answers(connection, site.id, services.names, found, limit=PER_PAGE, offset=offset)
        return render_template("answers.html", message=found, answers=answers, pages=Pages(page, PER_PAGE, total))


def _number() -> Behind:
    """Return the number that the address names, or answer 404."""
    step, link, said = (request.args.get(part) for part in ("step", "link", "answer"))
    other = "other" in request.args
    if step not in _STEPS or (link is not None and step != "clicked") or ((said is not None or other) and step != "answered"):
        abort(404)
    if not storable(link or "") or not storable(said or ""):
        abort(404)
    answer: Answer | None = said
    if said is not None and request.args.get("kind") == "rating":
        answer = int(said) if said.isascii() and said.isdigit() and len(said) < _LONGEST_RATING else abort(404)
    return Behind(step, link, answer, other)


def find(services: Services, connection: Connection, site: Site, public_id: str) -> AutoMessage:
    """Return the message that an address names, or answer 404."""
    return services.auto_messages.get(connection, site.id, current.public_id(public_id)) or abort(404)
