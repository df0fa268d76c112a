"""Which messages a browser may claim now: those whose trigger could hold for what it just sent, decided for its person.

A guest of the collect path: it has a time budget, gives up when that is spent, and rests after it failed.
"""

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from collector.domain import delivery, people
from collector.domain.auto_messages import AutoMessage
from collector.domain.delivery import Moment, TriggerEvent
from collector.domain.sites import Site
from collector.domain.tracking import Event
from collector.services import Services
from collector.values.ids import event_id_text
from collector.values.page_rules import page_matches

log = logging.getLogger(__name__)

_REST_SECONDS = 10.0


class Offers:
    """Makes offers, and rests for a while after a failure, so that trouble with messages never slows the collecting of events."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._resting_until = 0.0

    def __call__(self, site: Site, person: int, events: Sequence[Event], now_ms: int, *, asserted: bool) -> list[dict[str, Any]]:
        """Return `{"id", "trigger", "event"?}` of what may be claimed, best first; nothing where deciding fails."""
        if time.monotonic() < self._resting_until:
            return []
        try:
            return self._decide(site, person, events, now_ms, asserted=asserted)
        except Exception:  # the events are committed; their answer must not become an error
            self._resting_until = time.monotonic() + _REST_SECONDS
            log.exception("deciding messages failed; resting for %d s", _REST_SECONDS)
            return []

    def _decide(self, site: Site, person: int, events: Sequence[Event], now_ms: int, *, asserted: bool) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self._services.settings.message_budget_ms / 1000
        candidates = [
            (message, event) for message in self._services.auto_messages.live(site.id) for event in [_occasion(message, events)] if event
        ]
        if not candidates:
            return []
        with self._services.database.read() as connection:
            recipient = delivery.load_recipient(
                connection,
                site,
                self._services.names,
                people.load(connection, site.id, person),
                [message for message, _ in candidates],
                now_ms,
                self._services.settings.retention,
            )
        offers: list[dict[str, Any]] = []
        for message, event in candidates:
            if time.monotonic() > deadline:
                log.warning("the time for deciding messages of site %s is spent", site.key)
                break
            triggered = message.definition.trigger.type == "event"
            moment = Moment(now=now_ms, page_url=_url(event), asserted=asserted, event=trigger_event(event) if triggered else None)
            if delivery.decide(site, message, recipient, moment).show:
                offer: dict[str, Any] = {"id": message.public_id, "trigger": message.definition.trigger.type}
                offers.append({**offer, "event": event_id_text(event.id)} if triggered else offer)
        return offers


def trigger_event(event: Event) -> TriggerEvent:
    """Return an event as triggers see it."""
    return TriggerEvent(event.id, event.name, event.at, json.loads(event.metadata) if event.metadata else {})


def _occasion(message: AutoMessage, events: Sequence[Event]) -> Event | None:
    """Return the event that gives this message its occasion: the newest that could trigger it, or stands for the page now shown."""
    trigger, page = message.definition.trigger, message.definition.page
    if trigger.type == "event":
        return next((event for event in reversed(events) if event.name == trigger.event), None)
    if trigger.type == "page":
        newest = events[-1]
        return newest if page is None or page_matches(page, _url(newest)) else None
    return None


def _url(event: Event) -> str:
    return str(json.loads(event.page).get("url", "")) if event.page else ""
