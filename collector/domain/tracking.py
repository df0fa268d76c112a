"""The ledger's one write path: what senders did becomes events, totals, visits and attributes in one commit.

Many submissions of one site are written together, each identity, visit and total once. Whose they are is locked before anything of theirs,
in ascending order; whoever else changes that waits there (`identities`). Only events that were really inserted count.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain import answers, attributes, changes, deliveries, identities, staff, totals, visits
from collector.domain.identities import USER, Identity, Key, Maker, NewIdentity
from collector.domain.limits import Bound
from collector.domain.merging import Folding, claim_lead
from collector.domain.names import ATTRIBUTE, EVENT, Names
from collector.domain.submissions import AttributeChange, Event, Outcome, Submission, halves, joined
from collector.storage.database import Connection, Database
from collector.storage.slices import OVERFLOW, WEEK, EventRow, Known, Slices
from collector.values.clock import MINUTE, Clock
from collector.values.errors import Reason
from collector.values.ids import event_id_time


class Ledger:
    """Writes submissions. A `storage.commits.Bulk`; a payload is a list of submissions and its result the list of outcomes."""

    def __init__(self, database: Database, slices: Slices, names: Names, maker: Maker, clock: Clock, new_people: Bound) -> None:
        self._new_people = new_people
        self._database = database
        self._slices = slices
        self._names = names
        self._maker = maker
        self._clock = clock

    def prepare(self, site: int, payloads: Sequence[list[Submission]]) -> "Prepared":
        """Make sure of the calendar's slices and of numbers for all names, in transactions of their own."""
        now = self._clock()
        known = self._slices.ensure(now)
        everything = [one for payload in payloads for one in payload]
        wanted = {key for one in everything for key in _names_of(one)} | self._names_of_answers(site, everything, now)
        numbers = self._names.numbers(site, wanted)
        for browser in (False, True) if len(numbers) < len(wanted) else ():
            submissions = [one for one in everything if one.browser is browser and any(key not in numbers for key in _names_of(one))]
            honest = self._honest(site, submissions) if browser else submissions
            for kind in (EVENT, ATTRIBUTE):
                texts = {text for one in honest for of, text in _names_of(one) if of == kind and (of, text) not in numbers}
                numbers.update(self._names.allocate(site, kind, texts, now, browser=browser))
        return Prepared(known, numbers)

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

    def _names_of_answers(self, site: int, submissions: Sequence[Submission], now: int) -> set[tuple[str, str]]:
        """Return the names that answers bring. The site's own messages ask for them, so no bound on browsers' names holds."""
        messages = {report.message for one in submissions for report in one.reports if report.action == deliveries.ANSWERED}
        if not messages:
            return set()
        with self._database.read() as connection:
            wanted = {EVENT: {answers.EVENT_NAME}, ATTRIBUTE: answers.attribute_names(connection, site, messages)}
        for kind, texts in wanted.items():
            self._names.ensure(site, kind, texts, now)
        return {(kind, text) for kind, texts in wanted.items() for text in texts}

    def write(self, tx: Connection, site: int, payloads: Sequence[list[Submission]], prepared: "Prepared") -> list[list[Outcome]]:
        """Write everything in the given transaction."""
        now = self._clock()
        left = self._new_people.left(site, now)
        return _Group(tx, site, self._slices, self._names, prepared, self._maker, now, left).write(payloads)

    def committed(self, site: int, results: Sequence[list[Outcome]]) -> None:
        """Book the people made, now that they are."""
        self._new_people.book(site, self._clock(), sum(outcome.made for outcomes in results for outcome in outcomes))

    def halves(self, payload: list[Submission]) -> tuple[list[Submission], list[Submission]] | None:
        """Return a payload in halves; None where it is one item."""
        return halves(payload)

    def joined(self, payload: list[Submission], results: Sequence[list[Outcome] | None]) -> list[Outcome]:
        """Return what became of a payload by what became of its halves; None for one that failed."""
        return joined(payload, results)


Numbers = dict[tuple[str, str], int]
"""The numbers of a group's names, by kind and text; those that were refused are missing."""


class Prepared(msgspec.Struct, frozen=True):
    """What a group found before its transaction: the slices there are, and numbers for its names."""

    known: Known
    numbers: Numbers


