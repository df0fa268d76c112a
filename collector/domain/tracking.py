"""The ledger's one write path: what senders did becomes events, totals, visits and attributes in one commit.

Many submissions of one site are written together: each identity, visit and total is touched once, in one lock order
(identities < slices < visits < events < totals < attributes < deliveries < merges). Only events that were really inserted count.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain import attributes, changes, deliveries, identities, visits
from collector.domain.identities import USER, Identity, Key, Maker, NewIdentity
from collector.domain.limits import NewPeople
from collector.domain.merging import Claim, claim_lead
from collector.domain.names import ATTRIBUTE, EVENT, Names
from collector.storage.database import Connection, Database
from collector.storage.slices import OVERFLOW, WEEK, Known, Slices
from collector.values.clock import MINUTE, Clock
from collector.values.errors import Reason
from collector.values.ids import event_id_time


class Event(msgspec.Struct, frozen=True):
    """One thing that happened, cleaned. `at` is corrected ms; `visit` and `id` are 16 bytes; `page` and `metadata` are JSON text."""

    id: bytes
    name: str
    at: int
    visit: bytes | None = None
    page: str | None = None
    metadata: str | None = None


class AttributeChange(msgspec.Struct, frozen=True):
    """Attributes set at one time (ms), by canonical name; None unsets."""

    values: dict[str, Any]
    at: int


class Submission(msgspec.Struct, kw_only=True):
    """What one sender did. `owner` is the identity it all belongs to; `lead` is the browser's, which a user owner claims."""

    owner: Key
    lead: NewIdentity | None = None
    verified: bool = False
    browser: bool = True
    create: bool = True
    events: list[Event] = msgspec.field(default_factory=list)
    changes: list[AttributeChange] = msgspec.field(default_factory=list)
    client: str | None = None
    """What is known of the browser, for the visits that begin (`values.visit_context`, JSON text)."""
    reports: list[deliveries.Report] = msgspec.field(default_factory=list)
    by: str = "browser"


class Outcome(msgspec.Struct):
    """What became of a submission. `events` and `reports` hold True (taken), False (known already) or the reason of a refusal."""

    error: Reason | None = None
    made: int = 0
    """How many identities stand on this browser's word alone since."""
    person: int | None = None
    contact_id: str | None = None
    turned_away: bool = False
    """All of it is older than the deletion of its owner, whom it would have brought back."""
    lead_deleted: bool = False
    """It is older than the deletion of its lead; what its user did counts without bringing the lead back."""
    claim: Claim | None = None
    events: list[bool | Reason] = msgspec.field(default_factory=list)
    protected: list[tuple[int, str, Reason]] = msgspec.field(default_factory=list)
    """Attributes that were not set: place of the change, name, why."""
    reports: list[bool | Reason] = msgspec.field(default_factory=list)


