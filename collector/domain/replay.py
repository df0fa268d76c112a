"""A person's past walked through again in order of time, with messages decided at each step as they are while serving.

The facts are built up as they were then; whatever is decided is decided by `delivery`, on facts of the same shape as serving loads. What
is granted stays in memory. What is taken for granted here stands in `assumptions`.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import NamedTuple

import msgspec

from collector.domain import delivery
from collector.domain.as_of_then import AsOfThen
from collector.domain.auto_messages import AutoMessage
from collector.domain.content import fill_in
from collector.domain.deliveries import SHOWN
from collector.domain.delivery import OFFERED, Moment, TriggerEvent
from collector.domain.identities import LEAD, USER, Identity, Key
from collector.domain.page_views import View, views_of
from collector.domain.past import Happened, Past, Wanted
from collector.domain.rewinding import Rewound
from collector.domain.sites import Site
from collector.values.clock import MINUTE
from collector.values.messages import IN_THE_VIEW

_NOBODY: Key = (LEAD, "")


class Given(NamedTuple):
    """A message that somebody would have got, or been held out from (`arm`), at a time (ms)."""

    message: AutoMessage
    arm: str
    at: int


class Scene(msgspec.Struct, frozen=True):
    """What is the same for everybody: the site, the messages, what they ask of people.

    The timeline begins at `oldest`, messages are decided from `since` until `until` (ms, both included).
    """

    site: Site
    rewound: Rewound
    wanted: Wanted
    oldest: int
    since: int
    until: int


class _Sight(msgspec.Struct, frozen=True):
    """A browser's page that a message may show in, as what happened last in it tells: a page may say later who is signed in."""

    identity: Identity
    view: View
    url: str
    unverified: bool

    @property
    def asserted(self) -> bool:
        """Whether the page asserts a user id: then what happens there belongs to that."""
        return self.identity.kind == USER

    def may_know(self, role: str) -> bool:
        """Say whether what is known of a person of this role may be given out there."""
        return delivery.may_know(role, asserted=self.asserted, verified=self.asserted and not self.unverified)

    def moment(self, at: int, event: TriggerEvent | None = None) -> Moment:
        """Return the circumstances of a decision."""
        return Moment(now=at, page_url=self.url, asserted=self.asserted, event=event, view=self.view.id)


def replay(scene: Scene, past: Past) -> Iterator[Given]:
    """Yield what a person would have got of each message, in order of time."""
    walk = _Walk(scene, past)
    for _, happened in groupby(walk.events, key=lambda event: (event.at, event.identity)):
        yield from walk.step(list(happened))
    yield from walk.wait(scene.until)


