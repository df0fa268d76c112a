"""Who gets which message, now. One function decides, rule by rule; the list of what may be claimed and the claim both call it.

A decision is a list of verdicts in the order of RULES, each with what was expected and what was found, so that an explanation is
the decision itself and never a second opinion.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from collector.domain import deliveries, facts
from collector.domain.audiences import PersonFacts, matches, where_matches
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import SHOWN, Delivery
from collector.domain.names import Names
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE
from collector.values.page_rules import page_matches
from collector.values.query_tree import united

TRIGGER_LIFE = DAY
"""An event opens its messages for this long (ms)."""

LEASE = MINUTE
"""A message that was claimed but not seen yet is not given out again for this long (ms)."""

COMPUTED = frozenset({"created_at", "last_active_at", "last_seen_at", "page_view_count", "session_count"})
"""What a signed-out browser may be told apart by, of a user: what it did. Everything that was said about the user is not."""


class TriggerEvent(msgspec.Struct, frozen=True):
    """The event that is said to have triggered a message; `at` in ms."""

    id: bytes
    name: str
    at: int
    metadata: dict[str, Any]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one decision: the page now shown, who is known to look at it, and when (ms)."""

    now: int
    page_url: str
    asserted: bool
    """Whether the page asserts a user id, so that what is meant for users only may be given out."""
    event: TriggerEvent | None = None
    view: bytes | None = None
    """The page view in which it would show."""


class Recipient(msgspec.Struct, frozen=True):
    """The person, what is known about them, and every delivery they had."""

    person: Person
    facts: PersonFacts
    deliveries: list[Delivery]


class Verdict(msgspec.Struct, frozen=True):
    """One rule's word: `holds`, what it asked for and what it found, as codes and plain values; times in ms."""

    rule: str
    holds: bool
    expected: Any = None
    actual: Any = None


