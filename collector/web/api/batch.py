"""POST /events/batch: up to 1,000 events in one commit, each accepted, known already, or refused by itself."""

from typing import Any

from flask import Response, jsonify

from collector.domain.sites import Site
from collector.domain.submissions import Outcome
from collector.services import Services
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import shown
from collector.web.api import body, event_input, owners
from collector.web.api.event_input import ITEM, Draft
from collector.web.api.owners import Owner
from collector.web.api.views import Route

MOST_EVENTS = 1_000
_ENVELOPE = frozenset({"events", "create_contacts"})

Drafts = dict[int, Draft]
"""Clean events by their place in the batch."""


class Results:
    """What became of each event."""

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicates = 0
        self.refused: list[dict[str, Any]] = []
        self.flagged: list[dict[str, Any]] = []

    def refuse(self, index: int, refusal: Refusal) -> None:
        """Note that an event is refused."""
        self.refused.append({"index": index, "code": refusal.code.value, "field": refusal.field, "message": refusal.message})

    def as_json(self) -> dict[str, Any]:
        """Return the answer, in the order of the events. What is refused was not changed, so that it is not flagged."""
        refused = sorted(self.refused, key=lambda entry: int(entry["index"]))
        gone = {entry["index"] for entry in refused}
        flagged = [flag for flag in self.flagged if flag["index"] not in gone]
        return {"accepted": self.accepted, "duplicates": self.duplicates, "refused": refused, "flagged": flagged}


def create(services: Services, site: Site) -> tuple[Response, int]:
    """Take a batch; 202 where the envelope is valid, whatever its events are."""
    events, creates = _envelope(services)
    results = Results()
    now = services.clock()
    drafts = _clean(site, events, results, now, services.settings.retention)
    groups = _by_owner(services, site, drafts, results, creates=creates)
    payload = [owners.submission(site, owner, [drafts[index] for index in places], create=creates) for owner, places in groups]
    outcomes: list[Outcome] = services.writer.record(site.id, payload, body.sent_bytes()) if payload else []
    for (_, places), outcome in zip(groups, outcomes, strict=True):
        _count(drafts, places, outcome, results)
    return jsonify(results.as_json()), 202


def _envelope(services: Services) -> tuple[list[Any], bool]:
    """Return the events as sent, and whether unknown people are made.

    Raises:
        Problem: 400 for a wrong envelope, 413 for too many events.
    """
    sent = body.read_json(services)
    if not isinstance(sent, dict):
        raise problem(400, Reason.BODY_INVALID, None, f"expected a JSON object with events, not {shown(sent)}")
    if isinstance(sent, body.Repeated):
        raise problem(400, Reason.FIELD_INVALID, body.label(sent.key), "the key stands there twice")
    unknown = body.unknown_key(sent, _ENVELOPE)
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    if "events" not in sent:
        raise problem(400, Reason.FIELD_MISSING, "events")
    events, creates = sent["events"], sent.get("create_contacts")
    if not isinstance(events, list):
        raise problem(400, Reason.FIELD_INVALID, "events", f"expected a list, not {shown(events)}")
    if creates is not None and not isinstance(creates, bool):
        raise problem(400, Reason.FIELD_INVALID, "create_contacts", f"expected true or false, not {shown(creates)}")
    if len(events) > MOST_EVENTS:
        raise problem(413, Reason.TOO_MANY_ITEMS, "events", f"expected at most {MOST_EVENTS} events, got {len(events)}")
    return events, creates is not False


def _clean(site: Site, events: list[Any], results: Results, now: int, retention: int) -> Drafts:
    drafts: Drafts = {}
    for index, raw in enumerate(events):
        try:
            draft = event_input.clean(_sound(raw), ITEM, site.zone, now, retention)
        except Refusal as refusal:
            results.refuse(index, refusal)
            continue
        drafts[index] = draft
        results.flagged += [{"index": index, "code": code.value, "field": field} for code, field in draft.flags]
    return drafts


def _sound(raw: Any) -> dict[str, Any]:
    """Return an item, a sound JSON object; what is wrong inside it costs no other item."""
    if not isinstance(raw, dict):
        raise Refusal(Reason.ITEM_INVALID, None, f"expected an object, not {shown(raw)}")
    body.check(raw)
    return raw


def _by_owner(services: Services, site: Site, drafts: Drafts, results: Results, *, creates: bool) -> list[tuple[Owner, list[int]]]:
    """Group the events by the identity they belong to; refuse those of nobody."""
    with services.database.read() as connection:
        found = owners.find(connection, site.id, [draft.address for draft in drafts.values()])
    groups: dict[Owner, list[int]] = {}
    for index, draft in drafts.items():
        owner = found.get(draft.address)
        if owner is None or not (owner.exists or creates):
            results.refuse(index, Refusal(Reason.PERSON_UNKNOWN, draft.field))
        else:
            groups.setdefault(owner, []).append(index)
    return list(groups.items())


def _count(drafts: Drafts, places: list[int], outcome: Outcome, results: Results) -> None:
    if outcome.error is not None:
        for index in places:
            results.refuse(index, Refusal(outcome.error, None if outcome.error is Reason.INTERNAL else drafts[index].field))
        return
    if outcome.failed:
        results.flagged += [{"index": index, "code": Reason.INTERNAL.value, "field": drafts[index].field} for index in places]
    for index, result in zip(places, outcome.events, strict=True):
        if isinstance(result, Reason):
            results.refuse(index, Refusal(result, event_input.field_of(result)))
        elif result:
            results.accepted += 1
        else:
            results.duplicates += 1


ROUTES: tuple[Route, ...] = (("POST", "/events/batch", create),)
