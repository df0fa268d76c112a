"""Fills an installation with the people of a grown site, the same from the same seed: for benchmarks, and for anything else that
needs a full database.

    python -m tests.benchmarks.population --database-url sqlite:////var/tmp/full.db [--scale 0.1] [--seed 1]

The database has to be made by `leadlight init` first and to hold no people yet. Rows go straight into the tables, in bulk, so that
20 million events take minutes; what they add up to keeps the product's laws, and `leadlight doctor` may recount them:

- effective = fold of own: a person's half of totals and attributes stands on the principal's row and is the sum, the latest and the
  earliest of what its identities did alone; the person's half of an absorbed lead is NULL;
- own = base + count over the slices: what identities did in the last DAYS days stands in the weekly slices, older history in base_*;
- visits begin and end with their first and last event, activity is the last event's minute, every merge has its line in the journal.

The shape is a real site's. Of 20 people 16 are anonymous visitors with one lead each, and 4 signed up: three brought one lead, one
brought two, so that a million people are 1.25 million identities. Who visits follows a power law (a person's part of the visits falls
with the square root of its rank). A visit is about a dozen events within minutes, half of them page views, the rest of NAMES, likewise
unequal. A user's events before it signed up belong to its leads, later ones to the user.

Leads can be sent for: `Population.lead(index)` returns the id and the secret that a browser would hold.
"""

import argparse
import base64
import hashlib
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from collector.domain.attributes import TRUSTED
from collector.domain.identities import LEAD, USER
from collector.domain.names import ATTRIBUTE, EVENT, STANDARD_ATTRIBUTES
from collector.domain.secrets import digest
from collector.storage.database import Database
from collector.storage.slices import EVENT_COLUMNS, WEEK, Slices
from collector.values.clock import DAY, MINUTE
from collector.values.text import fold
from tests.benchmarks.bulk import Bulk, open_bulk
from tests.benchmarks.content import METADATA, NAMES, PAGES, Draws, uuid7

DAYS = 89
"""How far back the slices reach: within a retention of 90 days for the whole day after."""
BEFORE = 270 * DAY
"""How far the history before that reaches, which stands in base_* alone (ms): not so far that silent leads would be deleted soon."""
RETENTION_DAYS = 120
"""What to serve such a database with, so that it can be kept for some weeks before anything of it is pruned."""

NAME_COLUMNS = ("site", "id", "kind", "text", "created_at", "browser")
IDENTITY_COLUMNS = (
    "site", "id", "kind", "value", "folded", "secret_hash", "public_id", "principal_id", "created_at", "active_at", "own_active_at",
    "verified", "visit_count", "visit_started_at", "visit_ended_at", "previous_visit_ended_at",
)  # fmt: skip
MERGE_COLUMNS = ("site", "id", "lead", "target", "outcome", "at", "by_whom", "reason", "verified", "blocked")
_PLAN = "custom_attributes.plan"
FIRST_NAME = 1_000
"""The number of the first of NAMES; the others follow."""
_ROW_EPOCH = 1_700_000_000_000  # as collector.values.ids mints them: milliseconds since then, and 20 bits
_LEADS, _USERS, _BLOCK = 21, 4, 20  # leads and users among 20 people
_ANONYMOUS = 16


@dataclass(frozen=True)
class Size:
    """How much there is. `people` is rounded to whole blocks of 20; `until` is the end of the history in ms."""

    people: int
    events: int
    totals: int
    until: int
    seed: int = 1

    @classmethod
    def of(cls, scale: float, until: int | None = None, seed: int = 1) -> "Size":
        """Return a part of the full size: a million people, 20 million events, 10 million totals."""
        end = time.time_ns() // 1_000_000 // DAY * DAY if until is None else until
        people = max(round(1_000_000 * scale / _BLOCK), 1) * _BLOCK
        return cls(people, round(20_000_000 * scale), round(10_000_000 * scale), end, seed)