class Decision(msgspec.Struct, frozen=True):
    """All verdicts on one message for one person at one moment."""

    verdicts: list[Verdict]

    @property
    def show(self) -> bool:
        """Whether every rule holds."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def reason(self) -> str | None:
        """The first rule that does not hold."""
        return next((verdict.rule for verdict in self.verdicts if not verdict.holds), None)


def load_recipient(
    connection: Connection, site: Site, names: Names, person: Person, messages: list[AutoMessage], now_ms: int, retention_ms: int
) -> Recipient:
    """Load what deciding these messages for this person needs."""
    wanted = united(message.needs for message in messages)
    variables = any(message.has_variables for message in messages)
    known = facts.load(connection, site, names, person, wanted, now_ms, retention_ms, everything=variables)
    return Recipient(person, known, deliveries.of_person(connection, site.id, person.id))


def decide(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Decision:
    """Decide one message for one person at one moment, by every rule."""
    return Decision([rule(site, message, recipient, moment) for rule in RULES])


def may_show(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    """Say whether the decision would be to show it: the same rules, no further than the first that does not hold."""
    return all(rule(site, message, recipient, moment).holds for rule in _CHEAPEST_FIRST)


def _state(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    state = "paused" if site.settings.messages_paused else message.definition.state
    return Verdict("state", state == "live", "live", state)


def _schedule(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    schedule = message.definition.schedule
    starts, ends = schedule.starts_at_ms, schedule.ends_at_ms
    holds = (starts is None or moment.now >= starts) and (ends is None or moment.now < ends)
    return Verdict("schedule", holds, {"starts_at": starts, "ends_at": ends}, moment.now)


def _audience(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    audience = message.definition.audience
    if audience is None:
        return Verdict("audience", holds=True)
    holds = matches(audience, recipient.facts, moment.now, site.zone)
    if holds and recipient.person.role == "user" and not moment.asserted:
        # Somebody at the browser of a user who is not signed in: the audience has to hold for a visitor with this history as well.
        return Verdict("audience", matches(audience, _as_lead(recipient.facts), moment.now, site.zone), actual="not_signed_in")
    return Verdict("audience", holds)


def _page(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    page = message.definition.page
    return Verdict("page", page is None or page_matches(page, moment.page_url), actual=moment.page_url)


def _trigger(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    trigger = message.definition.trigger
    if trigger.type != "event":
        return Verdict("trigger", holds=True, expected=trigger.type)
    event = moment.event
    if event is None or event.name != trigger.event:
        return Verdict("trigger", holds=False, expected=trigger.event, actual=None if event is None else event.name)
    if moment.now - event.at >= TRIGGER_LIFE:
        return Verdict("trigger", holds=False, expected=trigger.event, actual="expired")
    if any(delivery.message == message.id and delivery.event == event.id for delivery in recipient.deliveries):
        return Verdict("trigger", holds=False, expected=trigger.event, actual="used")
    return Verdict("trigger", where_matches(trigger.where, event.metadata, moment.now, site.zone), trigger.event, event.name)


def _frequency(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    frequency = message.definition.frequency
    had = [delivery for delivery in recipient.deliveries if delivery.message == message.id]
    acted = any(delivery.acted for delivery in had)
    last = max((delivery.claimed_at for delivery in had), default=None)
    # Permitted is once: no second time in one view, nor while it is about to be seen in another tab.
    leased = any(
        (moment.view is not None and delivery.view == moment.view)
        or (delivery.seen_at is None and not delivery.acted and moment.now - delivery.claimed_at < LEASE)
        for delivery in had
    )
    holds = (
        not leased
        and (frequency.type != "once" or not had)
        and (frequency.type != "until_acted" or not acted)
        and (frequency.max is None or len(had) < frequency.max)
        and (frequency.every_days is None or last is None or moment.now - last >= frequency.every_days * DAY)
    )
    return Verdict("frequency", holds, frequency.type, {"times": len(had), "acted": acted, "leased": leased, "last": last})


def _caps(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Verdict:
    limits = site.settings
    expected = {"gap_minutes": limits.message_gap // MINUTE, "per_day": limits.messages_per_day}
    if message.definition.ignore_caps:
        return Verdict("caps", holds=True, expected=expected, actual="ignored")
    today = [delivery.claimed_at for delivery in recipient.deliveries if moment.now - delivery.claimed_at < DAY]
    last = max(today, default=None)
    holds = len(today) < limits.messages_per_day and (last is None or moment.now - last >= limits.message_gap)
    return Verdict("caps", holds, expected, {"today": len(today), "last": last})


Rule = Callable[[Site, AutoMessage, Recipient, Moment], Verdict]
RULES: tuple[Rule, ...] = (_state, _schedule, _audience, _page, _trigger, _frequency, _caps)
_CHEAPEST_FIRST: tuple[Rule, ...] = (_state, _schedule, _caps, _frequency, _trigger, _page, _audience)


def grant(tx: Connection, site: Site, message: AutoMessage, recipient: Recipient, identity: int, nonce: str, moment: Moment) -> Delivery:
    """Write the delivery that permits showing a message once, at the identity that asked."""
    numbers = [delivery.n for delivery in recipient.deliveries if delivery.message == message.id and delivery.identity == identity]
    delivery = Delivery(
        identity=identity,
        message=message.id,
        n=max(numbers, default=0) + 1,
        version=message.version,
        arm=SHOWN,
        nonce=nonce,
        claimed_at=moment.now,
        event=None if moment.event is None else moment.event.id,
        view=moment.view,
        seen_at=None,
        clicked_at=None,
        answered_at=None,
        dismissed_at=None,
        goal_at=None,
    )
    deliveries.insert(tx, site.id, delivery)
    return delivery


def _as_lead(known: PersonFacts) -> PersonFacts:
    attributes = {name: value for name, value in known.attributes.items() if name in COMPUTED}
    return PersonFacts({**attributes, "role": "lead"}, known.totals, known.measures, known.messages)
