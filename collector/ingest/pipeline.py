"""The path of one envelope, top to bottom: `collect` decodes, finds the site, runs STEPS in order, waits for the commit,
then asks for messages.

One function serves every entry (Flask, raw WSGI, RSGI). Verbs: `decode_*` and `check_*` end the request with a Problem; `drop_*`
answer 202 but store nothing; `clean_items` refuses single items. Deciding messages is a guest and never fails an envelope.
"""

from typing import Any

from collector.domain import event_rules, trials
from collector.domain.merging import Claim
from collector.domain.names import PAGE_VIEW
from collector.domain.sites import Site
from collector.domain.submissions import Outcome, Submission
from collector.ingest import agents, guests, items, senders, trial_pages, wire, withdrawals
from collector.ingest.effects import Exchange, Read, Record
from collector.ingest.offers import LATER, NOTHING, Offered, Offers, Question
from collector.ingest.senders import Headers
from collector.services import Services
from collector.storage.writer import Overloaded
from collector.values.errors import Reason, Refusal, problem
from collector.values.ids import uuid7_bytes

CUSTOM = "custom_attributes."


class Collection:
    """One envelope on its way: what is known of it so far."""

    def __init__(self, services: Services, body: bytes, headers: Headers) -> None:
        self.services = services
        self.body = body
        self.headers = headers
        self.now = services.clock()
        self.answered = False
        self.refused: list[dict[str, Any]] = []
        self.flagged: list[dict[str, Any]] = []
        self.accepted = 0
        self.duplicates = 0
        self.told: list[dict[str, Any]] = []
        """What the page hears of messages beside what may be claimed: what has to go, and what a test link shows."""
        self.offered = NOTHING
        self.views: set[bytes] = set()
        """The views that something happened in."""
        self.rules: str | None = None
        self.query_names: frozenset[str] = frozenset()
        self.envelope: wire.AnyEnvelope
        self.site: Site
        self.sender: senders.Verified
        self.submission: Submission
        self.places: dict[str, list[int]] = {"event": [], "identify": [], "message": []}
        self.outcome: Outcome | None = None

    def refuse(self, index: int, refusal: Refusal) -> None:
        """Note that an item, or a part of it, is refused."""
        self.refused.append({"index": index, **refusal.as_json()})

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is left to be stored."""
        return not (self.submission.events or self.submission.changes or self.submission.reports)

    def reported(self) -> set[str]:
        """Return the deliveries (nonces) of which something new was reported."""
        results = [] if self.outcome is None else self.outcome.reports
        return {report.nonce for report, new in zip(self.submission.reports, results, strict=False) if new is True}

    def answer(self) -> dict[str, Any]:
        """Return the body of the answer."""
        body: dict[str, Any] = {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "flagged": self.flagged,
            "time": self.now,
        }
        if self.told or self.offered.messages or self.offered.poll is not None:
            body["messages"] = [*self.told, *self.offered.messages]
        if self.offered.poll is not None:
            body["poll"] = self.offered.poll
        if self.outcome is not None:
            if self.sender.session is not None:
                body["session"] = {"token": self.sender.session[0], "expires_at": self.sender.session[1]}
            if self.outcome.claim in (Claim.REFUSED, Claim.BLOCKED):
                body["lead"] = "rotate"
        if self.rules is not None:
            body["rules"] = self.rules
        if self.query_names:
            body["query"] = sorted(self.query_names)
        return body


def collect(services: Services, offers: Offers, body: bytes, headers: Headers) -> Exchange[dict[str, Any]]:
    """Take an envelope and return the answer for status 202.

    Raises:
        Problem: the envelope is refused as a whole; nothing was written.
    """
    collection = Collection(services, body, headers)
    decode_envelope(collection)
    collection.site = yield from senders.find_site(services.sites, collection.envelope, headers)
    for step in STEPS:
        step(collection)
        if collection.answered:
            return collection.answer()
    page = collection.envelope.page
    if page is not None and not collection.envelope.items:
        yield from ask_messages(collection, offers.poll(collection.sender, items.shown_url(page), collection.now), LATER)
        return collection.answer()
    yield from apply_rules(collection)
    if collection.is_empty:  # what says nothing makes nobody
        return answered(collection)
    try:
        outcomes = yield Record(collection.site.id, [collection.submission], len(body))
    except Overloaded:
        raise problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")]) from None
    note_outcome(collection, outcomes[0])
    events, reported = collection.submission.events, collection.reported()
    asked = offers.question(collection.sender, collection.outcome, events, reported, collection.now)
    yield from ask_messages(collection, asked, NOTHING)
    return answered(collection)


def answered(c: Collection) -> dict[str, Any]:
    """Return the answer, also with the query parameters that the live messages, as last read, ask for."""
    c.query_names |= c.services.auto_messages.query_names(c.site.id)
    return c.answer()


def decode_envelope(c: Collection) -> None:
    """Read the body; where one item is not in order, all stay raw."""
    c.envelope = wire.decode_envelope(c.body)


def drop_unwanted(c: Collection) -> None:
    """Store nothing of crawlers and of visitors who asked not to be tracked, and say so."""
    reason = senders.refused_sender(c.envelope, c.headers)
    if reason is not None:
        for index in range(len(c.envelope.items)):
            c.refuse(index, Refusal(reason))
        c.answered = True


def check_sender(c: Collection) -> None:
    """Check lead and user."""
    c.sender = senders.check_sender(c.services.keyring, c.site, c.envelope, c.services.settings.session_duration, c.now)


def clean_items(c: Collection) -> None:
    """Clean each item alone; a bad one never costs its good neighbours."""
    when = items.times(c.envelope, c.now, c.services.settings.retention, c.site.zone)
    sender = c.sender
    client = agents.client(c.headers)
    c.submission = Submission(owner=sender.owner, lead=sender.lead, verified=sender.verified, client=client, internal=c.headers.internal)
    events = items.Events(c.envelope.items, when)
    views: set[str] = set()
    for index, raw in enumerate(c.envelope.items):
        flags: items.Flags = []
        try:
            item = raw if isinstance(raw, wire.EventItem) else wire.decode_item(raw)
            if isinstance(item, wire.EventItem):
                if trial_pages.is_marked(item):
                    item = leave_trial(c, item)
                c.submission.events.append(events.clean(item, flags))
                c.places["event"].append(index)
                if item.view and item.view != item.id:
                    views.add(item.view)
            elif isinstance(item, wire.IdentifyItem):
                change, refusals = items.clean_change(item, when, flags)
                c.submission.changes.append(change)
                c.places["identify"].append(index)
                flags += [(refusal.code, refusal.field or "attributes") for refusal in refusals]
            else:
                c.submission.reports.append(items.clean_report(item, when, flags))
                c.places["message"].append(index)
        except Refusal as refusal:
            c.refuse(index, refusal)
            continue
        if flags:
            c.flagged += [{"index": index, "code": code.value, "field": field} for code, field in flags]
    c.views = {view for text in views if (view := items.view_bytes(text)) is not None}


def leave_trial(c: Collection, item: wire.EventItem) -> wire.EventItem:
    """Return an event without what test links leave in addresses; in a page that one opened refuse it, and name the link's message."""
    trial = trials.find(c.services.keyring, c.site, item.page.url if item.page else "", c.now)
    if trial is None:
        return trial_pages.unmarked(item)
    if item.name == PAGE_VIEW:
        c.told = [{"id": trial.message, "trigger": "test"}]
    raise Refusal(Reason.TEST)


