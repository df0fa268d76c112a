"""What somebody could do that touches a rule: events, values of attributes, visits, deeds with a message. It is tried afterwards."""

from collections.abc import Iterator, Sequence

from collector.domain import fitting
from collector.domain.audiences import measured
from collector.domain.explanation import Rule
from collector.domain.names import PAGE_VIEW
from collector.domain.outlook import ActsOnMessage, Deed, Happens, Outlook, Pause, SetsAttribute, SignsUp
from collector.domain.visits import IDLE
from collector.values.clock import MINUTE
from collector.values.query_tree import AttributeRule, EventMeasure, Measure, MessageMeasure

MOST_TIMES = 1_000
"""An event that would have to happen more often than this is no realistic change."""
MOST_VISITS = 10

Deeds = tuple[Deed, ...]


def proposals(rule: Rule, rules: Sequence[Rule], outlook: Outlook, now_ms: int) -> Iterator[Deeds]:
    """Yield what touches a rule, alone or a few times; `rules` are all of the query, some about the same attribute perhaps."""
    known = outlook.facts(now_ms)
    other = rule.test.operand if isinstance(rule.test.operand, EventMeasure | MessageMeasure) else None
    against = None if other is None else measured(other, known)
    value: object
    if isinstance(rule, AttributeRule):
        value = known.attribute(rule.field)
        yield from _about_attribute(rule, rules, outlook, now_ms)
    else:
        value = present = measured(rule.measure, known)
        yield from _about_measure(rule, rule.measure, present, against, outlook, now_ms)
    if other is not None:
        yield from _about_measure(rule, other, against, value, outlook, now_ms)


def _about_measure(rule: Rule, measure: Measure, present: int | None, against: object, outlook: Outlook, now_ms: int) -> Iterator[Deeds]:
    """Yield what would move a measure; `against` is what it is compared with, where that is no plain value."""
    if isinstance(measure, MessageMeasure):
        if measure.field in outlook.message_actions.get(measure.message, ()) and present is None:
            yield (ActsOnMessage(measure.message, measure.field),)
        return
    metadata = fitting.metadata(measure, now_ms, outlook.zone)
    if metadata is None:
        return
    number = against if isinstance(against, int | float) and not isinstance(against, bool) else None
    times = fitting.counts(rule.test, present or 0, number, anew=measure.over_timeline) if measure.field == "count" else [1, 2]
    for count in times:
        if count <= MOST_TIMES:
            yield (Happens(measure.event, count, metadata),)


def _about_attribute(rule: AttributeRule, rules: Sequence[Rule], outlook: Outlook, now_ms: int) -> Iterator[Deeds]:
    """Yield what would change an attribute: a value of its own, else a visit, or signing up."""
    view = Happens(PAGE_VIEW)
    if fitting.settable(rule.field):
        about = [one.test for one in rules if _asks_for(one, rule.field)]
        known = outlook.facts(now_ms)
        against = [measured(test.operand, known) for test in about if isinstance(test.operand, EventMeasure | MessageMeasure)]
        for value in fitting.attribute_values(rule.field, about, [one for one in against if one is not None], now_ms, outlook.zone):
            yield (SetsAttribute(rule.field, value),)
    elif rule.field == "email_domain":
        for value in fitting.attribute_values("email", [one.test for one in rules if _asks_for(one, rule.field)], [], now_ms, outlook.zone):
            yield (SetsAttribute("email", value),)
    elif rule.field in {"role", "external_id"} and outlook.attributes.get("role") == "lead":
        yield (SignsUp(),)
    elif rule.field in {"last_seen_at", "last_active_at", "updated_at"}:
        yield (view,)
    elif rule.field == "page_view_count":
        present = outlook.facts(now_ms).attributes["page_view_count"]
        for count in fitting.counts(rule.test, present if isinstance(present, int) else 0, None):
            if count <= MOST_TIMES:
                yield (Happens(PAGE_VIEW, count),)
    elif rule.field == "session_count":
        gap = Pause(IDLE + MINUTE)
        operand = rule.test.operand
        other = measured(operand, outlook.facts(now_ms)) if isinstance(operand, EventMeasure) else None
        for count in fitting.counts(rule.test, outlook.visits.count, other):
            if count <= MOST_VISITS:
                visits: Deeds = (view, *((gap, view) * (count - 1)))
                yield (gap, *visits) if outlook.visits.runs(now_ms) else visits


def _asks_for(rule: Rule, field: str) -> bool:
    return isinstance(rule, AttributeRule) and rule.field == field