class Population:
    """The people of one size. Identities are numbered from 0: leads first, in order of their making, then users."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.blocks = size.people // _BLOCK
        self.leads = self.blocks * _LEADS
        self.users = self.blocks * _USERS
        self.identities = self.leads + self.users
        self.start = size.until - DAYS * DAY
        self._ranked: list[int] | None = None

    def lead(self, index: int) -> tuple[str, str]:
        """Return a lead's id and secret, as the browser keeps them."""
        drawn = hashlib.blake2b(f"{self.size.seed}/lead/{index}".encode(), digest_size=32).digest()
        return _url_text(drawn[:16]), _url_text(drawn[16:])

    def row_id(self, index: int) -> int:
        """Return the row id of an identity."""
        return (self.made_at(index) - _ROW_EPOCH) << 20 | index & 0xFFFFF

    def made_at(self, index: int) -> int:
        """Return when an identity was made (ms): leads in the first half of the history, users, who sign up later, in the second."""
        began, middle = self.start - BEFORE, self.start - BEFORE // 2
        if index < self.leads:
            return began + (middle - began) * index // self.leads
        return middle + (self.size.until - middle) * (index - self.leads) // self.users

    def principal(self, index: int) -> int:
        """Return the identity that is the person of this one: itself, or for an absorbed lead its user."""
        block, place = divmod(index, _LEADS)
        if index >= self.leads or place < _ANONYMOUS:
            return index
        return self.leads + block * _USERS + min(place - _ANONYMOUS, _USERS - 1)

    def leads_of(self, user: int) -> range:
        """Return the leads that a user absorbed."""
        block, place = divmod(user - self.leads, _USERS)
        first = block * _LEADS + _ANONYMOUS + place
        return range(first, first + (2 if place == _USERS - 1 else 1))

    def public_id(self, index: int) -> str:
        """Return the contact id of an identity."""
        return hashlib.blake2b(f"{self.size.seed}/public/{index}".encode(), digest_size=12).hexdigest()

    def visitor(self, random: Random) -> int:
        """Draw who comes next, by the power law, and return its person: an anonymous lead or a user."""
        if self._ranked is None:
            persons = [index for index in range(self.leads) if index % _LEADS < _ANONYMOUS]
            persons += range(self.leads, self.identities)
            Random(f"{self.size.seed}/ranks").shuffle(persons)
            self._ranked = persons
        return self._ranked[int(len(self._ranked) * random.random() ** 2)]

    def visiting_lead(self, random: Random) -> int:
        """Draw who comes next and return one of its leads, as an anonymous browser of this person sends it."""
        person = self.visitor(random)
        return person if person < self.leads else random.choice(self.leads_of(person))

    def identity_row(self, site: int, index: int, own: int | None = None, whole: int | None = None, *visits: int | None) -> tuple[Any, ...]:
        """Return the row of an identity as IDENTITY_COLUMNS: when it was last active (`own`, ms), its person (`whole`), visits."""
        secret = None
        if index < self.leads:
            kind, (value, text) = LEAD, self.lead(index)
            secret = digest(text)
        else:
            kind, value = USER, f"user-{index - self.leads}"
        principal = self.row_id(self.principal(index))
        made, verified = self.made_at(index), int(kind == USER)
        known = (secret, self.public_id(index), principal, made, whole, own, verified)
        return site, self.row_id(index), kind, value, fold(value), *known, *(visits or (0, None, None, None))

    def merge_row(self, site: int, lead: int) -> tuple[Any, ...]:
        """Return the line in the journal for an absorbed lead, as MERGE_COLUMNS."""
        user = self.principal(lead)
        at = self.made_at(user)
        number = (at - _ROW_EPOCH) << 20 | lead & 0xFFFFF
        return site, number, self.row_id(lead), self.row_id(user), "merged", at, "browser", "identify", 1, 0

    def fill(self, database_url: str, say: Callable[[str], None] = lambda _: None) -> None:
        """Write everything into the only site of a database that `leadlight init` has made.

        Raises:
            ValueError: there is not exactly one site, or it has people already.
        """
        site = self._prepared(database_url)
        with open_bulk(database_url) as bulk:
            _Filling(self, bulk, site, say).run()

    def introduce(self, database_url: str, leads: Iterable[int]) -> None:
        """Write only these leads and their persons, who did nothing yet, and the names: what an empty site is compared with.

        Raises:
            ValueError: as `fill`.
        """
        site = self._prepared(database_url)
        known = sorted({one for lead in leads for one in (lead, self.principal(lead))})
        with open_bulk(database_url) as bulk:
            bulk.append("names", NAME_COLUMNS, self.name_rows(site))
            bulk.append("identities", IDENTITY_COLUMNS, [self.identity_row(site, index) for index in known])
            absorbed = [self.merge_row(site, index) for index in known if self.principal(index) != index]
            bulk.append("merges", MERGE_COLUMNS, sorted(absorbed))
            bulk.finish()

    def name_rows(self, site: int) -> list[tuple[Any, ...]]:
        """Return the rows of the names, as NAME_COLUMNS."""
        made = self.start - BEFORE
        texts = [(EVENT, text) for text in NAMES] + [(ATTRIBUTE, _PLAN)]
        return [(site, FIRST_NAME + number, kind, text, made, 0) for number, (kind, text) in enumerate(texts)]

    def _prepared(self, database_url: str) -> int:
        """Make the slices and return the site."""
        database = Database(database_url)
        try:
            with database.read() as connection:
                sites = [row[0] for row in connection.rows("SELECT id FROM sites")]
                if len(sites) != 1 or connection.row("SELECT 1 FROM identities") or connection.row("SELECT 1 FROM names"):
                    raise ValueError("expected a database with one site and without people")
            Slices(database, DAYS * DAY).ensure(self.size.until)
        finally:
            database.close()
        return int(sites[0])