def _names_of(submission: Submission) -> Iterator[tuple[str, str]]:
    for name in {event.name for event in submission.events}:
        yield EVENT, name
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
        names: Names,
        prepared: Prepared,
        maker: Maker,
        now: int,
        left: int,
    ) -> None:
        self.numbers = prepared.numbers
        self.left = left
        self.tx = tx
        self.site = site
        self.slices = slices
        self.names = names
        self.maker = maker
        self.now = now
        self.known = prepared.known
        self.folding = Folding()
        self.said = visits.Sayings(tx, site)
        """For when visits are written."""
        self.kept = attributes.Kept(tx, site, self.said)
        """For when nobody merges any more."""
        self.identities: dict[Key, Identity] = {}
        self.shown: dict[int, deliveries.Shown] = {}
        """What reports are about, by person."""

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
        self.folding.fold(self.tx, self.site)
        self.look_for_shown(submission for submission, _ in accepted)
        accepted = [(self.report(submission, outcome), outcome) for submission, outcome in accepted]
        admitted = self.admit(accepted)
        followed = self.touch(admitted)
        self.insert_events(admitted.homes)
        if followed is not None and (said := followed.said):
            attributes.refold(self.tx, self.site, sorted(said), attributes.OF_VISITS, followed.members, lambda _: said)
        for submission, outcome in accepted:
            self.set_attributes(submission, outcome)
            if submission.internal:
                self.mark_internal(submission, outcome)
        changes.note(self.tx, self.site, {identity.principal_id for identity in self.identities.values()}, self.now)
        return outcomes

    def resolve(self, pairs: Sequence[tuple[Submission, Outcome]]) -> None:
        """Find, make and lock the identities of the group; nothing is made for a sender whose lead is somebody else's."""
        keys = {key for one, _ in pairs for key in ((one.owner,) if one.lead is None else (one.owner, one.lead.key))}
        known = identities.find_locked(self.tx, self.site, keys)
        deleted = self.maker.deletions(self.tx, self.site, keys - known.keys())
        deleted |= {key: identity.not_before for key, identity in known.items() if identity.not_before}
        wanted: dict[Key, NewIdentity] = {}
        for one, outcome in pairs:
            if one.lead is not None and self.is_forged(one.lead, known, wanted):
                outcome.error = Reason.LEAD_SECRET_INVALID
                continue
            late = self.outlived(one, deleted)
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

    def outlived(self, submission: Submission, deleted: Mapping[Key, int]) -> set[Key]:
        """Return whose deletion came after everything this submission says: it neither brings them back nor tells of who came anew."""
        if not deleted:
            return set()
        latest = max(_times(submission), default=self.now)
        return {key for key, at in deleted.items() if latest <= at}

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
                folding=self.folding,
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

    def look_for_shown(self, submissions: Iterable[Submission]) -> None:
        """Find what reports are about, of each person at once: no index tells of it, so that all that they were shown is gone through."""
        reports: dict[int, list[deliveries.Report]] = {}
        for submission in submissions:
            if submission.reports:
                reports.setdefault(self.identities[submission.owner].principal_id, []).extend(submission.reports)
        self.shown = {person: deliveries.shown(self.tx, self.site, person, of_person) for person, of_person in reports.items()}

    def report(self, submission: Submission, outcome: Outcome) -> Submission:
        """Note what became of shown messages, at any identity of this person; return the submission with what answers become."""
        if not submission.reports:
            return submission
        person = self.identities[submission.owner].principal_id
        events, changed = list(submission.events), []
        shown = self.shown[person]
        for report in submission.reports:
            if report.action != deliveries.ANSWERED:
                outcome.reports.append(deliveries.record(self.tx, self.site, person, report, shown))
                continue
            taken = answers.take(self.tx, self.site, person, report, shown, self.slices.oldest(self.now))
            outcome.reports.append(True if isinstance(taken, answers.Taken) else taken)
            if isinstance(taken, answers.Taken):
                events.append(Event(taken.event_id, answers.EVENT_NAME, report.at, page=taken.page, metadata=taken.metadata))
                changed.append(AttributeChange(dict(taken.attributes), report.at))
        return msgspec.structs.replace(submission, events=events, answered=changed) if changed else submission

    def admit(self, accepted: Sequence[tuple[Submission, Outcome]]) -> "_Admitted":
        """Sort out what is to be stored; it is not counted yet."""
        admitted = _Admitted()
        numbers = {text: number for (kind, text), number in self.numbers.items() if kind == EVENT}
        for submission, outcome in accepted:
            outcome.events = self.admit_events(submission, numbers, admitted)
        return admitted

    def admit_events(  # noqa: PLR0912 (few calls: see below)
        self, submission: Submission, numbers: Mapping[str, int], admitted: "_Admitted"
    ) -> list[bool | Reason]:
        """Refuse an event whose name has no number, or that comes too late; the others are taken, unless they turn out to be repeats.

        One pass and few calls, because whatever is done here is done for every event there is.
        """
        results: list[bool | Reason] = [True] * len(submission.events)
        owner, site, spans, home_of = self.identities[submission.owner], self.site, admitted.spans, self.known.home
        identity, not_before, client = owner.id, owner.not_before, submission.client
        present = submission.browser and submission.present
        unverified = int(submission.browser and owner.kind == USER and not submission.verified)
        latest, visit, span, home = admitted.active.get(identity, 0), None, None, None
        into: _Home = ([], [])
        for place, event in enumerate(submission.events):
            at, number = event.at, numbers.get(event.name)
            if number is None or at <= not_before:
                results[place] = Reason.NAME_LIMIT if number is None else Reason.PERSON_DELETED
                continue
            week = home_of(event_id_time(event.id), at)
            if week is None:
                results[place] = Reason.TOO_OLD
                continue
            if event.repeat:
                results[place] = False
            else:
                if week != home:  # nearly all events of a submission are of one week
                    home, into = week, admitted.into(week)
                into[0].append((site, week, event.id, identity, number, at, unverified, event.visit, event.page, event.metadata))
                into[1].append((results, place))
            if not present:
                continue
            if at > latest:  # noqa: PLR1730 (a call less for each event)
                latest = at
            if event.visit is None:
                continue
            if span is None or event.visit != visit:  # and of one visit
                visit = event.visit
                span = spans.get((identity, visit))
                if span is None:
                    span = spans[identity, visit] = visits.Span(at, at, event.page, client)
                    continue
            if at > span.end:
                span.end = at
            elif at <= span.start:
                span.widen(at, event.page, client)
        if latest and present:
            admitted.active[identity] = latest
        return results

    def touch(self, admitted: "_Admitted") -> visits.Followed | None:
        """Note activity and visits of browsers; monotone, so that a repeat changes nothing. REST events touch neither.

        Both stand in one row, which is written once: each time costs PostgreSQL another one.
        """
        followed = visits.follow(self.tx, self.site, admitted.spans, self.principals()) if admitted.spans else None
        late, sums = self.activity(admitted.active), {} if followed is None else followed.sums
        self.tx.update(
            "identities",
            self.site,
            "id",
            {
                "own_active_at": "larger(coalesce({0}, {1}), coalesce({1}, {0}))",
                "active_at": "larger(coalesce({0}, {1}), coalesce({1}, {0}))",
                "visit_count": "coalesce({1}, {0})",  # visits only become more
                "visit_started_at": "coalesce({1}, {0})",
                "visit_ended_at": "coalesce({1}, {0})",
                "previous_visit_ended_at": "coalesce({1}, {0})",
            },
            [(number, *late.get(number, _NO_ACTIVITY), *sums.get(number, visits.NONE)) for number in sorted(late.keys() | sums.keys())],
        )
        return followed

    def principals(self) -> dict[int, int]:
        """Return whose each identity of the group is, by row id."""
        return {identity.id: identity.principal_id for identity in self.identities.values()}

    def activity(self, times: Mapping[int, int]) -> dict[int, list[int | None]]:
        """Return where an identity, or its person, was active later than is known: when by itself, and when as a person.

        To the minute: a column written with each event would be the hottest of all.
        """
        by_id = {identity.id: identity for identity in self.identities.values()}
        late: dict[int, list[int | None]] = {}
        for number, at in times.items():
            identity, minute = by_id[number], at // MINUTE * MINUTE
            if (identity.own_active_at or -1) < minute:
                late.setdefault(number, [None, None])[0] = minute
            principal = by_id.get(identity.principal_id)
            if principal is None or (principal.active_at or -1) < minute:
                person = late.setdefault(identity.principal_id, [None, None])
                person[1] = max(person[1] or 0, minute)
        return late

    def insert_events(self, homes: Mapping[int, "_Home"]) -> None:
        """Insert what is new, each event into its slice, and count it."""
        counted: list[EventRow] = []
        for home in sorted(homes):
            rows, places = homes[home]
            new = {row[2]: row for row in reversed(rows)}  # of two equal ones the first
            for known in self.stored_elsewhere(home, new.keys()):
                del new[known]
            for known in self.slices.insert(self.tx, self.site, home, [new[event_id] for event_id in sorted(new)], self.now):
                del new[known]
            if len(new) < len(rows):  # else all of them are taken, nearly always
                for row, (results, place) in zip(rows, places, strict=True):
                    results[place] = new.get(row[2]) is row
            counted += new.values()
        totals.count(self.tx, self.site, counted, self.principals())

    def stored_elsewhere(self, home: int, events: Collection[bytes]) -> set[bytes]:
        """Return the ids that an earlier send, with another idea of the time, put into the other slice they could be in."""
        others: dict[int, list[bytes]] = {}
        if home != OVERFLOW:
            others[OVERFLOW] = list(events)
        else:
            for event_id in events:
                others.setdefault(event_id_time(event_id) // WEEK, []).append(event_id)
        found: set[bytes] = set()
        for other, ids in others.items():
            if other in self.known.readable and other != home:
                found |= self.slices.stored(self.tx, self.site, other, ids)
        return found

    def set_attributes(self, submission: Submission, outcome: Outcome) -> None:
        """Set attributes in order; what a trusted source set stays."""
        source = attributes.TRUSTED if submission.verified or not submission.browser else attributes.BROWSER
        owner = self.identities[submission.owner]
        wanted: dict[int, tuple[dict[str, Any], int]] = {}
        for place, change in enumerate(submission.changes):
            if change.at <= owner.not_before:
                outcome.outdated.append(place)
                continue
            wanted[place] = {name: value for name, value in change.values.items() if (ATTRIBUTE, name) in self.numbers}, change.at
        answered = [(change.values, change.at) for change in submission.answered]
        refused = attributes.apply_all(self.tx, self.site, self.names, owner, [*wanted.values(), *answered], source, self.kept)
        for (place, (allowed, _)), protected in zip(wanted.items(), refused, strict=False):  # what answers set is not told
            outcome.protected += [(place, name, Reason.NAME_LIMIT) for name in submission.changes[place].values if name not in allowed]
            outcome.protected += [(place, name, reason) for name, reason in protected]

    def mark_internal(self, submission: Submission, outcome: Outcome) -> None:
        """Note that this browser is one of the site's own people's, unless something is known of that.

        A user id that nobody proved may be anybody's, so that it stands with the lead then. It stands there whatever is known of other
        identities of its person, from which a merge undone parts it, and counts less than what anybody said.
        """
        owner = self.identities[submission.owner]
        if owner.kind == USER and not submission.verified:
            if submission.lead is None or outcome.lead_deleted:
                return
            owner = self.identities[submission.lead.key]
        said = staff.said_of(self.tx, self.site, owner.id)
        if said in (None, "null"):
            source = attributes.BROWSER if said is None else attributes.TRUSTED  # or what was unset would stay so
            attributes.apply(self.tx, self.site, self.names, owner, {"internal": True}, self.now, source, self.kept)


_NO_ACTIVITY = (None, None)


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
    outcome.outdated = list(range(len(submission.changes)))


_Home = tuple[list[EventRow], list[tuple[list[bool | Reason], int]]]
"""The events of one slice, and where what becomes of each is noted."""


class _Admitted:
    """What a group brings that is to be stored."""

    __slots__ = ("active", "homes", "spans")

    def __init__(self) -> None:
        self.homes: dict[int, _Home] = {}
        self.spans: dict[visits.Key, visits.Span] = {}
        self.active: dict[int, int] = {}
        """When browsers were active last (ms), by identity."""

    def into(self, home: int) -> "_Home":
        """Return where the events of a slice go."""
        return self.homes.setdefault(home, ([], []))
