"""What would be known about a person later, or after something more happened: the facts as they follow from time and deeds.

The same facts as `facts.load` gives, from what they are made of: the single events behind a measure, the visits behind the last
one. So a change can be tried before it happens. What is done happens in a browser, so an event belongs to a visit; a new visit comes
with the browser of the one before, by no campaign and from nowhere.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import msgspec

from collector.domain import facts, identities, people, visits
from collector.domain.attributes import OF_VISITS, VISITS
from collector.domain.audiences import NEVER, AttributeValue, PersonFacts, Total, measure_over, where_matches
from collector.domain.names import PAGE_VIEW, Names
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.clock import DAY, MINUTE, SECOND
from collector.values.query_tree import SPANS, EventMeasure, Needs
from collector.values.visit_context import CAMPAIGN, VISIT_FIELDS, described

PACE = SECOND
"""What is done one after the other is done so far apart (ms)."""

_OF_ORIGIN = frozenset({*CAMPAIGN, "referrer"})
"""What the latest visit says of where it came from."""

NEW_ID = "a new user id"
"""Stands for the user id, and the contact id, that signing up would bring."""


class Happens(msgspec.Struct, frozen=True, tag_field="type", tag="event"):
    """An event happens now, so many times, a millisecond apart."""

    event: str
    times: int = 1
    metadata: dict[str, Any] = {}


class SetsAttribute(msgspec.Struct, frozen=True, tag_field="type", tag="attribute"):
    """An attribute is set; None unsets it. Dates are unix seconds."""

    field: str
    value: str | int | float | bool | None


class ActsOnMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """A message is `seen`, `clicked`, `answered` or `dismissed`."""

    message: str
    action: str


class SignsUp(msgspec.Struct, frozen=True, tag_field="type", tag="sign_up"):
    """A visitor becomes a user that did not exist before."""


class Waits(msgspec.Struct, frozen=True, tag_field="type", tag="wait"):
    """Time passes until an instant (ms)."""

    until_ms: int


class Pause(msgspec.Struct, frozen=True):
    """Time passes for so long (ms); once it is tried, it is known until when."""

    ms: int


Step = Happens | SetsAttribute | ActsOnMessage | SignsUp | Waits
Deed = Step | Pause


class Visits(msgspec.Struct, frozen=True):
    """What somebody's visits add up to, as it stands on the principal's row (ms). Ends are to the minute, but not before the start."""

    count: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    previous_ended_at: int | None = None

    def runs(self, now_ms: int) -> bool:
        """Whether somebody is here now."""
        return self.ended_at is not None and self.ended_at > now_ms - visits.IDLE

    def with_events(self, first_ms: int, last_ms: int) -> "Visits":
        """Return them with something done now: within the visit that runs, else in a new one."""
        minute = last_ms // MINUTE * MINUTE
        if self.ended_at is not None and self.runs(first_ms):
            return msgspec.structs.replace(self, ended_at=max(self.ended_at, minute))
        return Visits(self.count + 1, first_ms, max(first_ms, minute), self.ended_at)


Happened = Sequence[tuple[int, Mapping[str, Any]]]
"""Events of one name: milliseconds and metadata."""


class Series(msgspec.Struct, frozen=True):
    """The events that a measure counts, in the order of time; `fixed` where time alone decides which of them still count."""

    measure: EventMeasure
    zone: tzinfo
    fixed: bool
    events: Happened = ()
    times: Sequence[int] = ()

    @classmethod
    def of(cls, measure: EventMeasure, happened: Happened, zone: tzinfo) -> "Series":
        """Return those of a timeline that a measure could count."""
        fixed = not any(rule.test.operator in SPANS for rule in measure.where)
        return cls(measure, zone, fixed).following(happened)

    def following(self, happened: Happened) -> "Series":
        """Return it with more events."""
        return self._with([one for one in happened if self.takes(one[1])])

    def repeated(self, times: Iterable[int], metadata: Mapping[str, Any]) -> "Series":
        """Return it with an event that happens at each of these times (ms)."""
        return self._with([(at, metadata) for at in times]) if self.takes(metadata) else self

    def _with(self, fitting: Happened) -> "Series":
        events = sorted((*self.events, *fitting), key=lambda one: one[0])
        return Series(self.measure, self.zone, self.fixed, events, [at for at, _ in events])

    def takes(self, metadata: Mapping[str, Any]) -> bool:
        """Say whether an event could count."""
        return not self.fixed or not self.measure.where or where_matches(self.measure.where, metadata, 0, self.zone)

    def total(self, now_ms: int, retention_ms: int) -> Total:
        """Return what is counted at an instant."""
        start = bisect_left(self.times, now_ms - retention_ms)
        if not self.fixed:
            return measure_over(self.events[start:], self.measure, now_ms, self.zone)
        if self.measure.within_days is not None:
            start = max(start, bisect_right(self.times, now_ms - self.measure.within_days * DAY))
        return Total(len(self.times) - start, self.times[start], self.times[-1]) if start < len(self.times) else NEVER


def sort_out(measures: Iterable[EventMeasure], happened: Mapping[str, Happened], zone: tzinfo) -> dict[str, Series]:
    """Return the events that each measure counts, by the measure's key, of a timeline by event name."""
    return {one.key: Series.of(one, happened.get(one.event, ()), zone) for one in measures}


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a person, so that it can be told what would be known later. Times in ms."""

    zone: tzinfo
    retention_ms: int
    attributes: Mapping[str, AttributeValue] = {}
    """Those that were set; `facts` adds what follows from time and deeds, and what visits say where nothing was set."""
    said: Mapping[str, AttributeValue] = {}
    """What the first and the latest visit say."""
    totals: Mapping[str, Total] = {}
    series: Mapping[str, Series] = {}
    """What is measured over the timeline, by the measure's key."""
    messages: Mapping[str, Mapping[str, int]] = {}
    visits: Visits = Visits()
    active_at: int | None = None
    message_names: Mapping[str, str] = {}
    """By id, the messages asked for that could still be shown."""
    message_actions: Mapping[str, Collection[str]] = {}
    """By id, what somebody who is shown one of them can do with it: nothing while it is not live."""

    @property
    def effort(self) -> int:
        """What it costs to ask for the facts, in units of the plainest."""
        return 1 + len(self.series) // 10 + sum(len(series.events) // 20 for series in self.series.values() if not series.fixed)

    def narrowed(self, measures: Iterable[EventMeasure]) -> "Outlook":
        """Return it with no more measured than this."""
        return msgspec.structs.replace(self, series={one.key: self.series[one.key] for one in measures})

    def facts(self, now_ms: int) -> PersonFacts:
        """Return what is known at an instant, if nothing more is done until then."""
        attributes = {**self.said, **self.attributes}
        attributes["email_domain"] = people.email_domain(attributes.get("email"))
        attributes["page_view_count"] = self.totals.get(PAGE_VIEW, NEVER).count
        attributes["session_count"] = self.visits.count
        seen = visits.last_seen(now_ms, self.visits.started_at, self.visits.ended_at, self.visits.previous_ended_at)
        attributes["last_seen_at"] = None if seen is None else seen // 1000
        attributes["last_active_at"] = None if self.active_at is None else self.active_at // 1000
        measures = {key: series.total(now_ms, self.retention_ms) for key, series in self.series.items()}
        return PersonFacts(attributes, self.totals, measures, self.messages)

    def after(self, deed: Deed, now_ms: int) -> "tuple[Outlook, int]":
        """Return what is known after a step, and what time it is then."""
        return self._with(deed, now_ms), clock_after(deed, now_ms)

    def after_all(self, deeds: Iterable[Deed], now_ms: int) -> "tuple[Outlook, int]":
        """Return what is known after several steps, and what time it is then."""
        outlook = self
        for deed in deeds:
            outlook, now_ms = outlook.after(deed, now_ms)
        return outlook, now_ms

    def _with(self, deed: Deed, now_ms: int) -> "Outlook":
        replace = msgspec.structs.replace
        match deed:
            case Happens():
                return self._with_event(deed, now_ms)
            case SetsAttribute():
                others = {name: value for name, value in self.attributes.items() if name != deed.field}
                attributes = others if deed.value is None else {**others, deed.field: deed.value}
                gives_way = deed.value is None and deed.field in self.said
                return replace(self, attributes=attributes if gives_way else _updated(attributes, now_ms))
            case ActsOnMessage():
                known = dict(self.messages.get(deed.message, {}))
                for action in ("seen", "clicked") if deed.action == "clicked" else (deed.action,):
                    known[action] = min(known.get(action, now_ms), now_ms)
                return replace(self, messages={**self.messages, deed.message: known})
            case SignsUp():
                return replace(self, attributes={**self.attributes, "role": "user", "external_id": NEW_ID, "id": NEW_ID})
        return self

    def _with_event(self, deed: Happens, now_ms: int) -> "Outlook":
        known = self.totals.get(deed.event, NEVER)
        first = now_ms if known.first_ms is None else min(known.first_ms, now_ms)
        latest = now_ms + deed.times - 1
        last = latest if known.last_ms is None else max(known.last_ms, latest)
        times = range(now_ms, now_ms + deed.times)
        series = {key: one.repeated(times, deed.metadata) if one.measure.event == deed.event else one for key, one in self.series.items()}
        return msgspec.structs.replace(
            self,
            totals={**self.totals, deed.event: Total(known.count + deed.times, first, last)},
            series=series,
            visits=self.visits.with_events(now_ms, latest),
            said=self.said if self.visits.runs(now_ms) else {name: self.said[name] for name in self.said if name not in _OF_ORIGIN},
            active_at=max(self.active_at or 0, latest // MINUTE * MINUTE),
            attributes=_updated(self.attributes, latest // MINUTE * MINUTE),
        )


def _updated(attributes: Mapping[str, AttributeValue], at_ms: int) -> Mapping[str, AttributeValue]:
    """Return attributes that were last changed at an instant."""
    known = attributes.get("updated_at")
    return {**attributes, "updated_at": max(known, at_ms // 1000)} if isinstance(known, int | float) else attributes


def clock_after(deed: Deed, now_ms: int) -> int:
    """Return what time it is (ms) after a step that begins now."""
    match deed:
        case Waits():
            return max(deed.until_ms, now_ms)
        case Pause():
            return now_ms + deed.ms
    return now_ms + PACE


def load(connection: Connection, site: Site, names: Names, person: Person, needs: Needs, now_ms: int, retention_ms: int) -> Outlook:
    """Return the outlook of a person, as far as queries with these needs ask."""
    known = facts.load(connection, site, names, person, msgspec.structs.replace(needs, measures=()), now_ms, retention_ms)
    principal, showable = person.identities[0], _showable(connection, site.id, needs.messages)
    said, unset = _said(connection, site.id, person.id) if needs.attributes & VISIT_FIELDS else ({}, set())
    happened: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    measured = {measure.event for measure in needs.measures}
    for event, at, metadata in people.happened(connection, site.id, names, person, now_ms - retention_ms, measured):
        happened.setdefault(event, []).append((at, metadata))
    return Outlook(
        zone=site.zone,
        retention_ms=retention_ms,
        attributes={name: value for name, value in known.attributes.items() if name not in unset},
        said=said,
        totals=known.totals,
        series=sort_out(needs.measures, happened, site.zone),
        messages=known.messages,
        visits=Visits(principal.visit_count or 0, principal.visit_started_at, principal.visit_ended_at, principal.previous_visit_ended_at),
        active_at=person.active_at,
        message_names={public_id: name for public_id, name, *_ in showable},
        message_actions={public_id: _actions(definition) for public_id, _, state, definition in showable if state == "live"},
    )


def _said(connection: Connection, site: int, person: int) -> tuple[dict[str, str], set[str]]:
    """Return what visits say of somebody, and for which attributes nothing was set that would count before it."""
    made = visits.parts(connection, site, identities.members(connection, site, [person]))
    contexts = visits.contexts(connection, site, made).get(person)
    rows = connection.rows("SELECT attr FROM attributes WHERE site = ? AND identity = ? AND source = ?", (site, person, VISITS))
    return {} if contexts is None else described(*contexts), {OF_VISITS[attr] for (attr,) in rows if attr in OF_VISITS}


def _showable(connection: Connection, site: int, wanted: Collection[str]) -> list[tuple[str, str, str, str]]:
    """Return id, name, state and definition (JSON) of those of these messages that could be shown."""
    if not wanted:
        return []
    rows = connection.rows("SELECT public_id, name, state, definition FROM auto_messages WHERE site = ? AND state <> 'archived'", (site,))
    return [(public_id, name, state, definition) for public_id, name, state, definition in rows if public_id in wanted]


def _actions(definition: str) -> set[str]:
    """Return what can be done with a message: what has no question is not answered, and what leads nowhere is not clicked."""
    content = msgspec.json.decode(definition)["content"]
    leads = bool(content.get("buttons")) or "://" in content.get("body", "") or "](" in content.get("body", "")
    return {"seen", "dismissed", *(["clicked"] if leads else []), *(["answered"] if content.get("question") else [])}