class Ledger:
    """Writes submissions. A `storage.writer.Bulk`; a payload is a list of submissions and its result the list of outcomes."""

    def __init__(self, database: Database, slices: Slices, names: Names, maker: Maker, clock: Clock, new_people: NewPeople) -> None:
        self._new_people = new_people
        self._numbers: Numbers = {}
        self._known = Known()
        self._database = database
        self._slices = slices
        self._names = names
        self._maker = maker
        self._clock = clock

    def prepare(self, site: int, payloads: Sequence[list[Submission]]) -> None:
        """Make sure of the calendar's slices and of numbers for all names, in transactions of their own."""
        now = self._clock()
        self._known = self._slices.ensure(now)
        everything = [one for payload in payloads for one in payload]
        self._numbers = self._names.numbers(site, {key for one in everything for key in _names_of(one)})
        for browser in (False, True):
            submissions = [one for one in everything if one.browser is browser and any(key not in self._numbers for key in _names_of(one))]
            honest = self._honest(site, submissions) if browser else submissions
            for kind in (EVENT, ATTRIBUTE):
                texts = {text for one in honest for of, text in _names_of(one) if of == kind and (of, text) not in self._numbers}
                self._numbers.update(self._names.allocate(site, kind, texts, now, browser=browser))

    def _honest(self, site: int, submissions: Sequence[Submission]) -> list[Submission]:
        """Return those whose lead is new or shows its secret: the others may not use up the day's new names."""
        if not submissions:
            return []
        with self._database.read() as connection:
            known = identities.find(connection, site, {one.lead.key for one in submissions if one.lead is not None})
        return [
            one
            for one in submissions
            if one.lead is None or one.lead.key not in known or known[one.lead.key].secret_hash == one.lead.secret_hash
        ]

    def write(self, tx: Connection, site: int, payloads: Sequence[list[Submission]]) -> list[list[Outcome]]:
        """Write everything in the given transaction."""
        left = self._new_people.left(site, self._clock())
        return _Group(tx, site, self._slices, self._known, self._names, self._numbers, self._maker, self._clock(), left).write(payloads)

    def committed(self, site: int, results: Sequence[list[Outcome]]) -> None:
        """Book the people made, now that they are."""
        self._new_people.book(site, self._clock(), sum(outcome.made for outcomes in results for outcome in outcomes))


Numbers = dict[tuple[str, str], int]
"""The numbers of a group's names, by kind and text; those that were refused are missing."""


def _names_of(submission: Submission) -> Iterator[tuple[str, str]]:
    for event in submission.events:
        yield EVENT, event.name
    for change in submission.changes:
        for name in change.values:
            yield ATTRIBUTE, name


