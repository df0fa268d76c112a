"""Which messages a browser may claim now: those whose trigger could hold for what it just sent, or for what happened to its person within
a day, decided for that person.

A guest of the collect path (`guests`): it has a time budget, and gives up when that is spent.
"""

import functools
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain import deliveries, delivery, identities, people, trigger_events
from collector.domain.audiences import Total
from collector.domain.auto_messages import AutoMessage, Live
from collector.domain.delivery import OFFERED, Moment, Recipient, TriggerEvent
from collector.domain.sites import Site
from collector.domain.submissions import Event, Outcome
from collector.ingest.senders import Verified
from collector.services import Services
from collector.storage.database import Connection
from collector.values.ids import event_id_text
from collector.values.query_tree import NOTHING as NOTHING_NEEDED
from collector.values.query_tree import Needs, united

log = logging.getLogger(__name__)

_MOST_OCCASIONS = 20
_POLL_SECONDS = 30
_LOOK_AT_THE_CLOCK = 8
"""After so many messages, each of a few microseconds."""
_SPENT = "the time for deciding messages of site %s is spent"


class Offered(msgspec.Struct, frozen=True):
    """What may be claimed, best first, as the wire has it; and after how many seconds a page that stays open asks again, if at all."""

    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)
    poll: int | None = None


NOTHING = Offered()
LATER = Offered(poll=_POLL_SECONDS)
"""What a poll is told that could not be decided."""

Question = Callable[[], Offered]


