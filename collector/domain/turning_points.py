"""When time may turn a rule: the instants at which an age passes a span, an event leaves its window, a visit ends; or, for what is done
then, at which a day begins or a time that is compared with has come.

Between two of them nothing changes, so to know what waiting does it is enough to ask at each.
"""

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, tzinfo

from collector.domain import visits
from collector.domain.audiences import measured
from collector.domain.explanation import Rule
from collector.domain.outlook import Outlook, Series
from collector.values.clock import DAY, MINUTE
from collector.values.days import day_bounds
from collector.values.metadata import is_date_key
from collector.values.query_tree import SPANS, AttributeRule, EventMeasure, EventRule, MessageMeasure, Node, Test, walk

LONGEST_WAIT = 3_650 * DAY
MOST = 400
_MOST_EVENTS = 200
_OF_VISITS = frozenset({"last_seen_at", "last_active_at"})


def turning_points(node: Node, outlook: Outlook, now_ms: int) -> list[int]:
    """Return the instants (ms) after now at which a query's verdict may change, the earliest first: up to 400, within ten years."""
    found: set[int] = set()
    known = outlook.facts(now_ms)
    for rule in walk(node):
        test = rule.test
        instants: list[int | None] = []
        if isinstance(rule, AttributeRule):
            value = known.attribute(rule.field)
            if test.kind == "time" and isinstance(value, int | float) and not isinstance(value, bool):
                instants.append(round(value * 1000))
            if rule.field in {"last_seen_at", "session_count"} and outlook.visits.ended_at is not None:
                found.add(outlook.visits.ended_at + visits.IDLE)
                instants.append(outlook.visits.ended_at // 1000 * 1000)
        found.update(_what_comes(rule, outlook.zone))
        for measure in (None if isinstance(rule, AttributeRule) else rule.measure, test.operand):
            if not isinstance(measure, EventMeasure | MessageMeasure):
                continue
            if test.kind == "time":
                instants.append(measured(measure, known))
            if isinstance(measure, EventMeasure) and measure.over_timeline:
                series = outlook.series[measure.key]
                found.update(_leaving(series, rule, outlook.retention_ms))
                if test.operator in SPANS:
                    instants += series.times[:_MOST_EVENTS]
                if not series.fixed:
                    found.update(_conditions_turn(series))
        for at in instants:
            if at is not None:
                found.update(_passing(test, at))
    return heapq.nsmallest(MOST, (at for at in found if now_ms < at <= now_ms + LONGEST_WAIT))


def _what_comes(rule: Rule, zone: tzinfo) -> Iterator[int]:
    """Yield when what is done is at, and after, what a rule compares with: a millisecond later, a minute where that is kept."""
    of_visits = isinstance(rule, AttributeRule) and rule.field in _OF_VISITS
    if rule.test.kind == "time" and (of_visits or not isinstance(rule, AttributeRule)):
        for at in calendar(rule.test, zone):
            yield at
            yield at + (MINUTE if of_visits else 1)


def calendar(test: Test, zone: tzinfo) -> Iterator[int]:
    """Yield the fixed instants (ms) that a test about time compares with; of a day its two ends."""
    operands = test.operand if isinstance(test.operand, frozenset) else [test.operand]
    for one in operands if test.operator not in SPANS else ():
        if isinstance(one, date):
            yield from day_bounds(one, zone)
        elif isinstance(one, int):
            yield one


def _passing(test: Test, at_ms: int) -> Iterable[int]:
    """Yield when the age of an instant passes the bounds of a relative test."""
    if test.operator in SPANS:
        span: int = test.operand
        for bound in (-span, 0, span, span + test.unit_ms):
            yield at_ms + bound
            yield at_ms + bound + 1


def _leaving(series: Series, rule: object, retention_ms: int) -> Iterable[int]:
    """Yield when events leave the window of a measure, those that matter to the rule."""
    within = series.measure.within_days
    for at_ms in _that_matter(series, rule):
        yield at_ms + retention_ms + 1
        if within is not None:
            yield at_ms + within * DAY


def _that_matter(series: Series, rule: object) -> Sequence[int]:
    times = series.times
    if isinstance(rule, EventRule) and rule.measure is series.measure and series.fixed:
        if rule.measure.field == "last" and rule.test.operator not in SPANS:
            return times[-1:]
        operands = rule.test.operand if isinstance(rule.test.operand, frozenset) else [rule.test.operand]
        if rule.measure.field == "count" and all(isinstance(one, int | float) for one in operands):
            left = {math.floor(one) + step for one in operands for step in (-1, 0, 1)}
            return [times[len(times) - 1 - count] for count in left if 0 <= count < len(times)]
    return times[:_MOST_EVENTS]


def _conditions_turn(series: Series) -> Iterable[int]:
    """Yield when conditions on dates in the metadata turn."""
    for _, metadata in series.events[-_MOST_EVENTS:]:
        for key, value in metadata.items():
            if is_date_key(key) and isinstance(value, int | float):
                for rule in series.measure.where:
                    yield from _passing(rule.test, round(value * 1000))
