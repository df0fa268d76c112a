"""Who sends what: posts of one event or of fifty by leads that the collector knows, and the same as rows for the bare loop.

People arrive in visits. With one event a post, TOGETHER visitors are on the site at once and take turns; each sends a dozen events,
then another one comes. With more events a post, each post is one visitor's whole visit. Who comes follows the population's power law.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from collector.storage.slices import WEEK
from tests.benchmarks.content import METADATA, NAMES, PAGES, Draws, compact, uuid7
from tests.benchmarks.population import FIRST_NAME, Population

TOGETHER = 200
VISIT_EVENTS = 12
ORIGIN = "https://www.example.com"
ID, SITE = "@ID@", "@SITE@"
"""What stands in a body where the load generator puts a new event id, and the site's key."""


@dataclass(frozen=True)
class Event:
    """One event of a lead; name and page by their places in NAMES and PAGES, `age` ms before it is sent."""

    name: int
    page: int
    age: int


@dataclass(frozen=True)
class Post:
    """What one request brings."""

    lead: int
    visit: bytes
    events: tuple[Event, ...]


def posts(population: Population, events_each: int, count: int, seed: str = "posts") -> list[Post]:
    """Return that many posts of so many events each, in the order of sending."""
    random = Random(f"{population.size.seed}/{seed}")
    made = _alone(population, random) if events_each == 1 else _whole_visits(population, random, events_each)
    return list(islice(made, count))


def _whole_visits(population: Population, random: Random, events_each: int) -> Iterator[Post]:
    draws = Draws(random)
    while True:
        events = tuple(_events(draws, random, events_each))
        yield Post(population.visiting_lead(random), _visit(random), events)


def _alone(population: Population, random: Random) -> Iterator[Post]:
    draws = Draws(random)

    def visit(length: int) -> Iterator[Post]:
        lead, number = population.visiting_lead(random), _visit(random)
        for event in _events(draws, random, length):
            yield Post(lead, number, (Event(event.name, event.page, 0),))

    # The first ones are at different places of their visits, so that newcomers arrive evenly.
    here = [visit(1 + place % VISIT_EVENTS) for place in range(TOGETHER)]
    while True:
        for place, visitor in enumerate(here):
            post = next(visitor, None)
            if post is None:
                here[place] = visit(VISIT_EVENTS)
                post = next(here[place])
            yield post


def _events(draws: Draws, random: Random, length: int) -> Iterator[Event]:
    place = random.getrandbits(16)
    page, name, age = draws.pages[place], 0, sum(draws.gaps[place - length : place] if place >= length else ())
    for step in range(place - length, place):
        yield Event(name, page, max(age, 0))
        age -= draws.gaps[step]
        name = draws.names[step]
        if name == 0:
            page = draws.pages[step]


def _visit(random: Random) -> bytes:
    return uuid7(time.time_ns() // 1_000_000, random.getrandbits(74))


def write_bodies(path: Path, population: Population, sent: Iterable[Post]) -> None:
    """Write the bodies of posts as the tracker sends them, one a line. Their clock stands still: the collector corrects it."""
    now = time.time_ns() // 1_000_000
    pages = [{"referrer": "", **json.loads(stored)} for stored, _ in PAGES]
    metadata = [json.loads(text) for text in METADATA]
    with path.open("w", encoding="utf-8") as file:
        for post in sent:
            lead = ".".join(population.lead(post.lead))
            visit = uuid_text(post.visit)
            items = []
            for event in post.events:
                item = {"type": "event", "id": ID, "name": NAMES[event.name], "at": now - event.age, "visit": visit, "view": visit}
                items.append({**item, "page": pages[event.page], **({"metadata": metadata[event.name]} if event.name else {})})
            file.write(compact({"v": 1, "site": SITE, "lead": lead, "sent_at": now, "items": items}) + "\n")


@dataclass(frozen=True)
class Batch:
    """Rows for one transaction of the bare loop: events by slice, and what they add to the totals, in the order of its key."""

    events: dict[int, list[tuple[Any, ...]]]
    totals: list[tuple[Any, ...]]
    count: int


def batches(population: Population, site: int, sent: Sequence[Post], events_each: int) -> list[Batch]:
    """Return the rows that the collector would write for these posts, as transactions of so many events."""
    made: list[Batch] = []
    random = Random()
    group: list[tuple[int, int, Event, bytes]] = []
    row_ids: dict[int, tuple[int, int]] = {}
    for post in sent:
        if post.lead not in row_ids:
            row_ids[post.lead] = population.row_id(post.lead), population.row_id(population.principal(post.lead))
        for event in post.events:
            group.append((*row_ids[post.lead], event, post.visit))
            if len(group) == events_each:
                made.append(_batch(site, group, random))
                group = []
    return made


def _batch(site: int, group: list[tuple[int, int, Event, bytes]], random: Random) -> Batch:
    now = time.time_ns() // 1_000_000
    events: dict[int, list[tuple[Any, ...]]] = {}
    own: dict[tuple[int, int], list[int]] = {}
    effective: dict[tuple[int, int], list[int]] = {}
    for identity, person, event, visit in group:
        number, at = FIRST_NAME + event.name, now - event.age
        page, viewed = PAGES[event.page]
        metadata = METADATA[event.name] if event.name else viewed
        row = (site, now // WEEK, uuid7(now, random.getrandbits(74)), identity, number, at, 0, visit, page, metadata)
        events.setdefault(now // WEEK, []).append(row)
        for totals, key in ((own, (number, identity)), (effective, (number, person))):
            count, last, first = totals.setdefault(key, [0, at, at])
            totals[key] = [count + 1, max(last, at), min(first, at)]
    rows = []
    for number, identity in sorted(own.keys() | effective.keys()):
        rows.append(
            (
                site, number, identity, *effective.get((number, identity), (None, None, None)),
                *own.get((number, identity), (0, None, None)),
            )
        )  # fmt: skip
    return Batch(events, rows, len(group))


def uuid_text(id16: bytes) -> str:
    """Return the canonical 36 characters."""
    text = id16.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
