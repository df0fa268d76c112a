"""Somebody as of a moment in the past: what was known then, built up from what happened, in the shape that decisions ask for."""

import json
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from collector.domain import people, trigger_events, visits
from collector.domain.attributes import Own, fold_own
from collector.domain.audiences import NEVER, PersonFacts, Total, measure_over, together
from collector.domain.deliveries import Delivery
from collector.domain.delivery import TRIGGER_LIFE, Recipient, TriggerEvent
from collector.domain.identities import Identity, Key
from collector.domain.names import PAGE_VIEW
from collector.domain.past import Happened, Wanted
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.values.clock import DAY, MINUTE
from collector.values.query_tree import SPANS, EventMeasure
from collector.values.visit_context import described

History = list[tuple[int, dict[str, Any]]]
"""Time (ms) and metadata of events."""


class AsOfThen:
    """One person as of the last thing that was counted: identities, totals, visits, what was granted."""

    def __init__(self, site: Site, wanted: Wanted, members: list[Identity]) -> None:
        self.site = site
        self.wanted = wanted
        self.members = members
        self.totals: dict[str, Total] = {}
        self.own: dict[str, list[tuple[str, Own]]] = {}
        """What each identity says of itself, by attribute, with the identity's kind."""
        self.deliveries: list[Delivery] = []
        self._active: int | None = None
        self._visits: dict[bytes, tuple[int, int, str]] = {}
        self._measured: dict[str, Total] = {}
        self._histories: dict[str, History] = {}
        self._waiting: dict[str, deque[Happened]] = {}
        self._recipient: tuple[int, Recipient] | None = None
        self._attributes: dict[str, Any] | None = None

    def count(self, event: Happened, context: str) -> None:
        """Take in what happened, before anything is decided on it; `context` is that of its visit."""
        self._recipient = None
        at = event.at
        if event.name in self.wanted.totals:
            self.add_total(event.name, Total(1, at, at))
        for measure in self.wanted.measures(event.name):
            self._measure(measure, event)
        if event.name in self.wanted.triggers:
            self._wait(event)
        if event.in_browser:
            self._active = max(self._active or 0, at // MINUTE * MINUTE)
            if event.visit is not None:
                self.widen(event.visit, at, at, context)

    def add_total(self, name: str, total: Total) -> None:
        """Add to how often something was done."""
        self.totals[name] = together(self.totals.get(name, NEVER), total)

    def widen(self, visit: bytes, start: int, end: int, context: str) -> None:
        """Take in a part of a visit."""
        known = self._visits.get(visit)
        if known is None or start < known[0]:
            self._attributes = None  # what visits say may be another thing now
        if known is not None:
            start, context = min((start, context), (known[0], known[2]), key=lambda one: one[0])
            end = max(end, known[1])
        self._visits[visit] = (start, end, context)

    def absorb(self, lead: "AsOfThen") -> None:
        """Take in a lead that becomes part of this person."""
        self._recipient = self._attributes = None
        self.members = [*self.members, *lead.members]
        for name, total in lead.totals.items():
            self.add_total(name, total)
        for name, own in lead.own.items():
            self.own[name] = [*self.own.get(name, ()), *own]
        for key, total in lead._measured.items():
            self._measured[key] = together(self._measured.get(key, NEVER), total)
        for key, history in lead._histories.items():
            self._histories[key] = sorted([*self._histories.get(key, ()), *history], key=lambda one: one[0])
        for visit, (start, end, context) in lead._visits.items():
            self.widen(visit, start, end, context)
        if lead._active is not None:
            self._active = max(self._active or 0, lead._active)
        self.deliveries = sorted([*self.deliveries, *lead.deliveries], key=lambda one: one.claimed_at)
        both = [event for events in (*self._waiting.values(), *lead._waiting.values()) for event in events]
        self._waiting = {}
        for event in sorted(both, key=lambda event: (event.at, event.id)):
            self._wait(event)

    def grant(self, delivery: Delivery) -> None:
        """Note what was granted."""
        self._recipient = None
        insort(self.deliveries, delivery, key=lambda one: one.claimed_at)

    def waiting(self, name: str, only: Sequence[Key | None]) -> Iterator[TriggerEvent]:
        """Yield the events of a name that may open messages, the newest first; `only` as in `trigger_events`, any of them."""
        person, found = people.of_identities(self.members), 0
        for event in reversed(self._waiting.get(name, ())):
            may = {"unverified": event.unverified, "without_page": event.url is None}
            if any(trigger_events.may_open(event.identity, person, one, **may) for one in only):
                yield TriggerEvent(event.id, name, event.at, _metadata(event))
                found += 1
            if found == trigger_events.MOST:
                return

    def _wait(self, event: Happened) -> None:
        """Keep an event that may open messages, and no more those of its name that are too old to."""
        waiting = self._waiting.setdefault(event.name, deque())
        while waiting and waiting[0].at <= event.at - TRIGGER_LIFE:
            waiting.popleft()
        waiting.append(event)

    def recipient(self, now_ms: int) -> Recipient:
        """Return what decisions ask for, at a time that is not before what was counted last."""
        if self._recipient is None or self._recipient[0] != now_ms:
            person = self._person(now_ms)
            facts = PersonFacts(
                attributes=self._known(person, now_ms),
                totals=self.totals,
                measures=_Measures(self, now_ms),
            )
            self._recipient = now_ms, Recipient(person, facts, self.deliveries)
        return self._recipient[1]

    def measured(self, measure: EventMeasure, now_ms: int) -> Total:
        """Return what was measured over the timeline until a time."""
        if measure.key in self._measured:
            return self._measured[measure.key]
        return measure_over(self._histories.get(measure.key, ()), measure, now_ms, self.site.zone)

    def _measure(self, measure: EventMeasure, event: Happened) -> None:
        """Take in an event that a measure may count: added up at once where what counts now counts always."""
        one = (event.at, _metadata(event))
        if measure.within_days is None and not _ages(measure):
            counted = measure_over([one], measure, event.at, self.site.zone)
            self._measured[measure.key] = together(self._measured.get(measure.key, NEVER), counted)
            return
        history = self._histories.setdefault(measure.key, [])
        if _ages(measure) or measure_over([one], measure, event.at, self.site.zone).count:
            history.append(one)
        if measure.within_days is not None:
            del history[: bisect_right(history, event.at - measure.within_days * DAY, key=itemgetter(0))]

    def _person(self, now_ms: int) -> Person:
        person = people.of_identities(self.members)
        return msgspec.structs.replace(person, created_at=min(person.created_at, now_ms), active_at=self._active)

    def _known(self, person: Person, now_ms: int) -> dict[str, Any]:
        """Return the attributes as of then, set and computed, as `facts.load` gives them."""
        needs = self.wanted.needs.attributes
        if not needs and not self.wanted.everything:
            return {}
        if self._attributes is None:
            self._attributes = self._set()
        spans = [visits.whole(visit, start, end) for visit, (start, end, _) in self._visits.items()] if self.wanted.visits else []
        known = people.with_computed(person, dict(self._attributes), visits.folded(spans), now_ms)
        known["page_view_count"] = self.totals.get(PAGE_VIEW, NEVER).count
        return known

    def _set(self) -> dict[str, Any]:
        """Return the attributes that identities have and that the visits until now give."""
        said: dict[str, str] = {}
        if self._visits:
            order = sorted((start, visit) for visit, (start, _, _) in self._visits.items())
            said = described(self._visits[order[0][1]][2], self._visits[order[-1][1]][2])
        found: dict[str, Any] = {}
        for name in self.own.keys() | said.keys():
            value = fold_own(self.own.get(name, ()), said.get(name)).value
            if value is not None and value != "null":
                found[name] = json.loads(value)
        return found


class _Measures(dict[str, Total]):
    """What was measured, looked at where a rule asks for it."""

    def __init__(self, someone: AsOfThen, now_ms: int) -> None:
        super().__init__()
        self._someone = someone
        self._now = now_ms

    def __missing__(self, key: str) -> Total:
        """Measure once."""
        found = self[key] = self._someone.measured(self._someone.wanted.measure(key), self._now)
        return found


def _metadata(event: Happened) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(event.metadata) if event.metadata else {}
    return decoded


def _ages(measure: EventMeasure) -> bool:
    """Say whether what a measure counts may be another thing later, for a condition on metadata compares with the present."""
    return any(rule.test.operator in SPANS for rule in measure.where)
