"""Which messages a browser may claim now: those whose trigger could hold for what it just sent, decided for its person.

A guest of the collect path: it has a time budget, gives up when that is spent, and rests after it failed.
"""

import functools
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from collector.domain import delivery, people
from collector.domain.auto_messages import AutoMessage
from collector.domain.delivery import Moment, TriggerEvent
from collector.domain.sites import Site
from collector.domain.tracking import Event, Outcome
from collector.ingest.failures import log_failure
from collector.ingest.senders import Verified
from collector.services import Services
from collector.values.ids import event_id_text
from collector.values.page_rules import page_matches

log = logging.getLogger(__name__)

_REST_SECONDS = 10.0

Question = Callable[[], list[dict[str, Any]]]


class Offers:
    """Makes offers, and rests for a while after a failure, so that trouble with messages never slows the collecting of events."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._resting_until = 0.0

    def question(self, sender: Verified, outcome: Outcome | None, events: Sequence[Event], now_ms: int) -> Question | None:
        """Return the call that decides what may be claimed after these events, or None where nothing could be.

        The call returns `{"id", "trigger", "event"?}`, best first, and nothing where deciding fails.
        """
        if outcome is None or outcome.person is None or not events or time.monotonic() < self._resting_until:
            return None
        live = self._services.auto_messages.kept(sender.site.id)
        if live is not None and not _candidates(live, events):
            return None
        return functools.partial(self._safely, sender.site, outcome.person, events, now_ms, asserted=sender.user_id is not None)

    def _safely(self, site: Site, person: int, events: Sequence[Event], now_ms: int, *, asserted: bool) -> list[dict[str, Any]]:
        try:
            return self._decide(site, person, events, now_ms, asserted=asserted)
        except Exception as error:  # the events are committed; their answer must not become an error
            self._resting_until = time.monotonic() + _REST_SECONDS
            log_failure("that decides messages", error)
            return []

    def _decide(self, site: Site, person: int, events: Sequence[Event], now_ms: int, *, asserted: bool) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self._services.settings.message_budget_ms / 1000
        candidates = _candidates(self._services.auto_messages.live(site.id), events)
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


def _candidates(live: list[AutoMessage], events: Sequence[Event]) -> list[tuple[AutoMessage, Event]]:
    return [(message, event) for message in live for event in [_occasion(message, events)] if event is not None]


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
