"""A decision in the words of a marketer: each rule's verdict as a sentence that names what was found. Times are those of the site's zone.

Nothing is decided here: the sentences are made of what the rules themselves told (`delivery.decide`).
"""

from collections.abc import Callable
from datetime import datetime, tzinfo

import msgspec

from collector.domain.audiences import metadata_value
from collector.domain.decisions import Decided
from collector.domain.delivery import Moment, Verdict
from collector.domain.sites import Site
from collector.values import query_words
from collector.values.fields import seconds
from collector.values.messages import AutoMessageDefinition
from collector.values.metadata import date_text
from collector.values.page_rules import FieldRule, PageRule
from collector.values.wording import counted

CONSENT = (
    "Whether this person may be tracked only their browser knows: who opted out there, or whose browser asks not to be tracked, "
    "is shown nothing."
)
EVERYBODY = "It is for everybody."
NO_PAGE = "It depends on the page, and none was given: it shows where {rule}."
NO_EVENT = "It depends on an event, and none was given: it opens when “{event}”{where} happens, for 24 hours."
OUTCOMES = {
    "shown": "It was given out to be shown",
    "held_out": "It would have been shown, but this person is held out, to compare",
    "offered": "It was offered to the page, which asks for it once it can show it",
    "state": "It was meant for this person, but held back because messages were paused",
    "schedule": "It was meant for this person, but held back by its schedule",
    "frequency": "It was meant for this person, but held back because of how often it may be shown to one person",
    "caps": "It was meant for this person, but held back by the limits across messages",
    "content": "It was meant for this person, but held back because a value in its text was missing, or all of it was blank",
}
"""What was decided, by how it is kept."""
_PLACED = {"is": "is", "starts": "starts with", "contains": "contains", "wildcard": "matches"}
_BROWSER = {
    "time": "{seconds} seconds after a page opened",
    "scroll": "when {percent} % of a page was scrolled",
    "exit_intent": "when the pointer leaves the page",
}


class Said(msgspec.Struct, frozen=True):
    """What a sentence may name beside the verdict itself."""

    message: AutoMessageDefinition
    site: Site
    moment: Moment
    arm: str
    """What the person is of the message: shown, or held out."""

    def when(self, at_ms: int) -> str:
        """Return a time with its preposition."""
        return when(at_ms, self.moment.now, self.site.zone)


def in_words(verdict: Verdict, said: Said) -> str:
    """Return a verdict as a sentence; that of an audience is its query's own explanation."""
    return _WORDS[verdict.rule](verdict, said)


def when(at_ms: int, now_ms: int, zone: tzinfo) -> str:
    """Return a time within a sentence: `at 14:05` of today, `on 3 Mar 2026, 14:05` of another day."""
    day, _, clock = date_text(seconds(at_ms), zone).rpartition(", ")
    today = date_text(seconds(now_ms), zone).rpartition(", ")[0]
    return f"at {clock}" if day == today else f"on {day}, {clock}"


def past(decided: Decided, now_ms: int, zone: tzinfo) -> str:
    """Return what was decided within an hour as a sentence."""
    at = when(decided.last_at, now_ms, zone)
    return f"{OUTCOMES[decided.outcome]}: {at if decided.times == 1 else f'{decided.times:,} times within an hour, the last {at}'}."


def page_words(rule: PageRule) -> str:
    """Return a page rule within a sentence: `path starts with “/pricing”`."""
    if isinstance(rule, FieldRule):
        place = rule.field if rule.name is None else f"query parameter {rule.name}"
        return f"{place} {_PLACED[rule.operator]} “{rule.value}”"
    parts = [page_words(one) if isinstance(one, FieldRule) else f"({page_words(one)})" for one in rule.value]
    return f"not {' nor '.join(parts)}" if rule.operator == "NOT" else f" {rule.operator.lower()} ".join(parts)


def _state(verdict: Verdict, said: Said) -> str:
    if said.site.settings.messages_paused:
        return "All messages of this site are paused."
    if verdict.holds:
        return "It is live."
    return f"It is {'a draft' if verdict.actual == 'draft' else verdict.actual}; only a live message is shown."


def _schedule(verdict: Verdict, said: Said) -> str:
    schedule, now = said.message.schedule, said.moment.now
    if schedule.starts_at_ms is not None and now < schedule.starts_at_ms:
        return f"It begins {said.when(schedule.starts_at_ms)}, which is still to come."
    if schedule.ends_at_ms is not None and now >= schedule.ends_at_ms:
        return f"It ended {said.when(schedule.ends_at_ms)}."
    ends = (("since", schedule.starts_at_ms), ("until", schedule.ends_at_ms))
    span = [f"{word} {said.when(at).partition(' ')[2]}" for word, at in ends if at is not None]
    if not schedule.hours:
        return f"It may show {', '.join(span)}." if span else "It may show at any time."
    local = datetime.fromtimestamp(now / 1000, said.site.zone)
    present = f"{local:%a} {local:%H:%M}"
    parts = [(", ".join(one["days"]).title(), one["from"], one["to"]) for one in said.message.as_json()["schedule"]["hours"]]
    hours = "; ".join(f"{days} {start} to {end}" for days, start, end in parts)
    allowed = f"it may show {', '.join([*span, f'in these hours: {hours}'])} ({said.site.time_zone})"
    return f"Now it is {present}, {'and' if verdict.holds else 'but'} {allowed}."


