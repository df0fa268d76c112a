"""What the lists of the console show of many people at once, read in a few statements rather than one person at a time."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from collector.domain import answers as domain_answers
from collector.domain import message_numbers
from collector.domain.attributes import BROWSER, VISITS
from collector.domain.auto_messages import AutoMessage
from collector.domain.identities import LEAD, USER, marks
from collector.domain.message_numbers import Behind
from collector.domain.names import EVENT, PAGE_VIEW, STANDARD_ATTRIBUTES, Names
from collector.storage.database import Connection
from collector.values.clock import MINUTE
from collector.values.questions import Answer
from collector.values.visit_context import FIRST
from collector.web.console.words import short

HUES = 6


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One person in a list. Times in ms."""

    contact_id: str
    title: str
    """Name, else email, user id, or what an anonymous visitor is called."""
    detail: str
    """What else tells the person apart: email, user id; empty where there is nothing."""
    initials: str
    hue: int
    role: str
    """The word of the interface: User or Visitor."""
    unverified: bool
    created_at: int
    active_at: int | None
    page_views: int
    visits: int


class Recipient(msgspec.Struct, frozen=True):
    """One delivery of a message. Times in ms."""

    card: Card
    arm: str
    claimed_at: int
    seen_at: int | None
    clicked_at: int | None
    answered_at: int | None
    dismissed_at: int | None


class Counted(msgspec.Struct, frozen=True):
    """Somebody who is counted by a number; `at` in ms is when that came to be."""

    card: Card
    at: int


class Answered(msgspec.Struct, frozen=True):
    """One answer to a message; `at` in ms."""

    card: Card
    answer: Answer
    at: int


class AttributeLine(msgspec.Struct, frozen=True):
    """One attribute of a person with where it came from and when (ms)."""

    name: str
    value: Any
    by: str
    """Who says so where it was not the site's server or a verified browser, with what joins it to the time."""
    set_at: int | None


def cards(connection: Connection, site: int, names: Names, people: Sequence[int]) -> dict[int, Card]:
    """Return people by the row ids of their principals, in the same order; those that are gone are left out."""
    if not people:
        return {}
    some = marks(people)
    members: dict[int, list[tuple[Any, ...]]] = {}
    for row in connection.rows(
        "SELECT principal_id, id, kind, value, public_id, created_at, active_at, verified, unverified_at FROM identities "
        f"WHERE site = ? AND principal_id IN ({some})",
        (site, *people),
    ):
        members.setdefault(row[0], []).append(row[1:])
    known: dict[tuple[int, int], str] = {
        (person, attr): str(json.loads(value))
        for person, attr, value in connection.rows(
            f"SELECT identity, attr, value FROM attributes WHERE site = ? AND attr IN (?, ?) AND identity IN ({some}) "
            "AND value IS NOT NULL AND value <> 'null'",
            (site, STANDARD_ATTRIBUTES["email"], STANDARD_ATTRIBUTES["name"], *people),
        )
    }
    views = dict(
        connection.rows(
            f"SELECT identity, count FROM totals WHERE site = ? AND name = ? AND identity IN ({some}) AND count IS NOT NULL",
            (site, names.number(site, EVENT, PAGE_VIEW) or 0, *people),
        )
    )
    visits = dict(
        connection.rows(
            "SELECT i.principal_id, count(DISTINCT v.visit) FROM visits v JOIN identities i ON i.site = v.site AND i.id = v.identity "
            f"WHERE i.site = ? AND i.principal_id IN ({some}) GROUP BY i.principal_id",
            (site, *people),
        )
    )
    found: dict[int, Card] = {}
    for person in people:
        if any(row[0] == person for row in members.get(person, [])):
            email = known.get((person, STANDARD_ATTRIBUTES["email"]), "").strip()
            name = known.get((person, STANDARD_ATTRIBUTES["name"]), "").strip()
            found[person] = _card(person, members[person], name, email, views.get(person, 0), visits.get(person, 0))
    return found


