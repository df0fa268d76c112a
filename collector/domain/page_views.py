"""Which page view each thing happened in, as far as the timeline tells: an event keeps its visit, not its view.

A visit's number is the browser's, whoever it speaks for, so what is done happens in the view that was opened last in the visit. After idle
time it begins a new visit in a page that is still open: then it happens in the last view of that browser. Leads tell browsers apart. Where
a visit tells of no lead and the person has several, it happens in the last view that was left idle at the same address, if there is one.
"""

from collections.abc import Mapping, Sequence

import msgspec

from collector.domain.identities import LEAD, Identity
from collector.domain.names import PAGE_VIEW
from collector.domain.past import Happened
from collector.domain.visits import IDLE
from collector.values.clock import SECOND

_MOST = 1_000
"""Visits that are looked through for a page that was left open, the latest; whoever sends a visit with each event costs no more."""

_Visit = bytes | int
"""A visit's number, or the row id of whose it is where it has none."""


class View(msgspec.Struct, eq=False):
    """A page that somebody looks at, its id where it is known; since when, and until when it is known to have been open (ms)."""

    id: bytes | None
    at: int
    until: int
    url: str | None
    visit: _Visit
    """The visit in which something happened in it last."""


def views_of(events: Sequence[Happened], identities: Mapping[int, Identity]) -> dict[bytes, View]:
    """Return the view of each thing that browsers of one person sent, by the event's id. `events` are in order of time."""
    browsers = _Browsers(events, identities)
    found: dict[bytes, View] = {}
    last: dict[_Visit, View] = {}
    for event in events:
        if not event.in_browser:
            continue
        visit = _visit(event)
        view = last.get(visit)
        if view is None and event.name != PAGE_VIEW:
            view = browsers.left_open(event, last)
            if view is not None:
                last.pop(view.visit)
                browsers.join(visit, view.visit)
                view.visit = visit
        # What sends no visits says nothing of the time that a page was left alone.
        if view is not None and (event.visit is not None or event.at - view.at < IDLE):
            view.until = event.at
        if view is None or event.name == PAGE_VIEW:
            view = View(event.id if event.name == PAGE_VIEW else None, event.at, event.at, event.url, visit)
        last.pop(visit, None)
        found[event.id] = last[visit] = view  # the latest stands last
        if len(last) > _MOST:
            del last[next(iter(last))]
    return found


class _Browsers:
    """Which visits of a person one browser made, as far as its leads tell: each is one browser's, a browser may have had several."""

    def __init__(self, events: Sequence[Happened], identities: Mapping[int, Identity]) -> None:
        self.leads = {one.id for one in identities.values() if one.kind == LEAD}
        self._same: dict[_Visit, _Visit] = {}
        only = next(iter(self.leads)) if len(self.leads) == 1 else None
        for event in events:
            lead = event.identity if event.identity in self.leads else only
            if event.in_browser and lead is not None:
                self.join(_visit(event), lead)

    def join(self, visit: _Visit, other: _Visit) -> None:
        """Note that one browser made both visits."""
        one, another = self.of(visit), self.of(other)
        if one != another:
            self._same.update({one: another} if another in self.leads else {another: one})

    def of(self, visit: _Visit) -> _Visit:
        """Return what stands for a visit's browser: a lead where one is known."""
        while visit in self._same:
            visit = self._same[visit]
        return visit

    def left_open(self, event: Happened, last: Mapping[_Visit, View]) -> View | None:
        """Return the view in which something happened whose visit has none yet; `last` has the last of each visit before."""
        browser = self.of(_visit(event))
        found: list[View] = []
        for visit, view in last.items():
            other = self.of(visit)
            # Nobody who is not signed in any more has the same lead.
            may_be = event.identity not in self.leads and (other not in self.leads or browser not in self.leads)
            # The tracker counts idle time in whole seconds.
            if other == browser or (may_be and view.url == event.url and event.at - view.until > IDLE - SECOND):
                found.append(view)
        return max(found, key=lambda view: (view.url == event.url, view.at), default=None)


def _visit(event: Happened) -> _Visit:
    return event.identity if event.visit is None else event.visit
