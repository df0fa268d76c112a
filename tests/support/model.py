"""What the ledger has to come to, worked out the plain way: the raw history in lists and dictionaries, folded anew for each question.

It shares no code with the collector but the shapes of what goes in and comes out. Times in ms.
"""

import itertools
import json
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from collector.domain.audiences import Total
from collector.domain.identities import EMAIL, LEAD, USER, Key
from collector.domain.imports import Base
from collector.domain.merging import Claim
from collector.domain.submissions import AttributeChange, Event
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.errors import Reason
from collector.values.ids import event_id_time

WEEK = 7 * DAY
MARGIN = DAY
"""How far an id's time and its event's may lie apart in a week's slice."""

NIGHT, LONGEST_NIGHT = 20 * HOUR, 30 * HOUR
"""A round that comes earlier is not another night's; a longer one counts for so much."""

BROWSER, TRUSTED = 1, 2
_RANKS = {LEAD: 0, EMAIL: 1, USER: 2}


@dataclass
class Known:
    """An identity: whose person it is in, until when it was deleted once, what is known of its activity.

    `birth` is no other identity's: who is deleted and comes anew is another.
    """

    person: Key
    not_before: int = 0
    created_at: int = 0
    birth: int = field(default_factory=itertools.count().__next__)
    active_at: int | None = None
    proofs: set[bool] = field(default_factory=set)
    """Of a user id, whether browsers that asserted it proved it."""
    visits: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """First and last event of each, the last to the minute."""

    def note(self, event: Event) -> None:
        """Note that a browser was here."""
        minute = event.at // MINUTE * MINUTE
        self.active_at = max(self.active_at or 0, minute)
        if event.visit is not None:
            start, end = self.visits.get(event.visit, (event.at, minute))
            self.visits[event.visit] = (min(start, event.at), max(end, minute))


@dataclass(frozen=True)
class Stored:
    """An event that was taken: the identity that produced it, its name, time, metadata (JSON text), and whether nobody proved its user."""

    owner: Key
    name: str
    at: int
    metadata: str | None
    unverified: bool


@dataclass(frozen=True)
class Seen:
    """A person as everybody sees it."""

    members: frozenset[Key]
    totals: dict[str, Total]
    attributes: dict[str, object]
    timeline: list[tuple[bytes, str, int, Key, dict[str, object], bool]]
    """Id, name, time, who sent it, metadata and whether it is unverified of each event, the newest first."""
    visits: tuple[int, int | None, int | None, int | None]
    """How many, start and end of the latest, end of the one before."""
    active_at: int | None
    marks: tuple[bool, bool]
    """Whether the user id was verified; whether it was asserted and never verified."""


@dataclass(frozen=True)
class Sent:
    """What became of a submission: the claim, and of each event whether it was new or why it was refused."""

    claim: Claim | None
    events: list[bool | Reason]