def apply_rules(c: Collection) -> Exchange[None]:
    """Add the events that the site's rules make of the page views, behind those that were sent; name what makes them of clicks."""
    rules = c.services.event_rules.kept(c.site.id)
    if rules is None:
        rules = yield Read(lambda: c.services.event_rules.active(c.site.id))
    if rules.views and any(event.name == PAGE_VIEW for event in c.submission.events):
        c.submission.events += event_rules.derived(rules.views, c.site.salt, c.submission.events)
    c.rules = c.services.rule_scripts.name(c.site.key, rules.elements)
    c.query_names = rules.query_names


def ask_for_withdrawals(c: Collection) -> withdrawals.Question | None:
    """Return the call that finds what the pages of this envelope have to take down; a view that begins with it shows nothing yet."""
    views = c.views.difference([event.id for event in c.submission.events])
    if c.envelope.view and (view := uuid7_bytes(c.envelope.view)) is not None:
        views.add(view)
    nonces = frozenset([report.nonce for report in c.submission.reports])
    person = None if c.outcome is None else c.outcome.person
    return withdrawals.question(c.services, c.site, withdrawals.Sight(person, c.sender.owner, frozenset(views), nonces, c.now))


def note_outcome(c: Collection, outcome: Outcome) -> None:
    """Note what was stored, known already, or refused by the ledger; from here on it is durable."""
    if outcome.error is Reason.LEAD_LIMIT:
        raise problem(429, outcome.error, "lead", headers=[("Retry-After", "60")])
    if outcome.error is not None:
        raise problem(403, outcome.error, "lead")
    c.outcome = outcome
    c.services.losses.note(c.site.id, c.envelope.dropped, c.now)
    c.accepted += len(c.places["identify"]) - len(outcome.outdated) - len(outcome.failed)
    for places, reason in ((outcome.outdated, Reason.PERSON_DELETED), (outcome.failed, Reason.INTERNAL)):
        for place in places:
            c.refuse(c.places["identify"][place], Refusal(reason))
    for kind, results in (("event", outcome.events), ("message", outcome.reports)):
        if len(results) == len(c.places[kind]) == results.count(True):  # nearly always
            c.accepted += len(results)
            continue
        for index, result in zip(c.places[kind], results, strict=False):  # derived events follow those that have a place
            if isinstance(result, Reason):
                c.refuse(index, Refusal(result, "answer" if result is Reason.ANSWER_INVALID else None))
            elif result:
                c.accepted += 1
            else:
                c.duplicates += 1
    for place, name, reason in outcome.protected:
        field = f"attributes.{name.removeprefix(CUSTOM)}"
        c.flagged.append({"index": c.places["identify"][place], "code": reason.value, "field": field})
    c.refused.sort(key=lambda entry: int(entry["index"]))


def ask_messages(c: Collection, question: Question | None, otherwise: Offered) -> Exchange[None]:
    """Note which messages may be claimed, and which have to go."""
    if question is not None:
        c.offered = yield from guests.ask(c.services, c.site, guests.OFFERS, question, otherwise)
    withdraw = ask_for_withdrawals(c)
    if withdraw is not None:
        none: list[dict[str, Any]] = []
        c.told += yield from guests.ask(c.services, c.site, guests.WITHDRAWALS, withdraw, none)


STEPS = (drop_unwanted, check_sender, clean_items)