Visit = tuple[int, int, bytes]
"""End to the minute and start (ms), and the 16 bytes of its number."""


class _Filling:
    """One run. `counts`, `firsts` and `lasts` hold a cell for each identity and name: what stands in the slices."""

    def __init__(self, population: Population, bulk: Bulk, site: int, say: Callable[[str], None]) -> None:
        self.people = population
        self.bulk = bulk
        self.site = site
        self.say = say
        self.random = Random(f"{population.size.seed}/events")
        cells = population.identities * len(NAMES)
        self.counts = array("i", [0]) * cells
        self.firsts = array("q", [0]) * cells
        self.lasts = array("q", [0]) * cells
        self.active = array("q", [0]) * population.identities
        self.visits: dict[int, tuple[int, Visit, int | None]] = {}
        self.row_ids = [population.row_id(index) for index in range(population.identities)]

    def run(self) -> None:
        self.bulk.append("names", NAME_COLUMNS, self.people.name_rows(self.site))
        steps = (self.add_events, self.add_totals, self.add_identities, self.add_attributes, self.bulk.finish)
        for step in steps:
            began = time.monotonic()
            told = step()
            self.say(f"{step.__name__.replace('_', ' ')}: {told or 'done'} in {time.monotonic() - began:.0f} s")

    def add_events(self) -> str:
        """Write the slices, day by day in the order of ids, and the visits."""
        visits_columns = ("site", "identity", "visit", "started_at", "ended_at", "context")
        total, visits_total = self.people.size.events, 0
        draws = Draws(self.random)
        for day in range(DAYS):
            begin = self.people.start + day * DAY
            events: dict[int, list[tuple[Any, ...]]] = {}
            visits: list[tuple[Any, ...]] = []
            left = total * (day + 1) // DAYS - total * day // DAYS
            while left > 0:
                left -= self.add_visit(begin, left, draws, events, visits)
            for week, rows in events.items():
                rows.sort()
                self.bulk.append(f"events_{week}", EVENT_COLUMNS, rows)
            visits.sort()
            visits_total += len(visits)
            self.bulk.append("visits", visits_columns, visits)
        return f"{total:,} events, {visits_total:,} visits"

    def add_visit(
        self, begin: int, most: int, draws: "Draws", events: dict[int, list[tuple[Any, ...]]], visits: list[tuple[Any, ...]]
    ) -> int:
        """Make one visit on the day that begins then, and count it; return its number of events."""
        random, site, bits = self.random, self.site, self.random.getrandbits
        person = self.people.visitor(random)
        at = begin + int(random.random() * (DAY - 4 * 60 * MINUTE))
        index = person
        if person >= self.people.leads and self.people.made_at(person) > at:
            index = random.choice(self.people.leads_of(person))
        identity, cells = self.row_ids[index], index * len(NAMES)
        visit = uuid7(at, bits(74))
        names, gaps, pages = draws.names, draws.gaps, draws.pages
        place = bits(16)
        length = min(draws.lengths[place], most)
        page, viewed = PAGES[pages[place]]
        started, context = at, page
        counts, firsts, lasts = self.counts, self.firsts, self.lasts
        week, name = at // WEEK, 0
        rows = events.setdefault(week, [])
        for step in range(place - length, place):
            if at // WEEK != week:
                week = at // WEEK
                rows = events.setdefault(week, [])
            metadata = viewed if name == 0 else METADATA[name]
            rows.append((site, week, uuid7(at, bits(74)), identity, FIRST_NAME + name, at, 0, visit, page, metadata))
            cell = cells + name
            if counts[cell] == 0:
                firsts[cell] = lasts[cell] = at
            elif at > lasts[cell]:
                lasts[cell] = at
            elif at < firsts[cell]:
                firsts[cell] = at
            counts[cell] += 1
            ended = at
            at += gaps[step]
            name = names[step]
            if name == 0:
                page, viewed = PAGES[pages[step]]
        self.fold_visit(self.people.principal(index), (ended // MINUTE * MINUTE, started, visit))
        visits.append((site, identity, visit, started, ended // MINUTE * MINUTE, context))
        return length

    def fold_visit(self, person: int, new: Visit) -> None:
        """Add a visit to those of its person: their number, the latest, the end of the one before."""
        count, latest, before = self.visits.get(person, (0, new, None))
        if count and new > latest:
            latest, before = new, latest[0]
        elif count:
            before = new[0] if before is None else max(before, new[0])
        self.visits[person] = (count + 1, latest, before)

    def add_totals(self) -> str:
        """Write the totals, name by name: what stands in the slices, history before them, and the fold over each person."""
        people, random = self.people, Random(f"{self.people.size.seed}/history").random
        width, first_user, site = len(NAMES), self.people.leads, self.site
        reach = self.reach()
        columns = (
            "site", "name", "identity", "count", "last", "first", "own_count", "own_last", "own_first",
            "base_count", "base_last", "base_first",
        )  # fmt: skip
        written = 0
        for name in range(width):
            rows: list[tuple[Any, ...]] = []
            folded: dict[int, tuple[int, int, int]] = {}
            number = FIRST_NAME + name
            for index in range(people.identities):
                cell = index * width + name
                count, last, first = self.counts[cell], self.lasts[cell], self.firsts[cell]
                span = people.start - people.made_at(index)
                base: tuple[int, int | None, int | None] = (0, None, None)
                if span > 0 and random() < (0.3 if count else reach[name]):
                    latest = people.start - 1 - int(random() * random() * span)
                    base = (1 + int(8 * random() * random()), latest, latest - int(random() * (latest - people.start + span)))
                    if base[0] == 1:
                        base = (1, latest, latest)
                own = _together((count, last, first) if count else None, base if base[0] else None)
                if own and own[1] > self.active[index]:
                    self.active[index] = own[1]
                principal = people.principal(index)
                if principal != index:
                    if own:
                        folded[principal] = _together(folded.get(principal), own) or own
                        rows.append((site, number, self.row_ids[index], None, None, None, *own, *base))
                    continue
                person = _together(folded.get(index), own) if index >= first_user else own
                if person:
                    rows.append((site, number, self.row_ids[index], *person, *(own or (0, None, None)), *base))
                if len(rows) >= 100_000:
                    self.bulk.append("totals", columns, rows)
                    written += len(rows)
                    rows = []
            self.bulk.append("totals", columns, rows)
            written += len(rows)
        return f"{written:,} totals"

    def reach(self) -> list[float]:
        """Return for each name how many of the identities that did not do it lately shall have done it before.

        Common names reach nearly everybody, rare ones few; together the rows come to the number of totals that was asked for.
        """
        identities, width = self.people.identities, len(NAMES)
        old = sum(self.people.made_at(index) < self.people.start for index in range(identities)) / identities
        have = [identities - self.counts[name::width].count(0) for name in range(width)]
        free = [(identities - some) * old for some in have]  # where history may be added: whoever is new has none
        low, high = 0.0, float(width)
        for _ in range(50):
            scale = (low + high) / 2
            more = [min(most, max(0.0, scale * identities / (1 + 0.25 * name) - have[name])) for name, most in enumerate(free)]
            low, high = (scale, high) if sum(have) + sum(more) < self.people.size.totals else (low, scale)
        return [some / max(most, 1) for some, most in zip(more, free, strict=True)]

    def add_identities(self) -> str:
        """Write the identities, with when they were last active, and the journal of merges."""
        people = self.people
        minutes = [at // MINUTE * MINUTE for at in self.active]
        rows: list[tuple[Any, ...]] = []
        merges: list[tuple[Any, ...]] = []
        for index in range(people.identities):
            own = whole = minutes[index]
            if index >= people.leads:
                whole = max(own, *(minutes[one] for one in people.leads_of(index)))
            count, latest, before = self.visits.get(index, (0, (None, None), None))
            rows.append(people.identity_row(self.site, index, own or None, whole or None, count, latest[1], latest[0], before))
            if people.principal(index) != index:
                merges.append(people.merge_row(self.site, index))
            if len(rows) >= 100_000:
                self.bulk.append("identities", IDENTITY_COLUMNS, rows)
                rows = []
        self.bulk.append("identities", IDENTITY_COLUMNS, rows)
        merges.sort()
        self.bulk.append("merges", MERGE_COLUMNS, merges)
        return f"{people.identities:,} identities, {len(merges):,} merges"

    def add_attributes(self) -> str:
        """Write what is known of users: name, email and plan."""
        columns = (
            "site", "attr", "identity", "value", "num", "folded", "set_at", "source", "own_value", "own_at", "own_source",
        )  # fmt: skip
        known: tuple[tuple[int, Callable[[int], str]], ...] = (
            (STANDARD_ATTRIBUTES["email"], lambda user: f"user-{user}@example.com"),
            (STANDARD_ATTRIBUTES["name"], lambda user: f"{_FIRST[user % len(_FIRST)]} {_LAST[user // 7 % len(_LAST)]}"),
            (FIRST_NAME + len(NAMES), lambda user: ("free", "free", "free", "team", "team", "company")[user * 7 % 6]),
        )
        written = 0
        for attr, value_of in known:
            rows = []
            for user in range(self.people.users):
                index = self.people.leads + user
                value, at = value_of(user), self.people.made_at(index)
                text = json.dumps(value)
                rows.append((self.site, attr, self.row_ids[index], text, None, fold(value), at, TRUSTED, text, at, TRUSTED))
            self.bulk.append("attributes", columns, rows)
            written += len(rows)
        return f"{written:,} attributes"


def _url_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _together(one: tuple[int, int, int] | None, other: Any) -> tuple[int, int, int] | None:
    """Return two rows of count, last and first as one."""
    if one is None or not other:
        return one or other
    return one[0] + other[0], max(one[1], other[1]), min(one[2], other[2])


_FIRST = ("Ada", "Björn", "Chiara", "Dana", "Emeka", "Fatima", "Goran", "Hana", "Ines", "Jun", "Kofi")
_LAST = ("Abara", "Berg", "Costa", "Dvořák", "Evans", "Fischer", "Greco", "Hansen", "Ito", "Jones", "Kowalski", "Lund", "Moreau")


def main() -> None:
    """Fill a database from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--database-url", required=True)
    options.add_argument("--scale", type=float, default=1.0, help="part of a million people, 20 million events and 10 million totals")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--until", type=int, default=None, help="end of the history in ms since 1970; default: the last midnight UTC")
    given = options.parse_args()
    try:
        Population(Size.of(given.scale, given.until, given.seed)).fill(given.database_url, lambda text: print(text, flush=True))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
