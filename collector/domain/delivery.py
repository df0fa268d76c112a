"""Who gets which message, now. One function decides, rule by rule; the list of what may be claimed and the claim both call it.

A decision is a list of verdicts in the order of RULES, each with what was expected and what was found, so that an explanation is
the decision itself and never a second opinion.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from collector.domain import attributes, deliveries, facts, identities, people
from collector.domain.audiences import PersonFacts, Total, where_matches
from collector.domain.auto_messages import AutoMessage
from collector.domain.compiled_audiences import compiled
from collector.domain.deliveries import HELD_OUT, SHOWN, Delivery
from collector.domain.identities import LEAD
from collector.domain.names import Names
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.domain.staff import is_internal
from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE
from collector.values.page_rules import page_matches
from collector.values.query_tree import Needs

TRIGGER_LIFE = DAY
"""An event opens its messages for this long (ms)."""

LEASE = MINUTE
"""A message that was claimed but not seen yet is not given out again for this long (ms)."""

OFFERED = "offered"
"""The browser was told that it may claim."""

MEANT = frozenset({"audience", "page", "trigger"})
"""The rules by which a message is meant for somebody here and now; the others only hold it back."""

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


class Recipient(msgspec.Struct):
    """The person, what is known about them, and every delivery they had. What several messages ask of these is worked out once."""

    person: Person
    facts: PersonFacts
    deliveries: list[Delivery]
    uncapped: bool = False
    """Whether it is one of the staff, from whom caps hold nothing back."""
    _by_message: dict[int, list[Delivery]] | None = None
    _today: tuple[int, tuple[int, int | None]] | None = None
    _has_turn: tuple[int, bool] | None = None

    def had(self, message: AutoMessage) -> Sequence[Delivery]:
        """Return the deliveries of one message."""
        if self._by_message is None:
            self._by_message = {}
            for delivery in self.deliveries:
                self._by_message.setdefault(delivery.message, []).append(delivery)
        return self._by_message.get(message.id, ())

    def arm(self, message: AutoMessage) -> str:
        """Return whether the person gets a message or is held out, to compare: what it was first, also where two became one person.

        Nobody's arm is drawn twice: the draw is a function of message and person.
        """
        had = self.had(message)
        if had:
            return had[0].arm
        percent = message.definition.holdout_percent
        return HELD_OUT if percent and _draw(message.public_id, self.person.contact_id) < percent else SHOWN

    def today(self, now_ms: int) -> tuple[int, int | None]:
        """Return how many messages were shown within a day, and when the last (ms)."""
        if self._today is None or self._today[0] != now_ms:
            times = [delivery.claimed_at for delivery in self.deliveries if now_ms - delivery.claimed_at < DAY]
            self._today = (now_ms, (len(times), max(times, default=None)))
        return self._today[1]

    def has_turn(self, site: Site, now_ms: int) -> bool:
        """Return whether the site's gap and its daily maximum let one more message show."""
        if self._has_turn is None or self._has_turn[0] != now_ms:
            today, last = self.today(now_ms)
            limits = site.settings
            turn = today < limits.messages_per_day and (last is None or now_ms - last >= limits.message_gap)
            self._has_turn = (now_ms, turn)
        return self._has_turn[1]


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

    @property
    def held_back_by(self) -> str | None:
        """The first rule that holds it back where audience, page and trigger hold. The holdout is none: it withholds what could show."""
        failed = [verdict.rule for verdict in self.verdicts if not verdict.holds]
        return None if MEANT.intersection(failed) else next((rule for rule in failed if rule != "holdout"), None)

    @property
    def arm(self) -> str | None:
        """What is to be noted: that it may be shown, or would have been to somebody who is held out; None for neither."""
        failed = [verdict.rule for verdict in self.verdicts if not verdict.holds]
        return SHOWN if not failed else HELD_OUT if failed == ["holdout"] else None


def read_ahead(connection: Connection, site: int, person: int) -> None:
    """Read what nearly every decision about a person needs, so that a server far away is asked once."""
    connection.read_ahead(
        identities.question_of_person(site, person),
        people.question_of_totals(site, person),
        attributes.question_of_values(site, person),
        deliveries.question_of_person(site, person),
    )


def load_recipient(
    connection: Connection,
    site: Site,
    names: Names,
    person: Person,
    needs: Needs,
    now_ms: int,
    retention_ms: int,
    *,
    everything: bool = False,
    totals: Mapping[str, Total] | None = None,
) -> Recipient:
    """Load what deciding messages that need this for a person takes; with `everything` all attributes. See `facts.load` for `totals`."""
    had = deliveries.of_person(connection, site.id, person.id)
    known = facts.load(connection, site, names, person, needs, now_ms, retention_ms, everything=everything, totals=totals, had=had)
    # Asked where a cap could hold something back, and nowhere else.
    recent = bool(had) and now_ms - had[-1].claimed_at < max(DAY, site.settings.message_gap)
    return Recipient(person, known, had, uncapped=recent and is_internal(connection, site.id, person.id))


