"""What is known about one person, loaded as far as the queries at hand ask for it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import tzinfo
from itertools import islice
from typing import Any

from msgspec import structs

from collector.domain import attributes, deliveries, people
from collector.domain.audiences import NEVER, PersonFacts, Total, measure_over, together
from collector.domain.deliveries import SHOWN, Delivery
from collector.domain.names import PAGE_VIEW, Names
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.clock import DAY
from collector.values.query_tree import EventMeasure, Needs


def load(
    connection: Connection,
    site: Site,
    names: Names,
    person: Person,
    needs: Needs,
    now_ms: int,
    retention_ms: int,
    *,
    everything: bool = False,
    totals: Mapping[str, Total] | None = None,
    had: Sequence[Delivery] | None = None,
) -> PersonFacts:
    """Return the facts a query needs, as of now; with `everything` all attributes, whether it asks for them or not.

    `totals` and `had`, deliveries, are the person's where they were read before.
    """
    counted = people.totals(connection, site.id, names, person.id) if totals is None else totals
    values = people.values(connection, site.id, names, person, now_ms) if needs.attributes or everything else {}
    values["page_view_count"] = counted.get(PAGE_VIEW, NEVER).count
    return PersonFacts(
        attributes=values,
        totals=counted,
        measures=_measures(connection, site, names, person, needs, now_ms, retention_ms),
        messages=_messages(connection, site, person, had) if needs.messages else {},
    )


def load_then(
    connection: Connection, site: Site, names: Names, person: Person, needs: Needs, then_ms: int, retention_ms: int
) -> PersonFacts:
    """Return the facts a query needs as they were at a time on the timeline: without what was done, or set, since.

    What an attribute was before it was set anew is not known any more, so it is unknown then. All has to be read at one moment, so that the
    connection is a snapshot's.
    """
    known = load(connection, site, names, person, structs.replace(needs, measures=()), then_ms, retention_ms)
    counted = needs.totals | ({PAGE_VIEW} if "page_view_count" in needs.attributes else set())
    since = people.measured(connection, site.id, names, person, then_ms + 1, counted)
    undone = [event for event in counted if since[event].count]
    before = people.measured(connection, site.id, names, person, 0, undone, then_ms)
    kept = people.last_kept(connection, site.id, names, person, undone, then_ms)
    totals = dict(known.totals)
    for event in undone:
        totals[event] = _without(totals.get(event, NEVER), since[event], max(before[event].last_ms or 0, kept.get(event, 0)))
    # Of what was done since, some may be pruned by now; when it was done first is known all the same.
    totals |= {event: NEVER for event in counted if (totals.get(event, NEVER).first_ms or 0) > then_ms}
    happened = _happened(connection, site, names, person, needs.measures, then_ms, retention_ms)
    measured = _over((one for one in happened if one[1] <= then_ms), needs.measures, then_ms, site.zone)
    set_since = attributes.set_since(connection, site.id, names, person.id, then_ms) if needs.attributes else set()
    return PersonFacts(
        attributes={
            **{name: value for name, value in known.attributes.items() if name not in set_since},
            "page_view_count": totals.get(PAGE_VIEW, NEVER).count,
        },
        totals=totals,
        measures=measured,
        messages={message: {step: at for step, at in steps.items() if at <= then_ms} for message, steps in known.messages.items()},
    )


def _without(total: Total, since: Total, last_ms: int) -> Total:
    """Return a total without what was done since; `last_ms` is when it was done last before that, 0 where nobody knows."""
    if total.count <= since.count:
        return NEVER
    return Total(total.count - since.count, total.first_ms, last_ms or total.first_ms)


def _measures(
    connection: Connection, site: Site, names: Names, person: Person, needs: Needs, now_ms: int, retention_ms: int
) -> dict[str, Total]:
    """Measure over the timeline: by the database where it can, else reading rows; one question for each span however many measures ask."""
    measured: dict[str, Total] = {}
    within: dict[int, list[EventMeasure]] = {}
    read: list[EventMeasure] = []
    for measure in needs.measures:
        if measure.where or measure.within_days is None:
            read.append(measure)
        else:
            within.setdefault(measure.within_days, []).append(measure)
    for days, measures in within.items():
        oldest = now_ms - min(days * DAY, retention_ms) + 1
        totals = people.measured(connection, site.id, names, person, oldest, {one.event for one in measures})
        measured |= {one.key: totals[one.event] for one in measures}
    return measured | _over(_happened(connection, site, names, person, read, now_ms, retention_ms), read, now_ms, site.zone)


_Happened = Iterator[tuple[str, int, dict[str, Any]]]


def _happened(
    connection: Connection, site: Site, names: Names, person: Person, measures: Collection[EventMeasure], now_ms: int, retention_ms: int
) -> _Happened:
    """Read what measures are about, each event as far back as any of them asks."""
    spans: dict[str, int] = {}
    for one in measures:
        span = retention_ms if one.within_days is None else min(one.within_days * DAY, retention_ms)
        spans[one.event] = max(span, spans.get(one.event, 0))
    for span in set(spans.values()):
        events = [event for event, longest in spans.items() if longest == span]
        yield from people.happened(connection, site.id, names, person, now_ms - span, events)


def _over(happened: _Happened, measures: Collection[EventMeasure], now_ms: int, zone: tzinfo) -> dict[str, Total]:
    """Return what measures count of the timeline, by their keys."""
    measured = {one.key: NEVER for one in measures}
    while page := list(islice(happened, people.PAGE)):
        of: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for event, at, metadata in page:
            of.setdefault(event, []).append((at, metadata))
        for measure in measures:
            if measure.event in of:
                measured[measure.key] = together(measured[measure.key], measure_over(of[measure.event], measure, now_ms, zone))
    return measured


def _messages(connection: Connection, site: Site, person: Person, had: Sequence[Delivery] | None) -> dict[str, dict[str, int]]:
    had = deliveries.of_person(connection, site.id, person.id) if had is None else had  # before the messages that they are of
    ids = dict(connection.rows("SELECT id, public_id FROM auto_messages WHERE site = ?", (site.id,)))
    facts: dict[str, dict[str, int]] = {}
    arms: dict[int, str] = {}
    for delivery in had:
        arm = arms.setdefault(delivery.message, delivery.arm)
        _note(facts.setdefault(ids[delivery.message], {}), delivery, arm)
    return facts


def _note(known: dict[str, int], delivery: Delivery, arm: str) -> None:
    """Note when what was done with a message; whoever was held out at first, to compare, reaches no goal of it."""
    for field in ("seen", "clicked", "answered", "dismissed", *(("goal",) if arm == SHOWN else ())):
        at = getattr(delivery, f"{field}_at")
        if at is not None:
            known[field] = min(at, known.get(field, at))