class Offers:
    """Makes offers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def question(
        self, sender: Verified, outcome: Outcome | None, events: Sequence[Event], reported: Collection[str], now_ms: int
    ) -> Question | None:
        """Return the call that decides what may be claimed after these events, or None where nothing could be.

        Without events it is asked for the page in which one of the deliveries was shown of which something was `reported` (nonces).
        """
        if outcome is None or outcome.person is None:
            return None
        if events:
            return self._question(_Contact(sender, outcome.person, _url(events[-1]), events, now_ms))
        live = self._services.auto_messages.kept(sender.site.id)
        if not reported or (live is not None and not live.messages):
            return None
        return functools.partial(self._after_reports, _Contact(sender, outcome.person, "", (), now_ms), reported)

    def poll(self, sender: Verified, url: str, now_ms: int) -> Question | None:
        """Return the same for a page that stays open: what was done elsewhere may have opened a message since.

        None where nothing can be decided now, so that it is to ask again.
        """
        return self._question(_Contact(sender, None, url, (), now_ms, polls=True))

    def _question(self, contact: "_Contact") -> Question | None:
        live = self._services.auto_messages.kept(contact.site.id)
        candidates = None if live is None else _candidates(live, contact)
        if candidates is not None and not candidates.any and not contact.polls:
            return None
        return functools.partial(self._ask, contact, candidates)

    def _ask(self, contact: "_Contact", candidates: "_Candidates | None" = None) -> Offered:
        try:
            if candidates is None:
                candidates = _candidates(self._services.auto_messages.live(contact.site.id), contact)
            return self._decide(contact, candidates) if candidates.any else NOTHING
        except people.NoPerson:  # the person became part of another since the commit; the next answer knows
            return LATER if contact.polls else NOTHING

    def _after_reports(self, contact: "_Contact", reported: Collection[str]) -> Offered:
        """Decide for the page that a message was reported from: answered, clicked or dismissed it may have made another possible."""
        oldest = contact.now - self._services.settings.retention
        with self._services.guests.read() as connection:
            shown = deliveries.last_view(connection, contact.site.id, contact.person or 0, reported, oldest)
        if shown is None:
            return NOTHING
        view, page = shown
        return self._ask(msgspec.structs.replace(contact, view=view, url=_url_of(page)))

    def _decide(self, contact: "_Contact", candidates: "_Candidates") -> Offered:
        deadline = time.monotonic() + self._services.settings.message_budget_ms / 1000
        poll = _POLL_SECONDS if candidates.awaited and contact.may_hear_of_others else None
        with self._services.guests.read() as connection:
            person = _person(connection, contact) if contact.person is None else contact.person
            if person is None:
                return Offered(poll=poll)
            totals = self._totals(connection, contact.site, person) if candidates.now else None
            opened = self._opened(connection, contact, person, candidates.awaited, totals)
            if not candidates.now and not opened:
                return Offered(poll=poll)
            needs = united([candidates.needs, *(message.needs for message in opened)]) if opened else candidates.needs
            recipient = load_recipient(connection, self._services, contact.site, person, needs, contact.now, totals=totals)
            outcomes: list[tuple[int, str]] = []
            found = self._may_show(contact, candidates.now, recipient, deadline, outcomes)
            if opened:
                offered = {message.id for message, _ in found}
                opened = [message for message in opened if message.id not in offered]
                waited = self._waited(connection, contact, opened, recipient, deadline)
                outcomes += [(message.id, OFFERED) for message, _ in waited]
                found = sorted(found + waited, key=lambda one: candidates.rank[one[0].id])
        for identity in recipient.person.identities if outcomes else ():
            if (identity.kind, identity.value) == contact.sender.owner:
                self._services.decisions.note(contact.site.id, identity.id, outcomes, contact.now)
        return Offered([_offer(message, event) for message, event in found], poll)

    def _totals(self, connection: Connection, site: Site, person: int) -> Mapping[str, Total]:
        """Return the totals of somebody who will be loaded in any case."""
        delivery.read_ahead(connection, site.id, person)
        return people.totals(connection, site.id, self._services.names, person)

    def _opened(
        self,
        connection: Connection,
        contact: "_Contact",
        person: int,
        awaited: Sequence[AutoMessage],
        totals: Mapping[str, Total] | None,
    ) -> list[AutoMessage]:
        """Return the messages whose event the person's totals have within a day."""
        if not awaited:
            return []
        events = {message.definition.trigger.event or "" for message in awaited}
        if totals is None:
            happened = trigger_events.lately(connection, contact.site.id, self._services.names, person, events, contact.now)
        else:
            happened = trigger_events.lately_of(totals, events, contact.now)
        return [message for message in awaited if message.definition.trigger.event in happened]

    def _may_show(
        self, contact: "_Contact", candidates: "_Now", recipient: Recipient, deadline: float, outcomes: list[tuple[int, str]]
    ) -> "_Found":
        """Return what the page now shown and the events just sent bring up; what was decided is added to `outcomes`."""
        site = contact.site
        found: _Found = []
        shown = contact.moment(contact.url)
        for number, (message, occasions) in enumerate(candidates):
            if not number % _LOOK_AT_THE_CLOCK and time.monotonic() > deadline:
                log.warning(_SPENT, site.key)
                break
            if occasions is None:  # the page alone triggers it
                outcome = delivery.foresee(site, message, recipient, shown, found=True)
                if outcome is not None:
                    outcomes.append((message.id, outcome))
                    if outcome == OFFERED:
                        found.append((message, None))
                continue
            for event in occasions:
                outcome = delivery.foresee(site, message, recipient, contact.moment(_url(event), trigger_event(event)))
                if outcome is not None:
                    outcomes.append((message.id, outcome))
                if outcome == OFFERED:
                    found.append((message, event.id))
                    break
        return found

    def _waited(
        self, connection: Connection, contact: "_Contact", messages: Sequence[AutoMessage], recipient: Recipient, deadline: float
    ) -> "_Found":
        """Return what earlier events, or those of the back end, bring up; the timeline is asked once, and only where all else holds."""
        site, person = contact.site, recipient.person
        shown = contact.moment(contact.url)
        ready = [one for one in messages if delivery.foresee(site, one, recipient, shown, found=True) == OFFERED]
        events = {message.definition.trigger.event or "" for message in ready}
        only = None if contact.sender.may_know(person.role) else contact.sender.lead.key
        waiting = trigger_events.waiting(connection, site.id, self._services.names, person, events, contact.now, only)
        found: _Found = []
        for message in ready:
            if time.monotonic() > deadline:
                log.warning(_SPENT, site.key)
                break
            for event in waiting.get(message.definition.trigger.event or "", ()):
                if delivery.is_triggered(site, message, recipient, contact.moment(contact.url, event)):
                    found.append((message, event.id))
                    break
        return found


