"""Events without code: a rule about addresses makes a named event of each page view that meets it (of clicks: element_rules).

The event's id is derived from the view's id and the event's name, so that counting what arrives and going back over the timeline may
both write it: whoever comes second finds it there. A rule is never changed, only archived; a changed one is a new rule, and what both
make of a view is one event.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from collector.domain import element_rules, identities
from collector.domain.element_rules import ElementRule
from collector.domain.identities import USER
from collector.domain.names import EVENT, PAGE_VIEW, Names
from collector.domain.sites import Site
from collector.domain.submissions import Event, Submission
from collector.storage.database import Connection, Database
from collector.storage.slices import OVERFLOW, WEEK, with_tables
from collector.values.element_rules import ElementRuleDefinition
from collector.values.ids import RowIds, derived_event_id, event_id_time, new_public_id
from collector.values.page_rules import PageRule, page_matches, parse_page_rule, query_names, rule_json

_KEPT_SECONDS = 1.0
STEP = 500
"""Page views looked at in one step of going back."""


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. Times in ms; `public_id` is what the API knows; not `backfilled_at` yet, it may still be applied to the timeline."""

    id: int
    public_id: str
    event: str
    page: PageRule
    created_at: int
    archived_at: int | None
    backfilled_at: int | None


class ActiveRules(msgspec.Struct, frozen=True):
    """The rules of a site that are not archived, the oldest first: about page views, and about elements that are clicked or submitted."""

    views: tuple[EventRule, ...]
    elements: tuple[ElementRule, ...]
    query_names: frozenset[str]
    """The query parameters that their pages ask for."""


class EventRules:
    """Reads and writes rules; the active ones of each site are kept for a second."""

    def __init__(self, database: Database, row_ids: RowIds) -> None:
        self._database = database
        self._row_ids = row_ids
        self._lock = threading.Lock()
        self._active: dict[int, tuple[float, ActiveRules]] = {}

    def kept(self, site: int) -> ActiveRules | None:
        """Return the active rules where they are in memory and fresh, without asking the database."""
        kept = self._active.get(site)
        return kept[1] if kept is not None and kept[0] > time.monotonic() else None

    def active(self, site: int) -> ActiveRules:
        """Return the active rules."""
        kept = self.kept(site)
        if kept is not None:
            return kept
        with self._database.read() as connection:
            views = tuple(_select(connection, "site = ? AND archived_at IS NULL ORDER BY id", (site,)))
            elements = element_rules.active(connection, site)
        pages = [rule.page for rule in views] + [rule.definition.page for rule in elements]
        found = ActiveRules(views, elements, frozenset(name for page in pages for name in query_names(page)))
        with self._lock:
            self._active[site] = (time.monotonic() + _KEPT_SECONDS, found)
        return found

    def forget(self, site: int) -> None:
        """Drop what is kept of a site, so that a change of this process is seen at once."""
        with self._lock:
            self._active.pop(site, None)

    def create(self, tx: Connection, site: int, event: str, rule: PageRule | ElementRuleDefinition, now_ms: int) -> EventRule | ElementRule:
        """Store a new rule. The event's name was allocated beforehand; whoever asked for it calls `forget` after the commit.

        Raises:
            Problem: 409, the site has as many rules by selector as it may have.
        """
        if isinstance(rule, ElementRuleDefinition):
            return element_rules.create(tx, site, self._row_ids, event, rule, now_ms)
        made = EventRule(
            id=self._row_ids.mint(now_ms),
            public_id=new_public_id(),
            event=event,
            page=rule,
            created_at=now_ms,
            archived_at=None,
            backfilled_at=None,
        )
        text = msgspec.json.encode(rule_json(rule)).decode()
        columns = ("site", "id", "public_id", "event", "page", "created_at")
        tx.insert("event_rules", columns, [(site, made.id, made.public_id, event, text, now_ms)])
        return made


def all_of(connection: Connection, site: int) -> list[EventRule]:
    """Return every rule of a site, the newest first."""
    return _select(connection, "site = ? ORDER BY id DESC", (site,))


