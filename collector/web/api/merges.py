"""Merges: POST /contacts/merge, the journal at GET /merges, POST /merges/{id}/undo."""

import re
from typing import Any

from flask import Response, jsonify

from collector.domain import identities, journal, merging
from collector.domain.journal import Merge, NoMerge
from collector.domain.merging import CannotMerge
from collector.domain.people import NoPerson
from collector.domain.sites import Site
from collector.ingest.goals_asked import ask_parted
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.values.text import storable
from collector.web.api import lookup
from collector.web.api.body import query_number, query_text, read_object
from collector.web.api.contacts import answer_contact
from collector.web.api.views import Route

_KNOWN = frozenset({"from", "into", "skip_duplicate_validation"})
_LONGEST = 18  # digits of a row id
_CURSOR = re.compile(r"([0-9]{1,9})-([0-9]{1,18})")


def merge(services: Services, site: Site) -> Response:
    """Merge the lead `from` into the user `into` and give out the user, by whichever of its contact ids it was named."""
    body = read_object(services)
    for key in body:
        if key not in _KNOWN:
            raise problem(400, Reason.FIELD_UNKNOWN, key)
    lead, user = (_contact_id(body, name) for name in ("from", "into"))

    def work(tx: Connection) -> str:
        merging.merge_contacts(tx, site.id, lead, user, services.row_ids, services.clock(), by="rest")
        named = identities.by_public_id(tx, site.id, user)
        return user if named is None else identities.by_ids(tx, site.id, [named.principal_id])[named.principal_id].public_id

    try:
        principal: str = services.writer.run(site.id, work)
    except NoPerson:
        raise lookup.user_not_found() from None
    except CannotMerge as error:
        raise problem(400, Reason.MERGE_INVALID, "from", str(error)) from None
    return answer_contact(services, site, lookup.by_contact_id(services, site, principal))


def index(services: Services, site: Site) -> Response:
    """List the merges of the site, the newest first, those undone too."""
    per_page = query_number("per_page", 50, 1, 150)
    page, before = _cursor()
    with services.database.read() as connection:
        found, total = journal.of_site(connection, site.id, limit=per_page + 1, before=before)
    data = [merge_json(one) for one in found[:per_page]]
    more = len(found) > per_page
    return jsonify(
        type="list",
        data=data,
        total_count=total,
        pages={
            "type": "pages",
            "page": page,
            "per_page": per_page,
            "total_pages": max(-(-total // per_page), 1),
            "next": {"per_page": per_page, "starting_after": f"{page + 1}-{data[-1]['id']}"} if more else None,
        },
    )


def undo(services: Services, site: Site, merge_id: str) -> Response:
    """Undo a merge; undone already, it answers the same."""
    if not is_row_id(merge_id):
        raise _no_merge()

    def work(tx: Connection) -> Merge:
        merging.undo(tx, site.id, int(merge_id), services.clock())
        return journal.line(tx, site.id, int(merge_id))

    try:
        undone = services.writer.run(site.id, work)
    except NoMerge:
        raise _no_merge() from None
    ask_parted(services, site, int(merge_id), services.clock())
    return jsonify(merge_json(undone))


def merge_json(one: Merge) -> dict[str, Any]:
    """Return a line of the journal as it is given out."""
    return {
        "type": "merge",
        "id": str(one.id),
        "from": one.lead,
        "into": one.into,
        "at": one.at // 1000,
        "by": one.by,
        "reason": one.reason,
        "verified": one.verified,
        "undone_at": None if one.undone_at is None else one.undone_at // 1000,
        "undone_by": one.undone_by,
    }


def is_row_id(text: str) -> bool:
    """Say whether a text can be the id of a merge; a database need not be asked for others."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST


def _cursor() -> tuple[int, int | None]:
    """Return the number of the page asked for and the merge that it begins after."""
    cursor = query_text("starting_after")
    if cursor is None:
        return 1, None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise problem(400, Reason.FIELD_INVALID, "starting_after", "expected the value of pages.next.starting_after")
    return int(match[1]), int(match[2])


def _contact_id(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise problem(400, Reason.FIELD_MISSING, name)
    if not isinstance(value, str) or not storable(value):
        raise problem(400, Reason.FIELD_INVALID, name, "expected a contact id")
    return value


def _no_merge() -> Exception:
    return problem(404, Reason.NOT_FOUND, None, "Merge not found")


ROUTES: tuple[Route, ...] = (
    ("POST", "/contacts/merge", merge),
    ("GET", "/merges", index),
    ("POST", "/merges/<merge_id>/undo", undo),
)