class _Group:
    """One group of submissions of one site in one transaction: `write` reads from top to bottom."""

    def __init__(
        self,
        tx: Connection,
        site: int,
        slices: Slices,
        known: Known,
        names: Names,
        numbers: Numbers,
        maker: Maker,
        now: int,
        left: int,
    ) -> None:
        self.numbers = numbers
        self.left = left
        self.tx = tx
        self.site = site
        self.slices = slices
        self.names = names
        self.maker = maker
        self.now = now
        self.known = known
        self.identities: dict[Key, Identity] = {}

    def write(self, payloads: Sequence[list[Submission]]) -> list[list[Outcome]]:
        """Write them all and say what became of each."""
        outcomes = [[Outcome() for _ in payload] for payload in payloads]
        pairs = [pair for payload, results in zip(payloads, outcomes, strict=True) for pair in zip(payload, results, strict=True)]
        self.resolve(pairs)
        for submission, outcome in pairs:
            self.check_sender(submission, outcome)
        accepted = [(submission, outcome) for submission, outcome in pairs if outcome.error is None and outcome.contact_id is not None]
        for submission, outcome in accepted:
            self.claim(submission, outcome)
        for submission, outcome in accepted:
            outcome.events = [self.admit(submission, event) for event in submission.events]
        begun = self.touch(accepted)
        self.insert_events(accepted)
        attributes.refold(self.tx, self.site, sorted(begun), attributes.OF_VISITS)
        for submission, outcome in accepted:
            self.set_attributes(submission, outcome)
            outcome.reports = [self.report(submission, report) for report in submission.reports]
        changes.note(self.tx, self.site, {identity.principal_id for identity in self.identities.values()}, self.now)
        return outcomes

    def resolve(self, pairs: Sequence[tuple[Submission, Outcome]]) -> None:
        """Find, make and lock the identities of the group; nothing is made for a sender whose lead is somebody else's."""
        keys = {key for one, _ in pairs for key in ((one.owner,) if one.lead is None else (one.owner, one.lead.key))}
        known = identities.find(self.tx, self.site, keys)
        deleted = self.maker.deletions(self.tx, self.site, keys - known.keys())
        wanted: dict[Key, NewIdentity] = {}
        for one, outcome in pairs:
            if one.lead is not None and self.is_forged(one.lead, known, wanted):
                outcome.error = Reason.LEAD_SECRET_INVALID
                continue
            late = self.outlived(one, deleted, wanted)
            if one.owner in late:
                turn_away(one, outcome)
                continue
            outcome.lead_deleted = one.lead is not None and one.lead.key in late
            outcome.made = sum(key not in known and key not in wanted and key not in late for key in self.unproved(one))
            if outcome.made > self.left:
                outcome.error = Reason.LEAD_LIMIT
                outcome.made = 0
                continue
            self.left -= outcome.made
            if one.lead is not None and not outcome.lead_deleted:
                wanted.setdefault(one.lead.key, one.lead)
            if one.create or one.owner in known:
                wanted.setdefault(one.owner, NewIdentity(one.owner))
        self.identities = identities.resolve(self.tx, self.site, list(wanted.values()), self.maker, self.now, known)

    def outlived(self, submission: Submission, deleted: Mapping[Key, int], made: Mapping[Key, NewIdentity]) -> set[Key]:
        """Return whose deletion came after everything this submission says: it does not bring them back."""
        if not deleted:
            return set()
        latest = max(_times(submission), default=self.now)
        return {key for key, at in deleted.items() if latest <= at and key not in made}

    @staticmethod
    def is_forged(lead: NewIdentity, known: Mapping[Key, Identity], wanted: Mapping[Key, NewIdentity]) -> bool:
        """Say whether a lead's secret is not the one seen first, in the database or earlier in this group."""
        first = known[lead.key].secret_hash if lead.key in known else wanted[lead.key].secret_hash if lead.key in wanted else None
        return (lead.key in known or lead.key in wanted) and first != lead.secret_hash

    @staticmethod
    def unproved(submission: Submission) -> set[Key]:
        """Return the identities that would stand on a browser's word alone."""
        keys = set() if submission.lead is None else {submission.lead.key}
        return keys | ({submission.owner} if submission.browser and not submission.verified else set())

    def check_sender(self, submission: Submission, outcome: Outcome) -> None:
        """Refuse a lead whose secret is not the one seen first, and persons that are not to be created."""
        if outcome.error is not None or outcome.turned_away:
            return
        owner = self.identities.get(submission.owner)
        lead = None if outcome.lead_deleted else submission.lead
        if lead is not None and self.identities[lead.key].secret_hash != lead.secret_hash:
            outcome.error = Reason.LEAD_SECRET_INVALID
        elif owner is None:
            outcome.error = Reason.PERSON_UNKNOWN
        else:
            outcome.contact_id = owner.public_id

    def claim(self, submission: Submission, outcome: Outcome) -> None:
        """Merge the browser's lead into the user its page asserts."""
        owner = self.identities[submission.owner]
        if submission.lead is not None and not outcome.lead_deleted and owner.kind == USER:
            lead = self.identities[submission.lead.key]
            outcome.claim = claim_lead(
                self.tx,
                self.site,
                lead,
                owner,
                self.maker.row_ids,
                self.now,
                verified=submission.verified,
                by=submission.by,
                reason="identify",
            )
        if submission.browser and owner.kind == USER:
            self.mark_verification(owner, verified=submission.verified)
        outcome.person = owner.principal_id

    def mark_verification(self, user: Identity, *, verified: bool) -> None:
        if verified and not user.verified:
            self.tx.run("UPDATE identities SET verified = 1 WHERE site = ? AND id = ?", (self.site, user.id))
            user.verified = 1
        elif not verified and user.unverified_at is None:
            self.tx.run("UPDATE identities SET unverified_at = ? WHERE site = ? AND id = ?", (self.now, self.site, user.id))
            user.unverified_at = self.now

    def admit(self, submission: Submission, event: Event) -> bool | Reason:
        """Refuse an event whose name has no number, or that comes too late; else it is not counted yet."""
        if (EVENT, event.name) not in self.numbers:
            return Reason.NAME_LIMIT
        if event.at <= self.identities[submission.owner].not_before:
            return Reason.PERSON_DELETED
        return Reason.TOO_OLD if self.known.home(event_id_time(event.id), event.at) is None else False

    def touch(self, accepted: Sequence[tuple[Submission, Outcome]]) -> set[int]:
        """Note activity and visits of browsers; monotone, so that a repeat changes nothing. REST events touch neither.

        Returns the people (principal ids) with a visit that begins.
        """
        own: dict[int, int] = {}
        spans: dict[visits.Key, visits.Span] = {}
        for submission, outcome in accepted:
            owner = self.identities[submission.owner]
            for event, refused in zip(submission.events, outcome.events, strict=True):
                if refused or not submission.browser:
                    continue
                own[owner.id] = max(own.get(owner.id, 0), event.at)
                if event.visit is not None:
                    key = (owner.id, event.visit)
                    span = spans.get(key)
                    of = (event.at, event.page, submission.client)
                    spans[key] = visits.Span(event.at, *of) if span is None else span.widened(*of)
        self.note_activity(own)
        widened = visits.widen(self.tx, self.site, spans)
        principals = {identity.id: identity.principal_id for identity in self.identities.values()}
        visits.fold(self.tx, self.site, {principals[number] for number in widened.changed})
        return {principals[number] for number in widened.begun}

    def note_activity(self, own: dict[int, int]) -> None:
        """Note when people were last active, to the minute: a column written with each event would be the hottest of all."""
        by_id = {identity.id: identity for identity in self.identities.values()}
        minutes = {number: at // MINUTE * MINUTE for number, at in own.items()}
        active: dict[int, int] = {}
        for number, at in minutes.items():
            principal = by_id[number].principal_id
            active[principal] = max(active.get(principal, 0), at)
        for column, times in (("own_active_at", minutes), ("active_at", active)):
            late = [
                (at, self.site, number, at)
                for number, at in sorted(times.items())
                if number not in by_id or (getattr(by_id[number], column) or -1) < at
            ]
            sql = f"UPDATE identities SET {column} = ? WHERE site = ? AND id = ? AND ({column} IS NULL OR {column} < ?)"
            self.tx.run_many(sql, late)

    def insert_events(self, accepted: Sequence[tuple[Submission, Outcome]]) -> None:
        """Insert what is new, each event into its slice, and count it."""
        by_slice: dict[int, list[tuple[Any, ...]]] = {}
        places: dict[int, list[tuple[Outcome, int]]] = {}
        for submission, outcome in accepted:
            owner = self.identities[submission.owner]
            unverified = int(submission.browser and owner.kind == USER and not submission.verified)
            for index, event in enumerate(submission.events):
                if outcome.events[index]:
                    continue
                name = self.numbers[(EVENT, event.name)]
                home = self.known.home(event_id_time(event.id), event.at)
                if home is None:
                    raise LookupError("an event of a slice that has ended was admitted")
                row = (self.site, home, event.id, owner.id, name, event.at, unverified, event.visit, event.page, event.metadata)
                by_slice.setdefault(home, []).append(row)
                places.setdefault(home, []).append((outcome, index))
        counted: list[tuple[Any, ...]] = []
        for home in sorted(by_slice):
            rows = by_slice[home]
            elsewhere = self.stored_elsewhere(home, rows)
            inserted = self.slices.insert(self.tx, home, [row for row in rows if row[2] not in elsewhere], self.now)
            for row, (outcome, index) in zip(rows, places[home], strict=True):
                if row[2] in inserted:
                    inserted.remove(row[2])  # the second of two equal ones is a duplicate
                    outcome.events[index] = True
                    counted.append(row)
        self.count(counted)

    def stored_elsewhere(self, home: int, rows: Sequence[tuple[Any, ...]]) -> set[bytes]:
        """Return the ids that an earlier send, with another idea of the time, put into the other slice they could be in."""
        others: dict[int, list[bytes]] = {}
        for row in rows:
            other = OVERFLOW if home != OVERFLOW else event_id_time(row[2]) // WEEK
            if other in self.known.open and other != home:
                others.setdefault(other, []).append(row[2])
        found: set[bytes] = set()
        for other, ids in others.items():
            found |= self.slices.stored(self.tx, self.site, other, ids)
        return found

    def count(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add inserted events to the totals: own half of their identity, the person's half of its principal; one row each."""
        principals = {identity.id: identity.principal_id for identity in self.identities.values()}
        own: dict[tuple[int, int], list[int]] = {}
        effective: dict[tuple[int, int], list[int]] = {}
        for row in rows:
            identity, name, at = row[3], row[4], row[5]
            _add(own, (name, identity), at)
            _add(effective, (name, principals[identity]), at)
        parameters = []
        for name, identity in sorted(own.keys() | effective.keys()):
            count, last, first = effective.get((name, identity), (None, None, None))
            own_count, own_last, own_first = own.get((name, identity), (0, None, None))
            parameters.append((self.site, name, identity, count, last, first, own_count, own_last, own_first))
        self.tx.insert("totals", _TOTALS, parameters, _COUNT)

    def set_attributes(self, submission: Submission, outcome: Outcome) -> None:
        """Set attributes in order; what a trusted source set stays."""
        source = attributes.TRUSTED if submission.verified or not submission.browser else attributes.BROWSER
        owner = self.identities[submission.owner]
        for place, change in enumerate(submission.changes):
            if change.at <= owner.not_before:
                outcome.protected += [(place, name, Reason.PERSON_DELETED) for name in change.values]
                continue
            allowed = {name: value for name, value in change.values.items() if (ATTRIBUTE, name) in self.numbers}
            outcome.protected += [(place, name, Reason.NAME_LIMIT) for name in change.values if name not in allowed]
            outranked = attributes.apply(self.tx, self.site, self.names, owner, allowed, change.at, source)
            outcome.protected += [(place, name, Reason.ATTRIBUTE_PROTECTED) for name in outranked]

    def report(self, submission: Submission, report: deliveries.Report) -> bool | Reason:
        """Note what became of a shown message, at any identity of this person."""
        return deliveries.record(self.tx, self.site, self.identities[submission.owner].principal_id, report)


def _times(submission: Submission) -> list[int]:
    """Return when the things of a submission happened."""
    return [
        *(event.at for event in submission.events),
        *(change.at for change in submission.changes),
        *(report.at for report in submission.reports),
    ]


def turn_away(submission: Submission, outcome: Outcome) -> None:
    """Refuse everything of a submission as older than the deletion of its owner, whom it would bring back."""
    outcome.turned_away = True
    outcome.events = [Reason.PERSON_DELETED] * len(submission.events)
    outcome.reports = [Reason.PERSON_DELETED] * len(submission.reports)
    outcome.protected = [(place, name, Reason.PERSON_DELETED) for place, change in enumerate(submission.changes) for name in change.values]


_TOTALS = ("site", "name", "identity", "count", "last", "first", "own_count", "own_last", "own_first")
_COUNT = """ON CONFLICT (site, name, identity) DO UPDATE SET
count = CASE WHEN excluded.count IS NULL THEN totals.count ELSE coalesce(totals.count, 0) + excluded.count END,
last = larger(coalesce(totals.last, excluded.last), coalesce(excluded.last, totals.last)),
first = lesser(coalesce(totals.first, excluded.first), coalesce(excluded.first, totals.first)),
own_count = totals.own_count + excluded.own_count,
own_last = larger(coalesce(totals.own_last, excluded.own_last), coalesce(excluded.own_last, totals.own_last)),
own_first = lesser(coalesce(totals.own_first, excluded.own_first), coalesce(excluded.own_first, totals.own_first))"""


def _add(totals: dict[tuple[int, int], list[int]], key: tuple[int, int], at: int) -> None:
    present = totals.get(key)
    if present is None:
        totals[key] = [1, at, at]
    else:
        present[0] += 1
        present[1] = max(present[1], at)
        present[2] = min(present[2], at)