def get(connection: Connection, site: int, public_id: str) -> EventRule | None:
    """Return one rule."""
    found = _select(connection, "site = ? AND public_id = ?", (site, public_id))
    return found[0] if found else None


def archive(tx: Connection, site: int, public_id: str, now_ms: int) -> bool:
    """Let a rule make no more events; those it made stay. False where there is none."""
    sql = "UPDATE event_rules SET archived_at = coalesce(archived_at, ?) WHERE site = ? AND public_id = ?"
    return bool(tx.run(sql, (now_ms, site, public_id)))


def derived(rules: Sequence[EventRule], salt: bytes, views: Sequence[Event]) -> list[Event]:
    """Return the events that rules make of these page views: one of each name, however many rules of that name a view meets."""
    made: list[Event] = []
    for view in views if rules else ():
        if view.name != PAGE_VIEW or view.repeat:
            continue
        url = _url(view.page)
        made += [_event(name, salt, view) for name in dict.fromkeys(rule.event for rule in rules if page_matches(rule.page, url))]
    return made


class Step(msgspec.Struct, frozen=True):
    """A step of going back: what to write, and how far it comes. `slice` None: at the end."""

    submissions: list[Submission]
    slice: int | None
    view: bytes | None
    again: bool = False
    """Whether these views were gone over before, so that how far it comes is not to be noted."""


def pending(connection: Connection, site: int) -> list[EventRule]:
    """Return the rules that have not been applied to the whole timeline yet, the oldest first."""
    return _select(connection, "site = ? AND backfilled_at IS NULL AND archived_at IS NULL ORDER BY id", (site,))


def next_step(connection: Connection, site: Site, names: Names, rule: EventRule, oldest: int) -> Step | None:
    """Return the next step of applying a rule to the events since `oldest` (ms), from where the last one ended.

    None where the rule was archived meanwhile.
    """
    position = _position(connection, site, rule)
    if position is None:
        return None
    at, after = position
    remaining = [number for number in with_tables(connection) if at is None or number >= at]
    begins = {at: bytes(after)} if at is not None and after is not None else {}
    return _step(connection, site, names, rule, oldest, [(number, begins.get(number, b"")) for number in remaining])


def note_step(tx: Connection, site: int, rule: EventRule, step: Step, now_ms: int) -> None:
    """Write down how far applying a rule came."""
    tx.run(
        "UPDATE event_rules SET slice = ?, view = ?, backfilled_at = ? WHERE site = ? AND id = ?",
        (step.slice, step.view, now_ms if step.slice is None else None, site, rule.id),
    )


def steps(database: Database, site: Site, names: Names, rule: EventRule, oldest: int, since: int) -> Iterator[Step]:
    """Yield the steps of applying a rule to the timeline; each is to be written and noted before the next is asked for.

    Before the end it goes once more over what is not older than `since` (ms): a view may have been committed behind it, by whoever did not
    know the rule yet. They end early where the rule is archived.
    """
    looked_again = False
    while True:
        with database.read() as connection:
            step = next_step(connection, site, names, rule, oldest)
        if step is None:
            return
        if step.slice is not None:
            yield step
        elif looked_again:
            yield step
            return
        else:
            looked_again = True
            yield from _again(database, site, names, rule, oldest, since)