def decide(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Decision:
    """Decide one message for one person at one moment, by every rule."""
    asked = (site, message, recipient, moment)
    return Decision([Verdict(rule.name, rule.holds(*asked), *rule.told(*asked)) for rule in RULES])


def foresee(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment, *, found: bool = False) -> str | None:
    """Say what a claim would come to, by the same rules: OFFERED where there is something to claim; where it is meant for the person
    all the same, the rule that holds it back; else None.

    Who is held out claims like everybody else, so that both arms meet the same limits. What was `found` by its page's rule is not asked for
    that again, nor for its trigger: that is the page alone, or is asked afterwards (`is_triggered`).
    """
    for holds in _MEANT_ONCE_FOUND if found else _MEANT:
        if not holds(site, message, recipient, moment):
            return None
    for name, holds in _HOLDING_BACK:
        if not holds(site, message, recipient, moment):
            return name
    return OFFERED


def may_know(role: str, *, asserted: bool, verified: bool) -> bool:
    """Say whether what is known of a person (of a role) may be given out: to a lead of its own, or a user whose id was proved."""
    return verified or (not asserted and role == LEAD)


def is_triggered(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    """Say whether the moment's event opens a message."""
    return _trigger_holds(site, message, recipient, moment)


Told = tuple[Any, Any]
"""What a rule asks for, and what it finds."""


Holds = Callable[[Site, AutoMessage, Recipient, Moment], bool]
"""Says whether one rule holds."""


class Rule(NamedTuple):
    """One rule: its name, whether it holds, and what there is to tell of it."""

    name: str
    holds: Holds
    told: Callable[[Site, AutoMessage, Recipient, Moment], Told]


def _state_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    return message.definition.state == "live" and not site.settings.messages_paused


def _state_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    return "live", "paused" if site.settings.messages_paused else message.definition.state


def _schedule_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    schedule = message.definition.schedule
    if schedule.starts_at_ms is None and schedule.ends_at_ms is None and not schedule.hours:  # most have none, and finding a zone costs
        return True
    return schedule.is_open(moment.now, site.zone)


def _schedule_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    schedule = message.definition.schedule
    return {"starts_at": schedule.starts_at_ms, "ends_at": schedule.ends_at_ms, "hours": len(schedule.hours)}, moment.now


def _audience_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    holds = message.holds
    if holds is None:
        if message.definition.audience is None:
            return True
        holds = compiled(message.definition.audience)
    if not holds(recipient.facts, moment.now, site.zone):
        return False
    if moment.asserted:
        return True
    # Somebody at the browser of a user who is not signed in: the audience has to hold for a visitor with this history as well.
    return not _is_not_signed_in(recipient, moment) or holds(_as_lead(recipient.facts), moment.now, site.zone)


def _audience_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    return None, "not_signed_in" if message.definition.audience is not None and _is_not_signed_in(recipient, moment) else None


def _is_not_signed_in(recipient: Recipient, moment: Moment) -> bool:
    return not moment.asserted and recipient.person.role == "user"


def _page_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    page = message.definition.page
    return page is None or page_matches(page, moment.page_url)


def _page_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    return None, moment.page_url


def _trigger_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    trigger = message.definition.trigger
    if trigger.type != "event":
        return True
    event = moment.event
    return (
        event is not None
        and event.name == trigger.event
        and moment.now - event.at < TRIGGER_LIFE
        and not _is_used(message, recipient, event)
        and where_matches(trigger.where, event.metadata, moment.now, site.zone)
    )


def _trigger_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    trigger, event = message.definition.trigger, moment.event
    if trigger.type != "event":
        return trigger.type, None
    if event is None or event.name != trigger.event:
        return trigger.event, None if event is None else event.name
    if moment.now - event.at >= TRIGGER_LIFE:
        return trigger.event, "expired"
    return trigger.event, "used" if _is_used(message, recipient, event) else event.name


def _is_used(message: AutoMessage, recipient: Recipient, event: TriggerEvent) -> bool:
    return any(delivery.event == event.id for delivery in recipient.had(message))


def _holdout_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    return recipient.arm(message) != HELD_OUT


def _holdout_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    return message.definition.holdout_percent, recipient.arm(message)


def _frequency_holds(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    had = recipient.had(message)
    if not had:
        return True
    frequency = message.definition.frequency
    return (
        not _is_leased(had, moment)
        and frequency.type != "once"
        # Who is held out will never act, and must not use up the day's messages for ever.
        and (frequency.type != "until_acted" or not any(delivery.acted or delivery.arm == HELD_OUT for delivery in had))
        and (frequency.max is None or len(had) < frequency.max)
        and (frequency.every_days is None or moment.now - max(one.claimed_at for one in had) >= frequency.every_days * DAY)
    )


def _frequency_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    had, days = recipient.had(message), message.definition.frequency.every_days
    last = max((delivery.claimed_at for delivery in had), default=None)
    return message.definition.frequency.type, {
        "times": len(had),
        "act": min((act for one in had for act in one.acts), default=(None, None))[1],
        "leased": _is_leased(had, moment),
        "last": last,
        "next": last + days * DAY if days is not None and last is not None else None,
    }


def _is_leased(had: Sequence[Delivery], moment: Moment) -> bool:
    """Say whether it was permitted just now. Permitted is once: no second time in one view, nor while it is about to be seen elsewhere."""
    return any(
        (moment.view is not None and delivery.view == moment.view)
        or (delivery.seen_at is None and not delivery.acted and moment.now - delivery.claimed_at < LEASE)
        for delivery in had
    )


def _caps_hold(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> bool:
    return recipient.has_turn(site, moment.now) or message.definition.ignore_caps or recipient.uncapped


def _caps_told(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment) -> Told:
    expected = {"gap_minutes": site.settings.message_gap // MINUTE, "per_day": site.settings.messages_per_day}
    if message.definition.ignore_caps:
        return expected, "ignored"
    if recipient.uncapped:
        return expected, "internal"
    today, last = recipient.today(moment.now)
    turn = deliveries.next_turn(recipient.deliveries, site.settings.message_gap, site.settings.messages_per_day, moment.now)
    return expected, {"today": today, "last": last, "next": turn}


RULES = (
    Rule("state", _state_holds, _state_told),
    Rule("schedule", _schedule_holds, _schedule_told),
    Rule("audience", _audience_holds, _audience_told),
    Rule("page", _page_holds, _page_told),
    Rule("trigger", _trigger_holds, _trigger_told),
    Rule("holdout", _holdout_holds, _holdout_told),
    Rule("frequency", _frequency_holds, _frequency_told),
    Rule("caps", _caps_hold, _caps_told),
)


_MEANT = tuple(rule.holds for rule in RULES if rule.name in MEANT)
_MEANT_ONCE_FOUND = tuple(rule.holds for rule in RULES if rule.name in MEANT - {"page", "trigger"})
_HOLDING_BACK = tuple((rule.name, rule.holds) for rule in RULES if rule.name not in MEANT and rule.name != "holdout")


def grant(
    tx: Connection, site: Site, message: AutoMessage, recipient: Recipient, identity: int, nonce: str, moment: Moment, arm: str = SHOWN
) -> Delivery:
    """Write the delivery that permits showing a message once, or what stands for it where somebody is held out."""
    delivery = granted(site, message, recipient, identity, nonce, moment, arm)
    deliveries.insert(tx, site.id, delivery)
    return delivery


def granted(
    site: Site, message: AutoMessage, recipient: Recipient, identity: int, nonce: str, moment: Moment, arm: str = SHOWN
) -> Delivery:
    """Return the delivery that `grant` writes. It belongs to the identity that asked."""
    goal = message.goal_holds
    numbers = [delivery.n for delivery in recipient.deliveries if delivery.message == message.id and delivery.identity == identity]
    return Delivery(
        identity=identity,
        message=message.id,
        n=max(numbers, default=0) + 1,
        version=message.version,
        arm=arm,
        nonce=nonce,
        claimed_at=moment.now,
        event=None if moment.event is None else moment.event.id,
        view=moment.view,
        seen_at=None,
        clicked_at=None,
        answered_at=None,
        dismissed_at=None,
        goal_at=None,
        goal_before=None if goal is None else int(goal(recipient.facts, moment.now, site.zone)),
    )


def _draw(message_id: str, contact_id: str) -> float:
    """Return a number from 0 to 100 (not included), always the same for a message and a person, and evenly spread over people."""
    digest = hashlib.sha256(f"{message_id}/{contact_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * 100


def _as_lead(known: PersonFacts) -> PersonFacts:
    attributes = {name: value for name, value in known.attributes.items() if name in COMPUTED}
    return PersonFacts({**attributes, "role": "lead"}, known.totals, known.measures, known.messages)