def _page(verdict: Verdict, said: Said) -> str:
    rule = said.message.page
    if rule is None:
        return "It may show on every page."
    return f"{said.moment.page_url} is {'a' if verdict.holds else 'no'} page it shows on: where {page_words(rule)}."


def _trigger(verdict: Verdict, said: Said) -> str:
    trigger, event = said.message.trigger, said.moment.event
    if trigger.type == "page":
        return "It opens with the page."
    if trigger.type == "manual":
        return "It opens when the page asks for it, by showMessage."
    if trigger.type in _BROWSER:
        return f"It opens {_BROWSER[trigger.type].format(**said.message.as_json()['trigger'])}; when that is so the browser says."
    where = query_words.where(trigger.where)
    if event is None or event.name != trigger.event:
        return f"It opens when “{trigger.event}”{where} happens; this event is {'none' if event is None else f'“{event.name}”'}."
    happened = f"“{event.name}” happened {said.when(event.at)}"
    if verdict.actual == "expired":
        return f"{happened}, more than 24 hours ago; an event opens a message for 24 hours."
    if verdict.actual == "used":
        return f"{happened} and opened this message already; each event opens it once."
    if verdict.holds:
        return f"{happened}, which opens it."
    met = {rule.field.removeprefix("metadata."): query_words.value(metadata_value(rule, event.metadata)) for rule in trigger.where}
    found = " and ".join(f"{name} is {value}" for name, value in met.items())
    return f"{happened}, and its {found}; it opens{where}."


def _holdout(verdict: Verdict, _: Said) -> str:
    percent = f"{verdict.expected:g} %"
    if not verdict.holds:
        return f"This person is held out, one of the {percent} who are not shown it, to compare."
    return "Nobody is held out." if not verdict.expected else f"This person is not held out; {percent} are, to compare."


def _frequency(verdict: Verdict, said: Said) -> str:
    found, frequency = verdict.actual, said.message.frequency
    shown = "was shown" if said.arm == "shown" else "would have been shown"
    if not found["times"]:
        return f"It was never shown to this person; {_how_often(said)}."
    history = f"It {shown} {counted(found['times'], 'time')}, the last {said.when(found['last'])}"
    if found["times"] == 1:
        history = f"It {shown} 1 time, {said.when(found['last'])}"
    if frequency.type == "once":
        return f"{history}; {_how_often(said)}."
    if frequency.type == "until_acted" and found["act"] is not None:
        return f"{history}, and was {found['act']}; {_how_often(said)}."
    if frequency.max is not None and found["times"] >= frequency.max:
        return f"{history}; the most is {counted(frequency.max, 'time')}."
    if found["next"] is not None and found["next"] > said.moment.now:
        return f"{history}; {_how_often(said)}: the next may come {said.when(found['next'])}."
    if found["leased"]:
        return f"{history}, just now; it is not given out twice for one view, nor while a page is about to show it."
    return f"{history}; {_how_often(said)}."


def _how_often(said: Said) -> str:
    frequency = said.message.frequency
    if frequency.type == "once":
        return "once: it does not come back"
    if frequency.type == "until_acted":
        return "until acted: it comes back until it is clicked, answered or dismissed"
    most = f", at most {counted(frequency.max, 'time')}" if frequency.max else ""
    return f"every time{most}" + (f", at most once every {counted(frequency.every_days, 'day')}" if frequency.every_days else "")


def _caps(verdict: Verdict, said: Said) -> str:
    expected, found = verdict.expected, verdict.actual
    if found == "ignored":
        return "The limits across messages do not hold for this one."
    if found == "internal":
        return "This person is one of the staff, whom no limit holds back."
    most, gap = expected["per_day"], counted(expected["gap_minutes"], "minute")
    if not found["today"]:
        return f"No message was shown within 24 hours; the most is {most:,}."
    were = f"{counted(found['today'], 'message')} {'was' if found['today'] == 1 else 'were'} shown within 24 hours"
    if verdict.holds:
        return f"{were}, the last {said.when(found['last'])}; the most is {most:,}, with {gap} between two."
    why = f"the most is {most:,}" if found["today"] >= most else f"the last {said.when(found['last'])}, and {gap} have to lie between two"
    return f"{were}, {why}" + (f": the next may come {said.when(found['next'])}." if found["next"] is not None else ".")


_WORDS: dict[str, Callable[[Verdict, Said], str]] = {
    "state": _state,
    "schedule": _schedule,
    "page": _page,
    "trigger": _trigger,
    "holdout": _holdout,
    "frequency": _frequency,
    "caps": _caps,
}
