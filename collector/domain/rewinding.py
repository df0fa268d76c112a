"""What of a message can be told of the past, and on which assumptions; what cannot is refused with its place.

Kept are events, visits, merges, totals and when an identity was made; so is what follows from these. Of everything that is set from
outside only the present is kept. Most of it says who somebody is and changes seldom, so that today's value stands for the past and the
result says so. A date that is compared with the present moves with what people do (`last_order_at`), so today's says nothing of it then:
it is refused, and so is what became of messages, which depends on how people would have taken them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from collector.domain import segments
from collector.domain.assumptions import Assumption
from collector.domain.auto_messages import AutoMessage, Live
from collector.domain.content import EVENT
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal
from collector.values.messages import IN_THE_VIEW, Schedule
from collector.values.page_rules import query_names
from collector.values.queries import parse
from collector.values.query_tree import NOTHING, PAST_SPANS, AttributeRule, Group, MessageMeasure, Node, Test
from collector.values.visit_context import VISIT_FIELDS

REWOUND = VISIT_FIELDS | {
    "id", "role", "external_id", "created_at", "last_active_at", "last_seen_at", "session_count", "page_view_count", segments.FIELD,
}  # fmt: skip
"""The fields of people that are told of the past as they were."""
SET_ONCE = "signed_up_at"
"""The date that does not move."""
_ANY_RETENTION = 36_500
_ALWAYS = (Assumption.ARRIVED, Assumption.FRESH, Assumption.UNANSWERED, Assumption.TODAY, Assumption.JOINED, Assumption.TABS)


class Rewound(msgspec.Struct, frozen=True):
    """What is replayed: the messages, best first, the one asked about as if it were live, and what that rests on."""

    message: AutoMessage
    live: Live
    assumptions: dict[Assumption, str]
    """Each with its sentence."""


def refusal(connection: Connection, site: int, message: AutoMessage) -> Refusal | None:
    """Return why the past of a message cannot be told, with the place in its definition; None where it can."""
    trigger = message.definition.trigger.type
    if trigger == "manual":
        return _refused("trigger.type", "A message that is opened by hand opens at no moment that is known of the past.")
    audience = message.definition.as_json()["audience"]
    return None if audience is None else _refusal(connection, site, parse(audience, retention_days=_ANY_RETENTION))


def rewound(connection: Connection, site: Site, message: AutoMessage, others: Sequence[AutoMessage], now_ms: int, oldest: int) -> Rewound:
    """Return what is replayed of a message beside `others`, those that are live; `oldest` is where the timeline begins (ms)."""
    found = {one: one.sentence for one in _ALWAYS}

    def assume(assumption: Assumption, **values: object) -> None:
        found[assumption] = assumption.sentence.format(**values)

    own = _always(message)
    if own.definition.schedule != message.definition.schedule:
        assume(Assumption.DATES)
    rivals: list[AutoMessage] = []
    left_out: list[str] = []
    for other in others:
        if other.id == message.id or not _within_dates(other.definition.schedule, now_ms):
            continue
        if refusal(connection, site.id, other) is not None:
            left_out.append(other.definition.name)
            continue
        rivals.append(_always(other))
        if rivals[-1].definition.schedule != other.definition.schedule:
            assume(Assumption.OTHER_DATES)
    messages = sorted([own, *rivals], key=lambda one: (-one.definition.priority, one.id))
    if left_out:
        assume(Assumption.LEFT_OUT, names=", ".join(left_out))
    attributes = sorted({name for one in messages for name in (*one.needs.attributes, *_shown(one))} - REWOUND - {SET_ONCE})
    if attributes:
        assume(Assumption.ATTRIBUTES, names=", ".join(attributes))
    triggers = {one.definition.trigger.type for one in messages}
    asked = [one.definition.page for one in messages if one.definition.page is not None]
    for assumption, holds in {
        Assumption.SIGNED_IN: "event" in triggers or any(one.needs != NOTHING or any(_shown(one)) for one in messages),
        Assumption.PAUSED: site.settings.messages_paused,
        Assumption.PAGES: any(query_names(page) for page in asked),
        Assumption.TOTALS: any(one.needs.totals or "page_view_count" in one.needs.attributes for one in messages),
        Assumption.EVENTS: "event" in triggers,
        Assumption.SECONDS: "time" in triggers,
        Assumption.IN_VIEW: not triggers.isdisjoint(IN_THE_VIEW - {"time"}),
        Assumption.UNPROVED: site.verification != "required" and "event" in triggers,
    }.items():
        if holds:
            assume(assumption)
    if any(one.needs.measures for one in messages):
        assume(Assumption.TIMELINE, since=_day(site, oldest))
    return Rewound(own, Live(messages), found)


def _always(message: AutoMessage) -> AutoMessage:
    """Return a message as if it were live, without the dates of its schedule."""
    definition = message.definition
    schedule = Schedule(None, None, definition.schedule.hours)
    return msgspec.structs.replace(message, definition=msgspec.structs.replace(definition, state="live", schedule=schedule))


def _shown(message: AutoMessage) -> Iterator[str]:
    """Yield what of a person a message cannot be shown without."""
    return (name for name in message.definition.content.required() if not name.startswith(EVENT))


def _within_dates(schedule: Schedule, now_ms: int) -> bool:
    return (schedule.starts_at_ms is None or schedule.starts_at_ms <= now_ms) and (
        schedule.ends_at_ms is None or now_ms < schedule.ends_at_ms
    )


def _day(site: Site, at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, site.zone).date().isoformat()


def _refusal(connection: Connection, site: int, query: Node) -> Refusal | None:
    for path, rule in _places(query, "audience"):
        inside = [rule]
        if isinstance(rule, AttributeRule) and rule.field == segments.FIELD:
            # The place is that of the rule about the segment: nobody has written the segment's own rules here.
            inside = [one for _, one in _places(segments.expand(connection, site, rule), path)]
        for one in inside:
            wrong = _wrong(one)
            if wrong is not None:
                part, why = wrong
                return _refused(path if one is not rule else f"{path}.{part}", why)
    return None


def _wrong(rule: Node) -> tuple[str, str] | None:
    """Return the key of a rule that asks for what cannot be told, and why."""
    if isinstance(rule, Group):
        return None
    if isinstance(rule.test.operand, MessageMeasure):
        return "value", _OF_MESSAGES
    if not isinstance(rule, AttributeRule):
        return ("message", _OF_MESSAGES) if isinstance(rule.measure, MessageMeasure) else None
    if rule.field == "updated_at":
        return "field", "When something was last set of somebody is known of the last time only."
    if rule.field not in REWOUND and rule.field != SET_ONCE and _moves(rule.test):
        return "field", "A date that is compared with the present moves with what people do, and only the last one is kept."
    return None


_OF_MESSAGES = "What people would have done with messages cannot be told."


def _moves(test: Test) -> bool:
    return test.operator in PAST_SPANS


def _places(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Yield the rules of a query, each with its path."""
    if not isinstance(node, Group):
        yield path, node
        return
    for place, child in enumerate(node.value):
        yield from _places(child, f"{path}.value[{place}]")


def _refused(field: str, why: str) -> Refusal:
    return Refusal(Reason.NOT_REWINDABLE, field, why)
