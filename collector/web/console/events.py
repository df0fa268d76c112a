"""Events by name, and who did one most often."""

import json

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from collector.domain import rankings
from collector.domain.names import EVENT
from collector.domain.rankings import Place
from collector.services import Services
from collector.values.clock import DAY
from collector.values.fields import MAX_NAME
from collector.values.text import normalise
from collector.web.console import current, reading

PER_PAGE = 50
_MOST_PAGES = 100_000
_MOST_NAMES = 500


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/events")
    def events_list() -> ResponseReturnValue:
        """List the names of events that have ever arrived, those that contain a text."""
        text = current.argument("q", MAX_NAME)
        names = [name for name in services.names.all(current.site().id, EVENT) if text.casefold() in name.casefold()]
        return render_template("events.html", names=names[:_MOST_NAMES], total=len(names), text=text)

    @bp.get("/events/top")
    def event_top() -> ResponseReturnValue:
        """List who did an event most often: ever, or within some days of the timeline."""
        site, retention_days = current.site(), services.settings.retention_days
        event = normalise(current.argument("event", MAX_NAME))
        text = request.args.get("days", "").strip()
        days = current.number("days", 0, 0, retention_days + 1)
        page = current.number("page", 1, 1, _MOST_PAGES)
        wrong = bool(text) and not 1 <= days <= retention_days
        found: list[Place] = []
        with services.database.snapshot() as connection:
            if event and not wrong:
                limit, offset = PER_PAGE + 1, (page - 1) * PER_PAGE
                after = current.current().now - days * DAY
                if days:
                    found = rankings.since(connection, site.id, services.names, event, after, limit=limit, offset=offset)
                else:
                    found = rankings.of_all_time(connection, site.id, services.names, event, limit=limit, offset=offset)
            cards = reading.cards(connection, site.id, services.names, [place.person for place in found[:PER_PAGE]])
        known = services.names.number(site.id, EVENT, event) is not None
        return render_template(
            "event_top.html",
            event=event,
            known=known,
            days=days,
            days_text=text[:20],
            wrong=wrong,
            retention_days=retention_days,
            places=[(place, cards[place.person]) for place in found[:PER_PAGE] if place.person in cards],
            page=page,
            first=(page - 1) * PER_PAGE + 1,
            more=len(found) > PER_PAGE,
            names=services.names.all(site.id, EVENT)[:_MOST_NAMES],
            query=_everybody(event, days),
        ), 400 if wrong else 200


def _everybody(event: str, days: int) -> str:
    """Return the query that describes everybody who did it."""
    rule = {"event": event, "field": "count", "operator": ">", "value": 0, **({"within_days": days} if days else {})}
    return json.dumps(rule, ensure_ascii=False)
