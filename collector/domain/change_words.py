"""A change in words, and why a rule cannot turn any more."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Any

import msgspec

from collector.domain import fitting
from collector.domain.audiences import NEVER, matches, measured
from collector.domain.explanation import Rule, explain
from collector.domain.names import PAGE_VIEW
from collector.domain.outlook import PACE, ActsOnMessage, Happens, Outlook, SetsAttribute, SignsUp, Step, Waits, clock_after
from collector.domain.proposals import MOST_TIMES
from collector.domain.turning_points import LONGEST_WAIT, calendar
from collector.values import query_words
from collector.values.clock import MINUTE
from collector.values.fields import seconds
from collector.values.metadata import date_text, display_value
from collector.values.query_tree import PRESENCE, AttributeRule, EventMeasure, EventRule, MessageMeasure, MessageRule, Node, walk
from collector.values.visit_context import VISIT_FIELDS
from collector.values.wording import ago

COMPUTED = frozenset({"last_seen_at", "last_active_at", "updated_at", "session_count", "page_view_count"})
"""What deeds change by the way; how it would change was not thought through to the end."""

_ACTED = {"seen": "seeing", "clicked": "clicking", "answered": "answering", "dismissed": "dismissing"}


def change_words(node: Node, outlook: Outlook, steps: Sequence[Step], now_ms: int, zone: tzinfo) -> str:
    """Return steps as a noun: `one more “report”, then waiting until 24 Sep 2026, 14:13 (in 3 days), when …`."""
    return ", then ".join(_step_words(node, outlook, steps, now_ms, zone))


def _step_words(node: Node, outlook: Outlook, steps: Sequence[Step], now_ms: int, zone: tzinfo) -> Iterator[str]:
    clock = now_ms
    for place, step in enumerate(steps):
        later = steps[place + 1 :]
        match step:
            case Happens():
                yield _happens(outlook, step, zone) + _not_after(node, step, later)
            case SetsAttribute():
                yield _sets(outlook, step, zone)
            case ActsOnMessage():
                yield f"{_ACTED[step.action]} the message {query_words.message(step.message, outlook.message_names)}"
            case SignsUp():
                yield "signing up"
            case Waits():
                soon = step.until_ms - now_ms < MINUTE
                until = "a moment" if soon else f"until {date_text(seconds(step.until_ms), zone)} ({ago(now_ms - step.until_ms)})"
                yield f"waiting {until}" + _when(node, outlook, clock, step.until_ms + (PACE if later else 0), zone)
        outlook, clock = outlook.after(step, clock)[0], clock_after(step, clock)


def _sets(outlook: Outlook, step: SetsAttribute, zone: tzinfo) -> str:
    name = query_words.field_in_sentence(step.field)
    if step.value is None:
        return f"removing {name}"
    if step.value == fitting.OTHER_TEXT:
        return f"setting {name} to any {'other ' if step.field in outlook.attributes else ''}text"
    instant = isinstance(step.value, int | float) and step.field.endswith("_at")
    return f"setting {name} to {_shown(step.field, step.value, zone) if instant else query_words.value(step.value)}"


def _happens(outlook: Outlook, step: Happens, zone: tzinfo) -> str:
    more = " more" if _happened_before(outlook, step) else ""
    count = "one" if step.times == 1 else f"{step.times:,}"
    shown = {key: _shown(key, value, zone) for key, value in step.metadata.items()}
    if step.event == PAGE_VIEW:
        place = next((shown.pop(key) for key in ("path", "url") if isinstance(step.metadata.get(key), str)), None)
        noun = "view" if place is not None else "page view"
        name = (noun if step.times == 1 else f"{noun}s") + (f" of {place}" if place is not None else "")
    else:
        name = f"“{step.event}”"
        shown = {key: f"“{text}”" if isinstance(step.metadata[key], str) else text for key, text in shown.items()}
    rest = " and ".join(f"{key} {text}" for key, text in shown.items())
    return f"{count}{more} {name}{f' with {rest}' if rest else ''}"


def _shown(key: str, value: Any, zone: tzinfo) -> str:
    return display_value(key, value, zone).text


def _happened_before(outlook: Outlook, step: Happens) -> bool:
    if not step.metadata:
        return outlook.totals.get(step.event, NEVER).count > 0
    wanted = step.metadata.items()
    events = (metadata for series in outlook.series.values() if series.measure.event == step.event for _, metadata in series.events)
    return any(all(metadata.get(key) == value for key, value in wanted) for metadata in events)


def _not_after(node: Node, step: Happens, later: Sequence[Step]) -> str:
    """Return which event must not follow, where a rule asks for one after the last of another."""
    for rule in walk(node):
        other = rule.test.operand
        if not isinstance(rule, EventRule) or not isinstance(other, EventMeasure) or rule.test.operator not in {">", ">="}:
            continue
        if rule.measure.field == other.field == "last" and rule.measure.event == step.event != other.event:
            done = any(isinstance(one, Happens) and one.event == other.event for one in later)
            return "" if done else f", and no {query_words.event(other)} after it"
    return ""


def _when(node: Node, outlook: Outlook, before_ms: int, until_ms: int, zone: tzinfo) -> str:
    """Return which rule time turns."""
    before, after = outlook.facts(before_ms), outlook.facts(until_ms)
    for rule in walk(node):
        holds = matches(rule, after, until_ms, zone)
        if holds is not matches(rule, before, before_ms, zone):
            subject = query_words.subject(rule, outlook.message_names)
            return f", when {subject} is {'' if holds else 'no longer '}{query_words.expected(rule.test, zone, outlook.message_names)}"
    return ""


class Reason(msgspec.Struct, frozen=True):
    """Why a rule keeps its verdict; `final` where nothing at all turns it, and not only nothing simple."""

    in_words: str
    final: bool


def rule_stays(rule: Rule, outlook: Outlook, now_ms: int, zone: tzinfo) -> Reason:
    """Return why a rule keeps its verdict."""
    said = explain(rule, outlook.facts(now_ms), now_ms, zone, outlook.message_names).in_words.removesuffix(".")
    why, final = _why(rule, outlook, now_ms, zone)
    return Reason(f"{said}; {why}", final)


def _why(rule: Rule, outlook: Outlook, now_ms: int, zone: tzinfo) -> tuple[str, bool]:
    plain = not isinstance(rule.test.operand, EventMeasure | MessageMeasure)
    if isinstance(rule, AttributeRule):
        if fitting.settable(rule.field) or rule.field == "email_domain":
            return "no value that it could take was found to change that", False
        if rule.field in COMPUTED:
            return "no visit was found to change that", False
        if rule.field in VISIT_FIELDS:
            return "another visit may say otherwise", False
        return "that is nothing that anybody sets or does", plain
    if isinstance(rule, MessageRule):
        if rule.measure.message not in outlook.message_names:
            return "there is no such message any more", plain
        if rule.measure.field == "goal":
            return "its goal is met by other rules than these", False
        if rule.measure.field not in outlook.message_actions.get(rule.measure.message, ()):
            return "nobody can do that with the message as it is now", False
        return "what happened with a message stays", plain
    if rule.measure.field == "count" and rule.test.operator in PRESENCE:
        return "a count is always known", True
    if fitting.metadata(rule.measure, now_ms, zone) is None:
        return "no event was found that meets these conditions", False
    present = measured(rule.measure, outlook.facts(now_ms)) or 0
    if rule.measure.field == "count" and any(one > MOST_TIMES for one in fitting.counts(rule.test, present, None)):
        return f"more than {MOST_TIMES:,} more of an event are not thought of", False
    if rule.test.kind == "time" and any(at > now_ms + LONGEST_WAIT for at in calendar(rule.test, zone)):
        return "no event within ten years was found to change that", False
    return "what happened cannot be undone, and what is still to come does not change that", plain and not rule.measure.over_timeline
