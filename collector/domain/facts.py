"""What is known about one person, loaded as far as the queries at hand ask for it."""

from itertools import islice

from collector.domain import deliveries, people
from collector.domain.audiences import NEVER, PersonFacts, Total, measure_over
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
    attributes = people.values(connection, site.id, names, person, now_ms) if needs.attributes or everything else {}
    attributes["page_view_count"] = counted.get(PAGE_VIEW, NEVER).count
    return PersonFacts(
        attributes=attributes,
        totals=counted,
        measures=_measures(connection, site, names, person, needs, now_ms, retention_ms),
        messages=_messages(connection, site, person) if needs.messages else {},
    )


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
            measured[measure.key] = people.measured(connection, site.id, names, person.id, oldest, measure.event)
    for event, measures in read.items():
        spans = [retention_ms if one.within_days is None else one.within_days * DAY for one in measures]
        oldest = now_ms - min(max(spans), retention_ms)
        measured |= dict.fromkeys((one.key for one in measures), NEVER)
        rows = people.happened(connection, site.id, names, person.id, oldest, event)
        while page := list(islice(rows, people.PAGE)):
            for measure in measures:
                measured[measure.key] = _together(measured[measure.key], measure_over(page, measure, now_ms, site.zone))
    return measured


def _together(one: Total, other: Total) -> Total:
    """Return the total of two parts."""
    if one.first_ms is None or one.last_ms is None or other.first_ms is None or other.last_ms is None:
        return one if other.first_ms is None else other
    return Total(one.count + other.count, min(one.first_ms, other.first_ms), max(one.last_ms, other.last_ms))


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