class Model:
    """One site of an installation, in memory."""

    def __init__(self, retention: int, lead_retention: int) -> None:
        self.retention = retention
        self.lead_retention = lead_retention
        self.known: dict[Key, Known] = {}
        self.events: dict[bytes, Stored] = {}
        self.changes: list[tuple[Key, str, tuple[int, int, str]]] = []
        self.imported: dict[tuple[Key, str], Base] = {}
        self.blocked: set[tuple[Key, Key]] = set()
        self.deleted: dict[Key, int] = {}
        self.gone: dict[int, int] = {}
        """When whose birth this was was deleted."""
        self.former: dict[Key, set[Key]] = {}
        """By which addresses who is known by this one was known before, and nobody else is now."""
        self.weeks: set[int] = set()
        self.ended: set[int] = set()
        self.believed: tuple[int, int] | None = None
        """When upkeep looked at its clock last, and by which present it judged what is old."""

    def send(
        self,
        owner: Key,
        lead: Key | None,
        events: Sequence[Event],
        changes: Sequence[AttributeChange],
        now: int,
        *,
        browser: bool = True,
        verified: bool = False,
    ) -> Sent:
        """Take what a sender did: a browser, which may have proved its user id, or where `browser` is false REST."""
        self._turn_calendar(now)
        newest = max([one.at for one in events] + [one.at for one in changes], default=now)
        if self._outlived(owner, newest):
            return Sent(None, [Reason.PERSON_DELETED] * len(events))
        if lead is not None and self._outlived(lead, newest):
            lead = None
        for key in (owner,) if lead is None else (lead, owner):
            self._make(key, now)
        claim = self._claim(lead, owner, asked=False) if lead is not None and owner[0] != LEAD else None
        asserted = browser and owner[0] == USER
        if asserted:
            self.known[owner].proofs.add(verified)
        results: list[bool | Reason] = []
        for event in events:
            results.append(self._take(owner, event, unverified=asserted and not verified))
            if browser and results[-1] in (True, False):
                self.known[owner].note(event)
        for change in changes:
            if change.at > self.known[owner].not_before:
                source = TRUSTED if verified or not browser else BROWSER
                self.changes += [(owner, name, (source, change.at, _text(value))) for name, value in change.values.items()]
        return Sent(claim, results)

    def place(self, event: Event) -> int | None:
        """Return the week an event stands in, 0 for the overflow, None where its week has ended."""
        written = event_id_time(event.id)
        if abs(written - event.at) > MARGIN or written // WEEK not in self.weeks | self.ended:
            return 0
        return None if written // WEEK in self.ended else written // WEEK

    def would(self, lead: Key, user: Key, *, asked: bool = False) -> Claim:
        """Return what would become of a user's claim to a lead."""
        person = self.known[user].person
        if self.known[lead].person == person:
            return Claim.ALREADY
        if self.known[lead].person != lead:
            return Claim.REFUSED
        return Claim.BLOCKED if (lead, person) in self.blocked and not asked else Claim.MERGED

    def merge(self, lead: Key, user: Key) -> Claim:
        """Merge on request; a lead of another user's is refused."""
        return self._claim(lead, user, asked=True)

    def undo(self, lead: Key) -> bool:
        """Undo the merge of a lead; False where there is none to undo."""
        person = self.known[lead].person
        if person == lead:
            return False
        self.blocked.add((lead, person))
        self.known[lead].person = lead
        return True

    def import_bases(self, key: Key, bases: Iterable[Base], now: int) -> bool:
        """Set imported totals of an identity; False where one reaches behind its deletion."""
        bound = self.known[key].not_before if key in self.known else self.deleted.get(key, 0)
        if bound and any(base.first is not None and base.first <= bound for base in bases):
            return False
        self._make(key, now)
        self.imported.update({(key, base.name): base for base in bases})
        return True

    def know(self, address: str, now: int) -> bool:
        """Make a user known by an address; False where somebody has it."""
        if self._by_email(address):
            return False
        self._make((EMAIL, address), now)
        at = max(now, self.known[(EMAIL, address)].not_before + 1)  # younger than the deletion of who had it
        self.changes.append(((EMAIL, address), "email", (TRUSTED, at, _text(address))))
        return True

    def rename(self, address: str, other: str, now: int) -> bool:
        """Let the user of an address be known by another; False where somebody else has that."""
        old, new = (EMAIL, address), (EMAIL, other)
        if old != new and self._by_email(other) - {old}:
            return False
        if old != new:
            former = {*self.former.pop(old, ()), old}
            self._take_up(new)
            self.former[new] = former - {new}
            one = self.known[new] = self.known.pop(old)
            one.not_before = max(one.not_before, self.deleted.get(new, 0))
            self._call(old, new)
        self.put(new, "email", other, now)
        return True

    def put(self, key: Key, name: str, value: object, now: int) -> None:
        """Set an attribute of a person now, by whichever clock: it stands afterwards, whatever was said of whichever time."""
        person = self.known[key].person
        own: dict[Key, tuple[int, int, str]] = {}
        for one, asked, said in self.changes:
            if asked == name and one in self.members(person):
                own[one] = max(said, own.get(one, said))
        trusted = [one for one in own if own[one][0] == TRUSTED and (one == person or one[0] != LEAD)]
        of = max(trusted, key=lambda one: _RANKS[one[0]], default=person)
        at = max(now, own[of][1] + 1) if trusted else now
        if value is None:
            at = max([at, *(own[one][1] for one in own if one != of and one[0] == LEAD)])
        self.changes.append((of, name, (TRUSTED, at, _text(value))))

    def restored(self, saved: "Model", now: int) -> "Model":
        """Return what was saved, without those who were deleted since; what is older than a deletion stays refused."""
        back = deepcopy(saved)
        back._turn_calendar(now)
        back.gone |= self.gone
        for key, at in self.deleted.items():
            back.deleted[key] = max(at, back.deleted.get(key, 0))
        gone = {key: self.gone[one.birth] for key, one in back.known.items() if one.birth in self.gone}
        for key, one in back.known.items():
            if key not in gone and one.person in gone:
                one.person = key
            if key not in gone:
                one.not_before = max(one.not_before, back.deleted.get(key, 0))
        for at in sorted(set(gone.values())):
            back._remove({key for key in gone if gone[key] == at}, at)
        return back

    def erase(self, person: Key, now: int) -> None:
        """Delete a person, named by any of its identities."""
        self._remove(self.members(self.known[person].person), now)

    def _remove(self, gone: Collection[Key], now: int) -> None:
        means = {address for key in gone for address in (key, *self.former.pop(key, ()))}
        for key in means:
            self.deleted[key] = max(now, self.deleted.get(key, 0))
        for key in gone:
            self.gone[self.known[key].birth] = now
        self._forget(gone)

    def _forget(self, gone: Collection[Key]) -> None:
        for key in gone:
            del self.known[key]
        self.events = {number: event for number, event in self.events.items() if event.owner not in gone}
        self.changes = [change for change in self.changes if change[0] not in gone]
        self.imported = {key: base for key, base in self.imported.items() if key[0] not in gone}
        self.blocked = {pair for pair in self.blocked if not set(gone).intersection(pair)}

    def due(self, now: int) -> set[int]:
        """Return the weeks that pruning has to end: behind the timeline by twice the margin."""
        return {week for week in self.weeks if self._is_behind(week, now)}

    def _is_behind(self, week: int, now: int) -> bool:
        return (week + 1) * WEEK + 2 * MARGIN <= now - self.retention

    def end(self, week: int) -> None:
        """Let a week take nothing any more."""
        self.weeks.remove(week)
        self.ended.add(week)

    def believe(self, now: int, newest: int | None) -> int:
        """Return the present by which a round judges what is old, by its clock and the newest of the weeks' events.

        It goes with the clock; in a leap since the last round, which the first is too, by a week; and by a night where that event is old.
        """
        at, before = self.believed or (0, now if newest is None else newest)
        if newest is None or self._is_behind((newest - MARGIN) // WEEK, now):
            step = min(now - at, LONGEST_NIGHT)
        else:
            step = now - at if now - at < NIGHT else WEEK
        self.believed = (now, min(now, before + step))
        return self.believed[1]

    def silent(self, present: int) -> set[Key]:
        """Return the leads that upkeep has to delete: of nobody, without an email, and not seen for too long."""
        oldest = present - self.lead_retention
        return {
            key
            for key, one in self.known.items()
            if key[0] == LEAD and one.person == key and max(one.created_at, one.active_at or 0) < oldest
            if "email" not in self._attributes(self.members(key))
        }

    def fall_silent(self, lead: Key) -> None:
        """Delete a lead of its age; nothing remembers that."""
        self._forget({lead})

    def members(self, person: Key) -> frozenset[Key]:
        """Return the identities of a person."""
        return frozenset(key for key, one in self.known.items() if one.person == person)

    def people(self, now: int) -> list[Seen]:
        """Return everybody, as they are seen at a time."""
        return [self._person(key, now) for key, one in self.known.items() if one.person == key]

    def _person(self, person: Key, now: int) -> Seen:
        members = self.members(person)
        own = {number: event for number, event in self.events.items() if event.owner in members}
        bases = [base for (key, _), base in self.imported.items() if key in members and base.count]
        totals: dict[str, Total] = {}
        for name in {event.name for event in own.values()} | {base.name for base in bases}:
            times = [event.at for event in own.values() if event.name == name]
            mine = [base for base in bases if base.name == name]
            count = len(times) + sum(base.count for base in mine)
            first = min(times + [base.first for base in mine if base.first is not None])
            last = max(times + [base.last for base in mine if base.last is not None])
            totals[name] = Total(count, first, last)
        timeline = [
            (number, event.name, event.at, event.owner, json.loads(event.metadata or "{}"), event.unverified)
            for number, event in own.items()
            if event.at >= now - self.retention
        ]
        return Seen(
            members=members,
            totals=totals,
            attributes=self._attributes(members),
            timeline=sorted(timeline, key=lambda event: (event[2], event[0]), reverse=True),
            visits=self._visits(members),
            active_at=max((at for key in members if (at := self.known[key].active_at) is not None), default=None),
            marks=(any(True in self.known[key].proofs for key in members), any(self.known[key].proofs == {False} for key in members)),
        )

    def _visits(self, members: frozenset[Key]) -> tuple[int, int | None, int | None, int | None]:
        spans: dict[bytes, list[tuple[int, int]]] = {}
        for key in members:
            for visit, span in self.known[key].visits.items():
                spans.setdefault(visit, []).append(span)
        whole = sorted(
            (max(min(start for start, _ in parts), *(end for _, end in parts)), min(start for start, _ in parts), visit)
            for visit, parts in spans.items()
        )
        if not whole:
            return (0, None, None, None)
        return (len(whole), whole[-1][1], whole[-1][0], whole[-2][0] if len(whole) > 1 else None)

    def _attributes(self, members: frozenset[Key]) -> dict[str, object]:
        own: dict[tuple[str, Key], tuple[int, int, str]] = {}
        for key, name, value in self.changes:
            if key in members:
                own[name, key] = max(value, own.get((name, key), value))
        best: dict[str, tuple[int, int, int, str]] = {}
        for (name, key), (source, at, text) in own.items():
            candidate = (source, _RANKS[key[0]], at, text)
            unset = [
                (by, _RANKS[other[0]], when, said)
                for (asked, other), (by, when, said) in own.items()
                if asked == name and said == "null" and (key[0] != LEAD or when >= at)
            ]
            if text != "null" and candidate > max(unset, default=(0, 0, 0, "")) and candidate > best.get(name, (0, 0, 0, "")):
                best[name] = candidate
        return {name: json.loads(text) for name, (_, _, _, text) in best.items()}

    def _turn_calendar(self, now: int) -> None:
        """Open the weeks from the end of the timeline, and the margin, to two weeks ahead."""
        wanted = set(range((now - self.retention - MARGIN) // WEEK, now // WEEK + 3))
        self.weeks |= wanted - self.ended

    def _outlived(self, key: Key, newest: int) -> bool:
        return newest <= (self.known[key].not_before or -1 if key in self.known else self.deleted.get(key, -1))

    def _make(self, key: Key, now: int) -> None:
        if key not in self.known:
            self._take_up(key)
            self.known[key] = Known(key, self.deleted.get(key, 0), now)

    def _take_up(self, address: Key) -> None:
        """An address is somebody's from now on, and means nobody else any more."""
        for former in self.former.values():
            former.discard(address)

    def _by_email(self, address: str) -> set[Key]:
        """Return the persons REST finds by an address."""
        persons = {one.person for one in self.known.values()}
        having = {key for key in persons if key[0] != LEAD and self._attributes(self.members(key)).get("email") == address}
        return {self.known[(EMAIL, address)].person} if (EMAIL, address) in self.known else having

    def _call(self, old: Key, new: Key) -> None:
        """Let everything that is one identity's be the same identity's under another name."""

        def name(key: Key) -> Key:
            return new if key == old else key

        for one in self.known.values():
            one.person = name(one.person)
        self.events = {number: replace(event, owner=name(event.owner)) for number, event in self.events.items()}
        self.changes = [(name(key), text, value) for key, text, value in self.changes]
        self.imported = {(name(key), text): base for (key, text), base in self.imported.items()}
        self.blocked = {(lead, name(user)) for lead, user in self.blocked}

    def _claim(self, lead: Key, user: Key, *, asked: bool) -> Claim:
        claim = self.would(lead, user, asked=asked)
        if claim is Claim.MERGED:
            self.known[lead].person = self.known[user].person
        return claim

    def _take(self, owner: Key, event: Event, *, unverified: bool) -> bool | Reason:
        if event.at <= self.known[owner].not_before:
            return Reason.PERSON_DELETED
        if self.place(event) is None:
            return Reason.TOO_OLD
        if event.repeat or event.id in self.events:
            return False
        self.events[event.id] = Stored(owner, event.name, event.at, event.metadata, unverified)
        return True


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