class _Walk:
    """The walk through one person's past: leads go alone until they become part of the person."""

    def __init__(self, scene: Scene, past: Past) -> None:
        self.scene = scene
        self.events = sorted(past.events, key=lambda event: (event.at, event.identity, event.id))
        self.identities = {one.id: one for one in past.identities}
        self.whole = self.someone([one for one in past.identities if one.id not in past.joined])
        self.of = dict.fromkeys(self.identities, self.whole)
        self.of |= {one.id: self.someone([one]) for one in past.identities if one.id in past.joined}
        self.joins = sorted((_joined(self.events, self.identities, lead, at), lead) for lead, at in past.joined.items() if lead in self.of)
        self.contexts: dict[tuple[int, bytes], str] = {}
        self.views = views_of(self.events, self.identities)
        self.sights: dict[View, _Sight] = {}
        self.shows: set[View] = set()
        """The views in which a message stands, so that no other can."""
        self.due: list[tuple[int, int, int, AutoMessage, View]] = []
        self.order = count()
        self.begin(past)

    def someone(self, members: list[Identity]) -> AsOfThen:
        return AsOfThen(self.scene.site, self.scene.wanted, members)

    def begin(self, past: Past) -> None:
        """Take in what was before the timeline begins."""
        for (identity, name), total in past.totals.items():
            self.of[identity].add_total(name, total)
        for identity, own in past.own.items():
            for name, value in own:
                self.of[identity].own.setdefault(name, []).append((self.identities[identity].kind, value))
        for (identity, visit, started, ended), context in past.visits:
            self.contexts[identity, visit] = context
            if started < self.scene.oldest:
                self.of[identity].widen(visit, started, min(ended, self.scene.oldest - 1), context)

    def step(self, happened: Sequence[Happened]) -> Iterator[Given]:
        """Go on to what one identity did at one time."""
        at, identity = happened[0].at, happened[0].identity
        yield from self.wait(min(at, self.scene.until))
        while self.joins and self.joins[0][0] <= at:
            lead = self.joins.pop(0)[1]
            self.whole.absorb(self.of[lead])
            self.of[lead] = self.whole
        for event in happened:
            self.of[identity].count(event, self.contexts.get((identity, event.visit or b""), ""))
        sent = [event for event in happened if event.in_browser]
        if not sent:
            return
        last = sent[-1]
        view = self.views[last.id]
        self.sights[view] = _Sight(self.identities[identity], view, last.url or "", last.unverified)
        if self.scene.since <= at <= self.scene.until:
            yield from self.show(self.sights[view], at)

    def show(self, sight: _Sight, at: int) -> Iterator[Given]:
        """Claim what the page now shown could bring up, best first; what waits for something in the page is claimed when it is due."""
        for message, event in self.offers(sight, at):
            trigger = message.definition.trigger
            if trigger.type not in IN_THE_VIEW:
                yield from self.claim(message, sight, at, event)
                continue
            due = at if trigger.seconds is None else max(at, sight.view.at + round(trigger.seconds * 1_000))
            recipient = self.of[sight.identity.id].recipient(at)
            offered = delivery.foresee(self.scene.site, message, recipient, sight.moment(at), found=True) == OFFERED
            if offered and due <= max(at, sight.view.until):
                heapq.heappush(self.due, (due, self.scene.rewound.live.rank[message.id], next(self.order), message, sight.view))
        yield from self.wait(at)

    def offers(self, sight: _Sight, at: int) -> list[tuple[AutoMessage, TriggerEvent | None]]:
        """Return what the page, and what happened within a day, could open; best first."""
        live, someone = self.scene.rewound.live, self.of[sight.identity.id]
        here = live.at(sight.url)
        found: list[tuple[AutoMessage, TriggerEvent | None]] = [*here.on_page]
        for message in here.awaited:
            for event in someone.waiting(message.definition.trigger.event or "", self.known_to(sight)):
                if delivery.is_triggered(self.scene.site, message, someone.recipient(at), sight.moment(at, event)):
                    found.append((message, event))
                    break
        return sorted(found, key=lambda one: live.rank[one[0].id])

    def known_to(self, sight: _Sight) -> list[Key | None]:
        """Return whose events a browser may hear of: everybody's of the person, or those of leads that may be its own."""
        members = self.of[sight.identity.id].members
        if sight.may_know(LEAD if members[0].kind == LEAD else USER):
            return [None]
        leads = [sight.identity] if not sight.asserted else [one for one in members if one.kind == LEAD]
        return [(one.kind, one.value) for one in leads] or [_NOBODY]

    def wait(self, until: int) -> Iterator[Given]:
        """Let time pass: what waits in pages, all of them still shown then, is claimed when it is due."""
        while self.due and self.due[0][0] <= until:
            at, _, _, message, view = heapq.heappop(self.due)
            yield from self.claim(message, self.sights[view], at)

    def claim(self, message: AutoMessage, sight: _Sight, at: int, event: TriggerEvent | None = None) -> Iterator[Given]:
        """Decide everything, as a claim does, and grant it."""
        if sight.view in self.shows:
            return
        site, moment, someone = self.scene.site, sight.moment(at, event), self.of[sight.identity.id]
        recipient = someone.recipient(at)
        arm = delivery.decide(site, message, recipient, moment).arm
        if arm is None:
            return
        if fill_in(site, message, recipient, moment, personal=sight.may_know(recipient.person.role)).content is None:
            return
        granted = delivery.granted(site, message, recipient, sight.identity.id, f"{next(self.order)}", moment, arm)
        if arm == SHOWN:
            self.shows.add(sight.view)
        someone.grant(msgspec.structs.replace(granted, seen_at=at if arm == SHOWN else None))
        yield Given(message, arm, at)


def _joined(events: Sequence[Happened], identities: Mapping[int, Identity], lead: int, merged_at: int) -> int:
    """Return from which event on a lead was part of the person.

    The merge came with the first thing that its browser sent as the user, which happened a moment before it arrived.
    """
    last = max((event.at for event in events if event.identity == lead and event.at <= merged_at), default=0)
    since = max(last + 1, merged_at - MINUTE)
    sent = [event for event in events if since <= event.at <= merged_at and identities[event.identity].kind == USER and event.in_browser]
    return next((event.at for event in sent if event.visit == sent[-1].visit), merged_at)