def _again(database: Database, site: Site, names: Names, rule: EventRule, oldest: int, since: int) -> Iterator[Step]:
    """Yield the steps over views whose ids say that they are not older than `since` (ms), and over the overflow, whose ids say nothing."""
    at, view, first = OVERFLOW, b"", since.to_bytes(6, "big")
    while True:
        with database.read() as connection:
            if _position(connection, site, rule) is None:
                return
            newest = [number for number in with_tables(connection) if number >= at and (number == OVERFLOW or number >= since // WEEK)]
            step = _step(connection, site, names, rule, oldest, [(number, view if number == at else first) for number in newest])
        if step.slice is None or step.view is None:
            return
        yield msgspec.structs.replace(step, again=True)
        at, view = step.slice, step.view


def _position(connection: Connection, site: Site, rule: EventRule) -> tuple[Any, ...] | None:
    """Return how far applying a rule came (slice, view); None where it is archived."""
    return connection.row("SELECT slice, view FROM event_rules WHERE site = ? AND id = ? AND archived_at IS NULL", (site.id, rule.id))


def _step(connection: Connection, site: Site, names: Names, rule: EventRule, oldest: int, remaining: Sequence[tuple[int, bytes]]) -> Step:
    """Return the step over the first views there are in these slices, in each behind an id."""
    view_name = names.number(site.id, EVENT, PAGE_VIEW)
    for number, since in remaining:
        rows = connection.rows(
            f"SELECT id, identity, at, unverified, visit, page FROM events_{number} "
            "WHERE site = ? AND slice = ? AND id > ? AND name = ? ORDER BY id LIMIT ?",
            (site.id, number, since, view_name, STEP),
        )
        if rows:
            views = [one for one in rows if one[2] >= oldest and page_matches(rule.page, _url(one[5]))]
            counted = _counted_formerly(connection, site, rule.event, number, [bytes(one[0]) for one in views])
            new = [one for one in views if bytes(one[0]) not in counted]
            return Step(_submissions(connection, site, rule, new), number, bytes(rows[-1][0]))
    return Step([], None, None)


def _counted_formerly(connection: Connection, site: Site, event: str, number: int, views: Sequence[bytes]) -> set[bytes]:
    """Return those of a slice's views of which an event of this name was made by versions up to schema 10.

    Those derived its id from the rule's and not from the name, so that who goes back would not meet it and count the view again.
    """
    found: set[bytes] = set()
    rules = connection.rows("SELECT id FROM event_rules WHERE site = ? AND event = ? ORDER BY id", (site.id, event)) if views else []
    for (rule,) in rules:
        key = rule.to_bytes(8, "big")
        former = {derived_event_id(site.salt, event_id_time(view), b"event-rule", key, view): view for view in views}
        among, parameters = connection.among(list(former))
        sql = f"SELECT id FROM events_{number} WHERE site = ? AND slice = ? AND id {among}"
        found |= {former[bytes(row[0])] for row in connection.rows(sql, (site.id, number, *parameters))}
    return found


def _submissions(connection: Connection, site: Site, rule: EventRule, rows: Sequence[tuple[Any, ...]]) -> list[Submission]:
    """Return the events a rule makes of stored views that meet it, as submissions of their owners."""
    owners = identities.by_ids(connection, site.id, {row[1] for row in rows})
    found: dict[tuple[int, bool], Submission] = {}
    for view_id, identity, at, unverified, visit, page in rows:
        owner = owners.get(identity)
        if owner is None:
            continue
        view = Event(bytes(view_id), PAGE_VIEW, at, None if visit is None else bytes(visit), page, None)
        made = found.get((identity, bool(unverified)))
        if made is None:
            verified = owner.kind == USER and not unverified
            made = Submission(owner=(owner.kind, owner.value), verified=verified, present=False, create=False, by="event_rule")
            found[(identity, bool(unverified))] = made
        made.events.append(_event(rule.event, site.salt, view))
    return list(found.values())


def _event(name: str, salt: bytes, view: Event) -> Event:
    number = derived_event_id(salt, event_id_time(view.id), "event-rule", name, view.id)
    return Event(number, name, view.at, view.visit, view.page, None)


def _url(page: str | None) -> str:
    return str(msgspec.json.decode(page).get("url", "")) if page else ""


def _select(connection: Connection, where: str, parameters: tuple[Any, ...]) -> list[EventRule]:
    return [_rule(row) for row in connection.rows(f"SELECT {_COLUMNS} FROM event_rules WHERE {where}", parameters)]


def _rule(row: tuple[Any, ...]) -> EventRule:
    number, public_id, event, page, created, archived, backfilled = row
    return EventRule(
        id=number,
        public_id=public_id,
        event=event,
        page=parse_page_rule(msgspec.json.decode(page)),
        created_at=created,
        archived_at=archived,
        backfilled_at=backfilled,
    )


_COLUMNS = "id, public_id, event, page, created_at, archived_at, backfilled_at"
