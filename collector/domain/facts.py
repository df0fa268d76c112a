"""What is known about one person, loaded as far as the queries at hand ask for it."""

from itertools import islice

from msgspec import structs

from collector.domain import attributes, deliveries, people
from collector.domain.audiences import NEVER, PersonFacts, Total, measure_over, together
from collector.domain.deliveries import Delivery
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
) -> PersonFacts:
    """Return the facts a query needs, as of now; with `everything` all attributes, whether it asks for them or not."""
    counted = people.totals(connection, site.id, names, person.id)
    values = people.values(connection, site.id, names, person, now_ms) if needs.attributes or everything else {}
    values["page_view_count"] = counted.get(PAGE_VIEW, NEVER).count
    return PersonFacts(
        attributes=values,
        totals=counted,
        measures=_measures(connection, site, names, person, needs, now_ms, retention_ms),
        messages=_messages(connection, site, person) if needs.messages else {},
    )


def load_then(
    connection: Connection, site: Site, names: Names, person: Person, needs: Needs, then_ms: int, retention_ms: int
) -> PersonFacts:
    """Return the facts a query needs as they were at a time on the timeline: without what was done, or set, since.

    What an attribute was before it was set anew is not known any more, so it is unknown then.
    """
    known = load(connection, site, names, person, structs.replace(needs, measures=()), then_ms, retention_ms)
    totals = dict(known.totals)
    for event in needs.totals | ({PAGE_VIEW} if "page_view_count" in needs.attributes else set()):
        since = people.measured(connection, site.id, names, person, then_ms + 1, event)
        if since.count:
            before = people.measured(connection, site.id, names, person, 0, event, then_ms)
            totals[event] = _without(totals.get(event, NEVER), since, before)
    measured: dict[str, Total] = {}
    for measure in needs.measures:
        oldest = then_ms - (retention_ms if measure.within_days is None else min(measure.within_days * DAY, retention_ms))
        happened = people.happened(connection, site.id, names, person, oldest, measure.event)
        measured[measure.key] = measure_over((one for one in happened if one[0] <= then_ms), measure, then_ms, site.zone)
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


def _without(total: Total, since: Total, before: Total) -> Total:
    """Return a total without what was done since; `before` is what stands in the timeline of what was done before that."""
    if total.count <= since.count:
        return NEVER
    return Total(total.count - since.count, total.first_ms, before.last_ms or total.first_ms)


def _measures(
    connection: Connection, site: Site, names: Names, person: Person, needs: Needs, now_ms: int, retention_ms: int
) -> dict[str, Total]:
    """Measure over the timeline: by the database where it can, else reading each event's rows once however many measures ask."""
    measured: dict[str, Total] = {}
    read: dict[str, list[EventMeasure]] = {}
    for measure in needs.measures:
        if measure.where or measure.within_days is None:
            read.setdefault(measure.event, []).append(measure)
        else:
            oldest = now_ms - min(measure.within_days * DAY, retention_ms) + 1
            measured[measure.key] = people.measured(connection, site.id, names, person, oldest, measure.event)
    for event, measures in read.items():
        spans = [retention_ms if one.within_days is None else one.within_days * DAY for one in measures]
        oldest = now_ms - min(max(spans), retention_ms)
        measured |= dict.fromkeys((one.key for one in measures), NEVER)
        rows = people.happened(connection, site.id, names, person, oldest, event)
        while page := list(islice(rows, people.PAGE)):
            for measure in measures:
                measured[measure.key] = together(measured[measure.key], measure_over(page, measure, now_ms, site.zone))
    return measured


def _messages(connection: Connection, site: Site, person: Person) -> dict[str, dict[str, int]]:
    ids = dict(connection.rows("SELECT id, public_id FROM auto_messages WHERE site = ?", (site.id,)))
    facts: dict[str, dict[str, int]] = {}
    for delivery in deliveries.of_person(connection, site.id, person.id):
        _note(facts.setdefault(ids[delivery.message], {}), delivery)
    return facts


def _note(known: dict[str, int], delivery: Delivery) -> None:
    for field in ("seen", "clicked", "answered", "dismissed", "goal"):
        at = getattr(delivery, f"{field}_at")
        if at is not None:
            known[field] = min(at, known.get(field, at))
