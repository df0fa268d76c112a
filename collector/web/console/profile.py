"""One person: who it is, what it did, what it was sent, and which visitors became part of it."""

from typing import Any

import msgspec
from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import deliveries, journal, people
from collector.domain.journal import Merge
from collector.domain.names import PAGE_VIEW
from collector.domain.people import Person, TimelineEvent
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.web.console import asked, current, joining, reading

PER_PAGE = 50
_FEW = 15
"""Pages before sign-up on the profile itself; all are on a page of their own."""
_LATEST_ID = 2**63 - 1


class Timeline(msgspec.Struct, frozen=True):
    """One page of a timeline; `before` is the cursor that leads to the next one, None at the end."""

    events: list[TimelineEvent]
    before: str | None


class Joined(msgspec.Struct, frozen=True):
    """Lines of the journal about somebody, and the row id of the last one where older ones follow."""

    lines: list[Merge]
    before: int | None


class PagesBefore(msgspec.Struct, frozen=True):
    """Pages somebody viewed before signing up, how many there are in all, and the cursor of those that follow; None at the end.

    `visitors` is how many visitors became this person.
    """

    pages: list[TimelineEvent]
    total: int
    following: str | None
    visitors: int


def register(bp: Blueprint, services: Services) -> None:
    """Add the view to the console."""

    @bp.get("/people/<contact_id>")
    def profile(contact_id: str) -> ResponseReturnValue:
        """Show a person; a visitor that became part of somebody leads there."""
        site, now = current.site(), current.current().now
        with services.database.read() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            if person is None:
                return lead_on(contact_id, merged_into)
            card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
            oldest = now - services.settings.retention
            before = people.behind(current.argument("before"))
            query = asked.read(services, connection)
            return render_template(
                "profile.html",
                person=person,
                card=card,
                came_from=_came_from(person),
                attributes=reading.attributes(connection, site.id, services.names, person.id),
                totals=sorted(
                    people.totals(connection, site.id, services.names, person.id).items(),
                    key=lambda pair: (-(pair[1].last_ms or 0), pair[0]),
                ),
                timeline=timeline(connection, services, site, person, oldest, before),
                earlier=before is not None,
                before_sign_up=_pages_before(connection, services, site, person, oldest, None, _FEW),
                journal=_joined(connection, site, person, None),
                namesakes=joining.namesakes(connection, site, services.names, person),
                received=_received(connection, services, site, person),
                retention_days=services.settings.retention_days,
                asked=query,
                answer=None if query.node is None else asked.answer(services, connection, site, person, query.node, now),
            )

    @bp.get("/people/<contact_id>/before-sign-up")
    def before_sign_up(contact_id: str) -> ResponseReturnValue:
        """Show all pages that somebody viewed as a visitor, before becoming this user."""
        site, now = current.site(), current.current().now
        cursor = current.argument("behind")
        behind = people.behind(cursor) if cursor else None
        with services.database.read() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            if person is None:
                return lead_on(contact_id, merged_into)
            card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
            before = _pages_before(connection, services, site, person, now - services.settings.retention, behind, PER_PAGE)
        days = services.settings.retention_days
        return render_template(
            "before_sign_up.html", person=person, card=card, before=before, later=behind is not None, retention_days=days
        )

    @bp.get("/people/<contact_id>/joined")
    def joined(contact_id: str) -> ResponseReturnValue:
        """Show the journal about a person page by page."""
        site, before = current.site(), current.number("before", 0, 0, _LATEST_ID) or None
        with services.database.read() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            if person is None:
                return lead_on(contact_id, merged_into)
            card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
            page = _joined(connection, site, person, before)
        return render_template("joined.html", person=person, card=card, journal=page, later=before is not None)


def timeline(
    connection: Connection, services: Services, site: Site, person: Person, oldest: int, before: tuple[int, bytes] | None
) -> Timeline:
    """Return a page of the timeline, the newest first: of what follows the event of this time (ms) and id, where one is given.

    Times alone do not say where a page ends: REST gives thousands of events one second.
    """
    found = people.timeline(connection, site.id, services.names, person.identities, oldest, behind=before, limit=PER_PAGE + 1)
    page = found[:PER_PAGE]
    return Timeline(page, page[-1].cursor if len(found) > PER_PAGE else None)


def _joined(connection: Connection, site: Site, person: Person, before: int | None) -> Joined:
    """Return lines of the journal, the newest first."""
    found = journal.of_person(connection, site.id, person, limit=PER_PAGE + 1, before=before)
    lines = found[:PER_PAGE]
    return Joined(lines, lines[-1].id if len(found) > PER_PAGE else None)


def _pages_before(
    connection: Connection, services: Services, site: Site, person: Person, oldest: int, behind: tuple[int, bytes] | None, limit: int
) -> PagesBefore:
    """Return pages viewed before sign-up, the newest first."""
    names = services.names
    found = people.before_sign_up(connection, site.id, names, person, oldest, event=PAGE_VIEW, behind=behind, limit=limit + 1)
    pages, more = found[:limit], len(found) > limit
    total = people.count_before_sign_up(connection, site.id, names, person, oldest, PAGE_VIEW) if more or behind else len(pages)
    return PagesBefore(pages, total, pages[-1].cursor if more else None, len(person.lead_ids))


def find(connection: Connection, site: Site, contact_id: str) -> tuple[Person | None, str | None]:
    """Return the person of a contact id, or the contact id it became part of; neither where there is nobody."""
    try:
        return people.by_contact_id(connection, site.id, contact_id)
    except people.NoPerson:  # gone, or merged, since the first statement
        return None, None


def lead_on(contact_id: str, merged_into: str | None) -> ResponseReturnValue:
    """Lead from a visitor that became part of somebody to that profile; answer 404 where it did not."""
    return redirect(url_for("console.profile", contact_id=merged_into, came_from=contact_id)) if merged_into else abort(404)


def _came_from(person: Person) -> str | None:
    """Return the contact id of the visitor whose address led here, where it really is part of this person."""
    given = request.args.get("came_from")
    return next((one.public_id for one in person.identities if one.absorbed and one.public_id == given), None)


def _received(connection: Connection, services: Services, site: Site, person: Person) -> list[dict[str, Any]]:
    """Return the messages this person was sent or kept from, the newest first."""
    found = deliveries.of_person(connection, site.id, person.id)
    if not found:
        return []
    messages = {message.id: message for message in services.auto_messages.all(connection, site.id)}
    return [{"delivery": one, "message": messages.get(one.message)} for one in reversed(found)]