def load_recipient(
    connection: Connection,
    services: Services,
    site: Site,
    person: int,
    needs: Needs,
    now_ms: int,
    *,
    everything: bool = False,
    totals: Mapping[str, Total] | None = None,
) -> Recipient:
    """Load what deciding messages that need this for a person takes, with one question to a server; with `everything` all attributes.

    With the `totals` given, it was asked before.

    Raises:
        NoPerson: the person became part of another, or is gone.
    """
    if totals is None:
        delivery.read_ahead(connection, site.id, person)
    found, retention = people.load(connection, site.id, person), services.settings.retention
    return delivery.load_recipient(connection, site, services.names, found, needs, now_ms, retention, everything=everything, totals=totals)


def trigger_event(event: Event) -> TriggerEvent:
    """Return an event as triggers see it."""
    return TriggerEvent(event.id, event.name, event.at, json.loads(event.metadata) if event.metadata else {})


class _Contact(msgspec.Struct, frozen=True):
    """A browser that is heard of: who sends, the person it is, the page now shown, and what it just did; at a time (ms).

    Of one that polls the person is not known yet, and what its page alone brings up it was told before. The view is known where a
    message was shown in it.
    """

    sender: Verified
    person: int | None
    url: str
    events: Sequence[Event]
    now: int
    polls: bool = False
    view: bytes | None = None

    @property
    def site(self) -> Site:
        return self.sender.site

    @property
    def may_hear_of_others(self) -> bool:
        """Whether an event from elsewhere can open something here: nothing of REST does for a user id that nobody proved."""
        return self.sender.verified or self.sender.user_id is None

    def moment(self, url: str, event: TriggerEvent | None = None) -> Moment:
        """Return the circumstances of a decision about a page."""
        return Moment(now=self.now, page_url=url, asserted=self.sender.user_id is not None, event=event, view=self.view)


_Now = Sequence[tuple[AutoMessage, Sequence[Event] | None]]
_Found = list[tuple[AutoMessage, bytes | None]]


class _Candidates(msgspec.Struct, frozen=True):
    """Messages that may be claimed now, as far as triggers and pages tell."""

    now: _Now
    """Those of the page now shown, and each that an event just sent could open, with these events; best first."""
    awaited: list[AutoMessage]
    """Those that earlier events could open, or such from elsewhere."""
    rank: dict[int, int]
    needs: Needs = NOTHING_NEEDED
    """What has to be known of somebody to decide the first."""

    @property
    def any(self) -> bool:
        return bool(self.now or self.awaited)


def _candidates(live: Live, contact: _Contact) -> _Candidates:
    if contact.site.settings.messages_paused:
        return _Candidates([], [], live.rank)
    events, here = contact.events, live.at(contact.url)
    if contact.polls:
        return _Candidates([], here.awaited, live.rank)
    triggered = {name for name in {event.name for event in events if not event.repeat} if live.after(name)}
    if not triggered:  # nearly always
        return _Candidates(here.on_page, here.awaited, live.rank, here.needs)
    found: list[tuple[AutoMessage, Sequence[Event] | None]] = [*here.on_page]
    for name in triggered:
        occasions = [event for event in reversed(events) if event.name == name and not event.repeat][:_MOST_OCCASIONS]
        found += [(message, occasions) for message in live.after(name)]
    found.sort(key=lambda one: live.rank[one[0].id])
    return _Candidates(found, here.awaited, live.rank, united([message.needs for message, _ in found]))


def _person(connection: Connection, contact: _Contact) -> int | None:
    """Return the person who polls; None where nothing was ever heard of it, or where its lead shows another secret."""
    lead, owner = contact.sender.lead, contact.sender.owner
    found = identities.find(connection, contact.site.id, {lead.key, owner})
    if lead.key in found and found[lead.key].secret_hash != lead.secret_hash:
        return None
    return found[owner].principal_id if owner in found else None


def _offer(message: AutoMessage, event: bytes | None) -> dict[str, Any]:
    trigger = message.definition.trigger
    offer: dict[str, Any] = {"id": message.public_id, "trigger": trigger.type}
    if trigger.type == "page":  # nearly all
        return offer
    mechanics = {"event": None if event is None else event_id_text(event), "seconds": trigger.seconds, "percent": trigger.percent}
    return offer | {name: value for name, value in mechanics.items() if value is not None}


def _url(event: Event) -> str:
    return _url_of(event.page) if event.page else ""


@functools.lru_cache(maxsize=256)
def _url_of(page: str) -> str:
    """Return the address in a page's JSON: every live message asks for that of the page now shown."""
    return str(json.loads(page).get("url", ""))
