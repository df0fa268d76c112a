"""What senders did, as the ledger takes it, and what became of it; also in halves, where one item of many cannot be written."""

from collections.abc import Sequence
from typing import Any

import msgspec

from collector.domain.deliveries import Report
from collector.domain.identities import Key, NewIdentity
from collector.domain.merging import Claim
from collector.values.errors import Reason


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One thing that happened, cleaned. `at` is corrected ms; `visit` and `id` are 16 bytes; `page` and `metadata` are JSON text."""

    id: bytes
    name: str
    at: int
    visit: bytes | None = None
    page: str | None = None
    metadata: str | None = None
    repeat: bool = False
    """Whether it is known already and only says that its sender is here: it is never stored."""


class AttributeChange(msgspec.Struct, frozen=True, array_like=True):
    """Attributes set at one time (ms), by canonical name; None unsets."""

    values: dict[str, Any]
    at: int


class Submission(msgspec.Struct, kw_only=True, array_like=True):
    """What one sender did. `owner` is the identity it all belongs to; `lead` is the browser's, which a user owner claims."""

    owner: Key
    lead: NewIdentity | None = None
    verified: bool = False
    browser: bool = True
    internal: bool = False
    """Whether the browser is where the site's own people are."""
    present: bool = True
    """Whether the browser was there by this: what is worked out from what it sent before says nothing new of activity and visits."""
    create: bool = True
    events: list[Event] = msgspec.field(default_factory=list)
    changes: list[AttributeChange] = msgspec.field(default_factory=list)
    client: str | None = None
    """What is known of the browser, for the visits that begin (`values.visit_context`, JSON text)."""
    reports: list[Report] = msgspec.field(default_factory=list)
    answered: list[AttributeChange] = msgspec.field(default_factory=list)
    """What answers among the reports set; worked out while they are written."""
    by: str = "browser"


class Outcome(msgspec.Struct, array_like=True):
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
    outdated: list[int] = msgspec.field(default_factory=list)
    """Places of the changes that are older than the deletion of their person."""
    failed: list[int] = msgspec.field(default_factory=list)
    """Places of the changes that could not be written, where others could."""
    protected: list[tuple[int, str, Reason]] = msgspec.field(default_factory=list)
    """Attributes that were not set: place of the change, name, why."""
    reports: list[bool | Reason] = msgspec.field(default_factory=list)


def halves(payload: list[Submission]) -> tuple[list[Submission], list[Submission]] | None:
    """Return a payload as two that come to the same, one after the other; None where it is one item.

    They are cut between senders, and those of one sender between its items.
    """
    if len(payload) > 1:
        middle = len(payload) // 2
        return payload[:middle], payload[middle:]
    if not payload:
        return None
    (one,) = payload
    events, changes, reports = len(one.events), len(one.changes), len(one.reports)
    count = events + changes + reports
    if count < 2:
        return None
    middle = count // 2
    return [_part(one, 0, middle)], [_part(one, middle, count)]


def joined(payload: list[Submission], results: Sequence[list[Outcome] | None]) -> list[Outcome]:
    """Return what became of a payload by what became of its halves, at least one of which was written; None for one that failed."""
    parts = halves(payload)
    if parts is None:
        raise ValueError("one item has no halves")
    first, second = (_failed(part) if outcomes is None else outcomes for part, outcomes in zip(parts, results, strict=True))
    if len(payload) > 1:
        return [*first, *second]
    return [_together(parts[0][0], first[0], parts[1][0], second[0])]


def _part(one: Submission, start: int, end: int) -> Submission:
    """Return the items of a submission between two places, counted through its events, its changes and its reports."""
    behind_events = len(one.events)
    behind_changes = behind_events + len(one.changes)
    return msgspec.structs.replace(
        one,
        events=one.events[start:end],
        changes=one.changes[max(start - behind_events, 0) : max(end - behind_events, 0)],
        reports=one.reports[max(start - behind_changes, 0) : max(end - behind_changes, 0)],
    )


def _failed(payload: list[Submission]) -> list[Outcome]:
    return [
        Outcome(
            error=Reason.INTERNAL,
            events=[Reason.INTERNAL] * len(one.events),
            failed=list(range(len(one.changes))),
            reports=[Reason.INTERNAL] * len(one.reports),
        )
        for one in payload
    ]


def _together(one: Submission, first: Outcome, other: Submission, second: Outcome) -> Outcome:
    """Return what became of a submission by what became of its first and its second part."""
    written = [outcome for outcome in (first, second) if outcome.error is not Reason.INTERNAL]
    behind = len(one.changes)
    return Outcome(
        error=next((outcome.error for outcome in written if outcome.error is not None), None) if written else Reason.INTERNAL,
        made=sum(outcome.made for outcome in written),
        person=next((outcome.person for outcome in reversed(written)), None),
        contact_id=next((outcome.contact_id for outcome in reversed(written)), None),
        turned_away=bool(written) and all(outcome.turned_away for outcome in written),
        lead_deleted=any(outcome.lead_deleted for outcome in written),
        claim=next((outcome.claim for outcome in written if outcome.claim is not None), None),
        # Behind the events that were sent stand those of answers, which nobody asks for.
        events=[*first.events[: len(one.events)], *second.events[: len(other.events)]],
        outdated=[*first.outdated, *(place + behind for place in second.outdated)],
        failed=[*first.failed, *(place + behind for place in second.failed)],
        protected=[*first.protected, *((place + behind, name, why) for place, name, why in second.protected)],
        reports=[*first.reports, *second.reports],
    )
