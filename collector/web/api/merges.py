"""Merges: POST /contacts/merge, the journal at GET /merges, POST /merges/{id}/undo."""

from typing import Any

from flask import Response, jsonify

from collector.domain import merging, people
from collector.domain.people import Merge
from collector.domain.sites import Site
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


def merge(services: Services, site: Site) -> Response:
    """Merge the lead `from` into the user `into` and give out the user."""
    body = read_object(services)
    for key in body:
        if key not in _KNOWN:
            raise problem(400, Reason.FIELD_UNKNOWN, key)
    lead, user = (_contact_id(body, name) for name in ("from", "into"))

    def work(tx: Connection) -> merging.Claim:
        return merging.merge_contacts(tx, site.id, lead, user, services.row_ids, services.clock(), by="rest")

    try:
        services.writer.run(site.id, work)
    except LookupError:
        raise lookup.user_not_found() from None
    except ValueError as error:
        raise problem(400, Reason.MERGE_INVALID, "from", str(error)) from None
    return answer_contact(services, site, lookup.by_contact_id(services, site, user))


def index(services: Services, site: Site) -> Response:
    """List the merges of the site, the newest first."""
    per_page = query_number("per_page", 50, 1, 150)
    cursor = query_text("starting_after")
    if cursor is not None and not _is_number(cursor):
        raise problem(400, Reason.FIELD_INVALID, "starting_after", "expected the value of pages.next.starting_after")
    with services.database.read() as connection:
        found, total = people.merges(connection, site.id, limit=per_page + 1, after=None if cursor is None else int(cursor))
    more = len(found) > per_page
    data = [_shape(one) for one in found[:per_page]]
    following = {"per_page": per_page, "starting_after": data[-1]["id"]} if more else None
    pages = {"type": "pages", "per_page": per_page, "total_pages": max(-(-total // per_page), 1), "next": following}
    return jsonify(type="list", data=data, total_count=total, pages=pages)


def undo(services: Services, site: Site, merge_id: str) -> Response:
    """Undo a merge; undone already, it answers the same."""
    if not _is_number(merge_id):
        raise _no_merge()
    try:
        services.writer.run(site.id, lambda tx: merging.undo(tx, site.id, int(merge_id), services.clock()))
    except LookupError:
        raise _no_merge() from None
    with services.database.read() as connection:
        found, _ = people.merges(connection, site.id, limit=1, after=int(merge_id) + 1)
    return jsonify(_shape(found[0]))


def _contact_id(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise problem(400, Reason.FIELD_MISSING, name)
    if not isinstance(value, str) or not storable(value):
        raise problem(400, Reason.FIELD_INVALID, name, "expected a contact id")
    return value


def _shape(one: Merge) -> dict[str, Any]:
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
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST


def _no_merge() -> Exception:
    return problem(404, Reason.NOT_FOUND, None, "Merge not found")


ROUTES: tuple[Route, ...] = (
    ("POST", "/contacts/merge", merge),
    ("GET", "/merges", index),
    ("POST", "/merges/<merge_id>/undo", undo),
)