def recipients(
    connection: Connection, site: int, names: Names, message: AutoMessage, *, limit: int, offset: int
) -> tuple[list[Recipient], int]:
    """Return a message's deliveries, the newest first, and how many there are."""
    total = int(connection.value("SELECT count(*) FROM deliveries WHERE site = ? AND message = ?", (site, message.id)))
    rows = connection.rows(
        "SELECT i.principal_id, d.arm, d.claimed_at, d.seen_at, d.clicked_at, d.answered_at, d.dismissed_at FROM deliveries d "
        "JOIN identities i ON i.site = d.site AND i.id = d.identity WHERE d.site = ? AND d.message = ? "
        "ORDER BY d.claimed_at DESC, d.identity, d.n LIMIT ? OFFSET ?",
        (site, message.id, limit, offset),
    )
    numbers = list(dict.fromkeys(row[0] for row in rows))
    by_person = cards(connection, site, names, numbers)
    return [Recipient(by_person[row[0]], *row[1:]) for row in rows if row[0] in by_person], total


def behind(
    connection: Connection, site: int, names: Names, message: AutoMessage, number: Behind, *, limit: int, offset: int
) -> tuple[list[Counted], int]:
    """Return who is counted by one of a message's numbers, the latest first, and how many they are."""
    found, total = message_numbers.behind(connection, site, message, number, limit, offset)
    by_person = cards(connection, site, names, [person for person, _ in found])
    return [Counted(by_person[person], at) for person, at in found if person in by_person], total


def answers(
    connection: Connection, site: int, names: Names, message: AutoMessage, *, limit: int, offset: int
) -> tuple[list[Answered], int]:
    """Return the answers to a message, the newest first, and how many there are."""
    found, total = domain_answers.answers(connection, site, message.id, limit, offset)
    by_person = cards(connection, site, names, list(dict.fromkeys(person for person, _, _ in found)))
    return [Answered(by_person[person], answer, at) for person, answer, at in found if person in by_person], total


def attributes(connection: Connection, site: int, names: Names, person: int) -> list[AttributeLine]:
    """Return a person's attributes by name; what was unset is left out."""
    rows = connection.rows(
        "SELECT attr, value, source, set_at FROM attributes WHERE site = ? AND identity = ? AND value IS NOT NULL AND value <> 'null'",
        (site, person),
    )
    named = ((names.text(site, attr), value, source, at) for attr, value, source, at in rows)
    lines = [AttributeLine(name, json.loads(value), _by(name, source), at) for name, value, source, at in named]
    return sorted(lines, key=lambda line: ("." in line.name, line.name.casefold()))


def _by(name: str, source: int) -> str:
    if source == VISITS:
        return "by the first visit" if name.startswith(FIRST) else "by the latest visit"
    return "by a browser, " if source == BROWSER else ""


def _card(person: int, members: list[tuple[Any, ...]], name: str, email: str, views: int, visits: int) -> Card:
    own = next(row for row in members if row[0] == person)
    created_at, active_at = min(row[4] for row in members), own[5]
    if active_at is not None and active_at < created_at < active_at + MINUTE:  # kept to the minute: nobody is seen before the first time
        active_at = created_at
    users = [row for row in members if row[1] == USER]
    user_id = users[0][2] if users else ""
    public_id = own[3]
    names = [text for text in (name, email, user_id) if text] or [short(public_id)]
    return Card(
        contact_id=public_id,
        title=names[0],
        detail=names[1] if len(names) > 1 and names[1] != names[0] else "",
        initials="" if own[1] == LEAD and not (name or email) else _initials(names[0]),
        hue=sum(public_id.encode()) % HUES,
        role="Visitor" if own[1] == LEAD else "User",
        unverified=any(row[7] is not None and not row[6] for row in users),
        created_at=created_at,
        active_at=active_at,
        page_views=int(views),
        visits=int(visits),
    )


def _initials(text: str) -> str:
    """Return one or two letters for an avatar; nothing where there are none."""
    words = text.partition("@")[0].replace(".", " ").replace("-", " ").split()
    letters = [letter for letter in (next((sign for sign in word if sign.isalnum()), "") for word in words) if letter]
    return "".join(letters[:1] + letters[1:][-1:]).upper()[:2]
