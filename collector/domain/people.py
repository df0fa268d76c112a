"""Reading people: who they are, what they did, their timeline. A person is its principal identity plus those it absorbed.

Every read of the timeline is bounded by `oldest`, the present less the retention, so that what is shown never depends on when
pruning ran.
"""

import json
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain import attributes, identities, visits
from collector.domain.audiences import Total
from collector.domain.identities import EMAIL, LEAD, USER, Identity
from collector.domain.names import EVENT, STANDARD_ATTRIBUTES, Names
from collector.storage.database import Connection
from collector.storage.questions import Question
from collector.values.ids import event_id_text, event_id_time
from collector.values.text import fold

PAGE = 1_000
"""Events in memory at once."""
_CURSOR = re.compile("([0-9]{1,15})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class NoPerson(LookupError):
    """There is no such person: nobody ever was, or it became part of another, or is gone."""


class Person(msgspec.Struct, kw_only=True):
    """One person of a site. Times in ms."""

    id: int
    """The principal identity's row id; never shown."""
    contact_id: str
    role: str
    """`user` or `lead`."""
    user_id: str | None
    created_at: int
    active_at: int | None
    verified: bool
    unverified: bool
    """The user id was asserted by an unverified browser and never verified."""
    identities: list[Identity]

    @property
    def lead_ids(self) -> list[int]:
        """Row ids of the leads of this person."""
        return [identity.id for identity in self.identities if identity.kind == LEAD]


class TimelineEvent(msgspec.Struct, frozen=True):
    """One event of the timeline; `lead` says that it was sent anonymously, `at` and `tracked_at` in ms.

    `contact_id` is that of the identity that sent it, whomever it belongs to now.
    """

    id: str
    contact_id: str
    name: str
    at: int
    metadata: dict[str, Any]
    page: dict[str, Any]
    lead: bool
    unverified: bool
    tracked_at: int

    @property
    def cursor(self) -> str:
        """What `behind` takes, to go on after this event."""
        return f"{self.at}-{self.id}"


def behind(cursor: str) -> tuple[int, bytes] | None:
    """Return time (ms) and id that a cursor names; None where it is none."""
    match = _CURSOR.fullmatch(cursor)
    return None if match is None else (int(match[1]), uuid.UUID(match[2]).bytes)


def by_contact_id(connection: Connection, site: int, contact_id: str) -> tuple[Person | None, str | None]:
    """Return the person of a contact id; for a merged lead None and the contact id it became part of.

    Raises:
        NoPerson: who that is was deleted just now.
    """
    identity = identities.by_public_id(connection, site, contact_id)
    if identity is None:
        return None, None
    if identity.absorbed:
        principal = identities.by_ids(connection, site, [identity.principal_id]).get(identity.principal_id)
        if principal is None:
            raise NoPerson(contact_id)
        return None, principal.public_id
    return load(connection, site, identity.id), None


def by_key(connection: Connection, site: int, key: identities.Key) -> Person | None:
    """Return the person an identity belongs to."""
    found = identities.find(connection, site, [key]).get(key)
    return None if found is None else load(connection, site, found.principal_id)


def by_email(connection: Connection, site: int, email: str) -> Person | None:
    """Return the user with this email: the identity of that email, else the user seen last that has it as attribute by a trusted source.

    What a browser says of itself does not count: whoever types somebody's email must not come to own what is sent for it.
    """
    folded = fold(email)
    known = by_key(connection, site, (EMAIL, folded))
    if known is not None:
        return known
    sql = (
        "SELECT a.identity FROM attributes a JOIN identities i ON i.site = a.site AND i.id = a.identity "
        f"WHERE a.site = ? AND a.attr = 1 AND a.folded = ? AND a.source = {attributes.TRUSTED} "
        "AND i.principal_id = i.id AND i.kind <> 'lead' "
        "ORDER BY coalesce(i.active_at, i.created_at) DESC, i.id LIMIT 1"
    )
    row = connection.row(sql, (site, folded))
    return None if row is None else load(connection, site, row[0])


def load(connection: Connection, site: int, principal_id: int) -> Person:
    """Return the person with this principal identity.

    Raises:
        NoPerson: there is none (any more).
    """
    members = identities.of_person(connection, site, principal_id)
    if not members or members[0].id != principal_id:
        raise NoPerson(principal_id)
    return of_identities(members)


def of_identities(members: list[Identity]) -> Person:
    """Return the person that identities make up, of which the first is the principal."""
    principal = members[0]
    users = [one for one in members if one.kind == USER]
    return Person(
        id=principal.id,
        contact_id=principal.public_id,
        role="lead" if principal.kind == LEAD else "user",
        user_id=users[0].value if users else None,
        created_at=min(one.created_at for one in members),
        active_at=principal.active_at,
        verified=any(one.verified for one in users),
        unverified=any(one.unverified_at is not None and not one.verified for one in users),
        identities=members,
    )


def totals(connection: Connection, site: int, names: Names, person: int) -> dict[str, Total]:
    """Return the person's event totals by name."""
    rows = connection.asked(question_of_totals(site, person))
    texts = names.texts(connection, site, [row[0] for row in rows])
    return {text: Total(count, first, last) for text, (_, count, first, last) in zip(texts, rows, strict=True)}


def question_of_totals(site: int, person: int) -> Question:
    """Return what `totals` asks."""
    return Question("SELECT name, count, first, last FROM totals WHERE site = ? AND identity = ? AND count > 0", (site, person))


def _members(person: Person) -> list[int]:
    """Return the row ids of a person's identities.

    Events are asked for by them and not by a subquery: SQLite hands only values down into the slices, and reads all of the site's
    events for anything else.
    """
    return [one.id for one in person.identities]


def measured(
    connection: Connection, site: int, names: Names, person: Person, oldest: int, events: Collection[str], newest: int | None = None
) -> dict[str, Total]:
    """Return count, first and last of each of these events over the timeline since `oldest`, up to `newest` where that is given (both
    included, ms).
    """
    totals, numbers = dict.fromkeys(events, Total()), names.events(connection, site, events)
    if numbers:
        where, parameters = _of_names(connection, site, person, oldest, numbers)
        until, bound = ("", ()) if newest is None else (" AND at <= ?", (newest,))
        sql = f"SELECT name, count(*), min(at), max(at) FROM events WHERE {where}{until} GROUP BY name"
        totals |= {numbers[name]: Total(*total) for name, *total in connection.rows(sql, (*parameters, *bound))}
    return totals


def last_kept(connection: Connection, site: int, names: Names, person: Person, events: Collection[str], until: int) -> dict[str, int]:
    """Return when each of these events was last done (ms) of what stands in the totals alone: pruned from the timeline, or imported.

    Of what was imported only sums are known: where its last is after `until`, nothing.
    """
    numbers = names.events(connection, site, events)
    if not numbers:
        return {}
    of_person, members = connection.among(_members(person))
    of_names, known = connection.among(list(numbers))
    sql = (
        "SELECT name, max(base_last), max(CASE WHEN imported_last <= ? THEN imported_last END) FROM totals "
        f"WHERE site = ? AND identity {of_person} AND name {of_names} GROUP BY name"
    )
    found = connection.rows(sql, (until, site, *members, *known))
    return {numbers[name]: max(pruned or 0, imported or 0) for name, pruned, imported in found}


def happened(
    connection: Connection, site: int, names: Names, person: Person, oldest: int, events: Collection[str]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield name, time (ms) and metadata of each of these events since `oldest`, in no order: no more than conditions on metadata need.

    Somebody may have done them a million times, so that no more than PAGE of them are in memory at once: all of them are asked for
    together, where these are too many each name by itself, and what was done so often identity by identity.
    """
    numbers = names.events(connection, site, events)
    if not numbers:
        return
    where, parameters = _of_names(connection, site, person, oldest, numbers)
    rows = connection.rows(f"SELECT name, at, metadata FROM events WHERE {where} LIMIT ?", (*parameters, PAGE + 1))
    if len(rows) <= PAGE:  # nearly always
        yield from ((numbers[name], at, _read(metadata)) for name, at, metadata in rows)
        return
    del rows
    if len(numbers) > 1:
        for event in numbers.values():
            yield from happened(connection, site, names, person, oldest, [event])
        return
    ((number, event),) = numbers.items()
    for identity in _members(person):
        yield from ((event, at, metadata) for at, metadata in _happened_to(connection, site, identity, oldest, number))


def _read(metadata: str | None) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(metadata) if metadata else {}
    return found


def _of_names(connection: Connection, site: int, person: Person, oldest: int, numbers: Mapping[int, str]) -> tuple[str, Sequence[Any]]:
    """Return the condition that an event is one of a person's, since `oldest` (ms), with one of these names; and its parameters."""
    of_person, members = connection.among(_members(person))
    of_names, known = connection.among(list(numbers))
    return f"site = ? AND identity {of_person} AND at >= ? AND name {of_names}", (site, *members, oldest, *known)


def _happened_to(connection: Connection, site: int, identity: int, oldest: int, name: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield those of one identity page by page, each beginning where the one before ended."""
    sql = (
        "SELECT at, id, metadata FROM events WHERE site = ? AND identity = ? AND at >= ? AND (at > ? OR id > ?) AND name = ? "
        "ORDER BY at, id LIMIT ?"
    )
    at, last = oldest, b""
    while True:
        rows = connection.rows(sql, (site, identity, at, at, last, name, PAGE))
        yield from ((when, _read(metadata)) for when, _, metadata in rows)
        if len(rows) < PAGE:
            return
        at, last = rows[-1][0], bytes(rows[-1][1])


def timeline(
    connection: Connection,
    site: int,
    names: Names,
    of: Sequence[Identity],
    oldest: int,
    *,
    event: str | None = None,
    before: int | None = None,
    behind: tuple[int, bytes] | None = None,
    limit: int | None = 50,
) -> list[TimelineEvent]:
    """Return single events, newest first, not older than `oldest`; `before` is exclusive (ms).

    `of` is one identity, or all of a person; `behind` is time and id of the event after which a page begins.
    """
    if not of:
        return []
    senders = {identity.id: identity for identity in of}
    sql = "SELECT id, identity, name, at, unverified, page, metadata FROM events WHERE site = ? AND "
    of_person, members = connection.among(list(senders))
    conditions = [f"identity {of_person}", "at >= ?"]
    parameters: list[Any] = [site, *members, oldest]
    if before is not None:
        conditions.append("at < ?")
        parameters.append(before)
    if behind is not None:
        conditions.append("at <= ? AND (at < ? OR id < ?)")
        parameters += [behind[0], *behind]
    if event is not None:
        number = names.number(site, EVENT, event)
        if number is None:
            return []
        conditions.append("name = ?")
        parameters.append(number)
    sql += " AND ".join(conditions) + " ORDER BY at DESC, id DESC" + (f" LIMIT {int(limit)}" if limit is not None else "")
    return [
        TimelineEvent(
            id=event_id_text(bytes(event_id)),
            contact_id=senders[identity].public_id,
            name=names.text(site, name),
            at=at,
            metadata=json.loads(metadata) if metadata else {},
            page=json.loads(page) if page else {},
            lead=senders[identity].kind == LEAD,
            unverified=bool(unverified),
            tracked_at=event_id_time(bytes(event_id)),
        )
        for event_id, identity, name, at, unverified, page, metadata in connection.rows(sql, parameters)
    ]


def before_sign_up(
    connection: Connection,
    site: int,
    names: Names,
    person: Person,
    oldest: int,
    *,
    event: str | None = None,
    behind: tuple[int, bytes] | None = None,
    limit: int = 50,
) -> list[TimelineEvent]:
    """Return what the person's leads did before each became part of the user, as `timeline` does."""
    found: list[TimelineEvent] = []
    for one, end in _before_they_joined(connection, site, person):
        found += timeline(connection, site, names, [one], oldest, event=event, before=end, behind=behind, limit=limit)
    return sorted(found, key=lambda event: (event.at, event.id), reverse=True)[:limit]


def count_before_sign_up(connection: Connection, site: int, names: Names, person: Person, oldest: int, event: str) -> int:
    """Return how often the person's leads did something before each became part of the user, since `oldest` (included, ms)."""
    number = names.number(site, EVENT, event)
    sql = "SELECT count(*) FROM events WHERE site = ? AND identity = ? AND at >= ? AND at < ? AND name = ?"
    ends = [] if number is None else _before_they_joined(connection, site, person)
    return sum(connection.value(sql, (site, one.id, oldest, end, number)) for one, end in ends)


def _before_they_joined(connection: Connection, site: int, person: Person) -> list[tuple[Identity, int]]:
    """Return the leads that became part of a user, each with the time it did (ms)."""
    if person.role != "user" or not person.lead_ids:
        return []
    sql = "SELECT lead, at FROM merges WHERE site = ? AND outcome = 'merged' AND undone_at IS NULL AND target = ?"
    ends = dict(connection.rows(sql, (site, person.id)))
    return [(one, ends[one.id]) for one in person.identities if one.id in ends]


def values(connection: Connection, site: int, names: Names, person: Person, now_ms: int) -> dict[str, Any]:
    """Return every attribute of a person, set or computed, by canonical name; times of computed ones in unix seconds."""
    found, changed_at = attributes.read(connection, site, names, person.id)
    principal = person.identities[0]
    made = identities.Visits(principal.visit_count, principal.visit_started_at, principal.visit_ended_at, principal.previous_visit_ended_at)
    return with_computed(person, found, made, now_ms, changed_at)


def with_computed(
    person: Person, found: dict[str, Any], made: identities.Visits, now_ms: int, changed_at: int | None = None
) -> dict[str, Any]:
    """Return attributes together with those that follow from who somebody is, from visits, and from when any was set last (ms)."""
    found.update(
        {
            "id": person.contact_id,
            "role": person.role,
            "external_id": person.user_id,
            "created_at": person.created_at // 1000,
            "updated_at": max(person.created_at, person.active_at or 0, changed_at or 0) // 1000,
            "last_active_at": None if person.active_at is None else person.active_at // 1000,
            "email_domain": email_domain(found.get("email")),
        }
    )
    found["session_count"] = made.number or 0
    seen = visits.last_seen(now_ms, made.started_at, made.ended_at, made.previous_ended_at)
    found["last_seen_at"] = None if seen is None else seen // 1000
    return {name: value for name, value in found.items() if value is not None}


def email_domain(email: object) -> str | None:
    """Return what follows the @ of an email address, folded."""
    return fold(email).partition("@")[2] or None if isinstance(email, str) else None


def search(
    connection: Connection,
    site: int,
    names: Names,
    *,
    text: str = "",
    role: str = "",
    event: str = "",
    at_least: int = 1,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[int], int]:
    """Return principal ids, those active last first, and how many there are in all.

    `text` is part of a name, email or user id, or a whole contact id; `event` was done at least `at_least` times.
    """
    conditions = ["i.site = ?", "i.principal_id = i.id"]
    parameters: list[Any] = [site]
    if role == "lead":
        conditions.append("i.kind = 'lead'")
    elif role == "user":
        conditions.append("i.kind <> 'lead'")
    if text:
        like = f"%{_like(fold(text))}%"
        conditions.append(
            "(i.public_id = ? OR (i.kind <> 'lead' AND i.folded LIKE ? ESCAPE '!') OR i.id IN (SELECT identity FROM attributes "
            "WHERE site = ? AND attr IN (?, ?) AND folded LIKE ? ESCAPE '!'))"
        )
        named = (STANDARD_ATTRIBUTES["email"], STANDARD_ATTRIBUTES["name"])
        parameters += [text.strip(), like, site, *named, like]
    if event:
        conditions.append("i.id IN (SELECT identity FROM totals WHERE site = ? AND name = ? AND count >= ?)")
        parameters += [site, names.number(site, EVENT, event) or 0, at_least]
    where = " AND ".join(conditions)
    total = connection.value(f"SELECT count(*) FROM identities i WHERE {where}", parameters)
    sql = f"SELECT i.id FROM identities i WHERE {where} ORDER BY coalesce(i.active_at, i.created_at) DESC, i.id DESC LIMIT ? OFFSET ?"
    return [row[0] for row in connection.rows(sql, (*parameters, limit, offset))], int(total)


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
