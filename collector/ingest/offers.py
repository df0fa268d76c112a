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
from collector.domain.auto_messages import AutoMessage, Live
from collector.domain.delivery import OFFERED, Moment, Recipient, TriggerEvent
from collector.domain.sites import Site
from collector.domain.tracking import Event, Outcome
from collector.ingest.failures import log_failure
from collector.ingest.senders import Verified
from collector.services import Services
from collector.values.ids import event_id_text

log = logging.getLogger(__name__)

_REST_SECONDS = 10.0
_MOST_OCCASIONS = 20
_OVERRUN = 4  # times the budget

Question = Callable[[], list[dict[str, Any]]]


class Offers:
    """Makes offers, and rests for a while after a failure, so that trouble with messages never slows the collecting of events."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._resting: dict[int, float] = {}

    def question(self, sender: Verified, outcome: Outcome | None, events: Sequence[Event], now_ms: int) -> Question | None:
        """Return the call that decides what may be claimed after these events, or None where nothing could be.

        The call returns `{"id", "trigger", "event"?}`, best first, and nothing where deciding fails.
        """
        if outcome is None or outcome.person is None or not events or time.monotonic() < self._resting.get(sender.site.id, 0.0):
            return None
        live = self._services.auto_messages.kept(sender.site.id)
        candidates = None if live is None else _candidates(live, events)
        if candidates == []:
            return None
        return functools.partial(self._safely, sender, outcome.person, events, candidates, now_ms)

    def _safely(
        self, sender: Verified, person: int, events: Sequence[Event], candidates: "_Candidates | None", now_ms: int
    ) -> list[dict[str, Any]]:
        site = sender.site
        began = time.monotonic()
        try:
            if candidates is None:
                candidates = _candidates(self._services.auto_messages.live(site.id), events)
            offers = self._decide(sender, person, events, candidates, now_ms)
        except LookupError:  # the person became part of another since the commit; the next answer knows
            return []
        except Exception as error:  # the events are committed; their answer must not become an error
            self._resting[site.id] = time.monotonic() + _REST_SECONDS
            log_failure("that decides messages", error)
            return []
        if time.monotonic() - began > _OVERRUN * self._services.settings.message_budget_ms / 1000:
            self._resting[site.id] = time.monotonic() + _REST_SECONDS
            log.warning("deciding the messages of site %s takes too long; resting for %d s", site.key, _REST_SECONDS)
        return offers

    def _decide(
        self, sender: Verified, person: int, events: Sequence[Event], candidates: "_Candidates", now_ms: int
    ) -> list[dict[str, Any]]:
        site, asserted = sender.site, sender.user_id is not None
        deadline = time.monotonic() + self._services.settings.message_budget_ms / 1000
        if not candidates:
            return []
        recipient = load_recipient(self._services, site, person, [message for message, _ in candidates], now_ms)
        offers: list[dict[str, Any]] = []
        outcomes: list[tuple[int, str]] = []
        shown = Moment(now=now_ms, page_url=_url(events[-1]), asserted=asserted)
        for message, occasions in candidates:
            if time.monotonic() > deadline:
                log.warning("the time for deciding messages of site %s is spent", site.key)
                break
            if occasions is None:
                outcome = delivery.foresee(site, message, recipient, shown, page_holds=True)
                if outcome is None:
                    continue
                outcomes.append((message.id, outcome))
                if outcome == OFFERED:
                    offers.append({"id": message.public_id, "trigger": "page"})
                continue
            for event in occasions:
                moment = Moment(now=now_ms, page_url=_url(event), asserted=asserted, event=trigger_event(event))
                outcome = delivery.foresee(site, message, recipient, moment)
                if outcome is not None:
                    outcomes.append((message.id, outcome))
                if outcome == OFFERED:
                    offers.append({"id": message.public_id, "trigger": "event", "event": event_id_text(event.id)})
                    break
        for identity in recipient.person.identities if outcomes else ():
            if (identity.kind, identity.value) == sender.owner:
                self._services.decisions.note(site.id, identity.id, outcomes, now_ms)
        return offers


def load_recipient(
    services: Services, site: Site, person: int, messages: list[AutoMessage], now_ms: int, *, goals: bool = False
) -> Recipient:
    """Load what deciding these messages for a person needs; with `goals` also what granting them does.

    Raises:
        LookupError: the person became part of another, or is gone.
    """
    with services.database.read() as connection:
        delivery.read_ahead(connection, site.id, person)
        found = people.load(connection, site.id, person)
        retention = services.settings.retention
        return delivery.load_recipient(connection, site, services.names, found, messages, now_ms, retention, goals=goals)


_Candidates = list[tuple[AutoMessage, Sequence[Event] | None]]
"""Messages that may be claimed now, as far as triggers and pages tell: those of the page now shown, and each of the others with the
events that could trigger it."""


def _candidates(live: Live, events: Sequence[Event]) -> _Candidates:
    found: _Candidates = [(message, None) for message in live.on_page(_url(events[-1]))]
    triggered = {event.name for event in events if live.after(event.name)}
    for name in triggered:
        occasions = [event for event in reversed(events) if event.name == name][:_MOST_OCCASIONS]
        found += [(message, occasions) for message in live.after(name)]
    return sorted(found, key=lambda one: live.rank[one[0].id]) if triggered else found


def trigger_event(event: Event) -> TriggerEvent:
    """Return an event as triggers see it."""
    return TriggerEvent(event.id, event.name, event.at, json.loads(event.metadata) if event.metadata else {})


def _url(event: Event) -> str:
    return _url_of(event.page) if event.page else ""


@functools.lru_cache(maxsize=256)
def _url_of(page: str) -> str:
    """Return the address in a page's JSON: every live message asks for that of the page now shown."""
    return str(json.loads(page).get("url", ""))
