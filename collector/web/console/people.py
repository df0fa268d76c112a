"""The list of people, and the way from an id to a profile."""

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import people, segments
from collector.domain.identities import LEAD, USER
from collector.domain.names import EVENT
from collector.domain.segments import Segment
from collector.domain.selection import select
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.fields import MAX_NAME, MAX_USER_ID
from collector.values.query_tree import AttributeRule, Node
from collector.values.text import normalise
from collector.web.console import asked, current, query_words, reading
from collector.web.console.pages import Pages

PER_PAGE = 50
_MOST_PAGES = 100_000
_MOST_SUGGESTED = 500
_MOST_TIMES = 10**15


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/people")
    def people_list() -> ResponseReturnValue:
        """List people, those active last first: by filters, or by a query."""
        site = current.site()
        found = {
            "text": current.argument("q"),
            "role": current.argument("role") if current.argument("role") in ("user", "lead") else "",
            "event": normalise(current.argument("event", MAX_NAME)),
        }
        times = current.number("times", 1, 1, _MOST_TIMES)
        page = current.number("page", 1, 1, _MOST_PAGES)
        with services.database.read() as connection:
            query = asked.read(services, connection)
            segment = _segment(connection, site, query.node)
            if query.text:
                found = dict.fromkeys(found, "")
                numbers, total = _described(services, connection, site, query.node, (page - 1) * PER_PAGE)
            else:
                numbers, total = people.search(
                    connection, site.id, services.names, at_least=times, limit=PER_PAGE, offset=(page - 1) * PER_PAGE, **found
                )
            cards = list(reading.cards(connection, site.id, services.names, numbers).values())
            empty = total == 0 and people.search(connection, site.id, services.names, limit=1)[1] == 0
        events = services.names.all(site.id, EVENT)[:_MOST_SUGGESTED]
        pages = Pages(page, PER_PAGE, total)
        deleted = "deleted" in request.args
        return render_template(
            "people.html",
            cards=cards,
            found=found,
            times=times,
            events=events,
            pages=pages,
            empty=empty,
            deleted=deleted,
            asked=query,
            segment=segment,
            in_words=query.words if segment is None else query_words.audience(segment.query),
        )

    @bp.get("/people/find")
    def people_find() -> ResponseReturnValue:
        """Lead from a user id, or a visitor's id, to the profile. Without a site in the address every site of the account is asked."""
        keys = [(USER, current.argument("user_id", MAX_USER_ID))] if "user_id" in request.args else []
        keys += [(LEAD, current.argument("lead"))] if "lead" in request.args else []
        sites = [current.site()] if "site" in request.args else current.current().sites
        with services.database.read() as connection:
            for site in sites:
                for key in keys:
                    try:
                        person = people.by_key(connection, site.id, key)
                    except people.NoPerson:  # gone, or merged, since the first statement
                        continue
                    if person is not None:
                        return redirect(url_for("console.profile", contact_id=person.contact_id, site=_named(site.key)))
        return abort(404)


def _described(services: Services, connection: Connection, site: Site, node: Node | None, offset: int) -> tuple[list[int], int]:
    """Return a page of the people a query describes, those active last first, and how many there are; nobody where it is none."""
    if node is None:
        return [], 0
    query, now, retention = segments.expand(connection, site.id, node), current.current().now, services.settings.retention
    total = services.columns.count(site, query, now)
    with select(connection, site, services.names, query, now, retention, sort="last_active_at") as (selection, order):
        rows = selection.page(connection, order, None, PER_PAGE, offset)
        return [row[0] for row in rows], selection.count(connection) if total is None else total


def _segment(connection: Connection, site: Site, node: Node | None) -> Segment | None:
    """Return the segment that a query asks for and for nothing else."""
    if isinstance(node, AttributeRule) and node.field == segments.FIELD and node.test.operator == "=":
        return segments.get(connection, site.id, str(node.test.operand))
    return None


def _named(key: str) -> str | None:
    """Return the site's key where an address has to name it."""
    return key if len(current.current().sites) > 1 else None
