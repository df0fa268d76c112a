"""POST /contacts/search: everybody whom a query describes, in pages. What a client wrote before it asks is there."""

from typing import Any

import msgspec
from flask import Response, jsonify

from collector.domain import people, segments
from collector.domain.selection import EVERYBODY, select
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import shown
from collector.values.queries import attribute_name, parse
from collector.web.api import lookup
from collector.web.api.body import read_object, unknown_key
from collector.web.api.contact_shape import contact_json
from collector.web.api.paging import DEFAULT_PER_PAGE, MOST_PER_PAGE
from collector.web.api.views import Route

_ORDERS = {"ascending": False, "asc": False, "descending": True, "desc": True}
_LONGEST_CURSOR = 4_096


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: its number, what it is sorted by, and the sort keys of the row before it."""

    page: int
    sort: str | None
    falling: bool
    after: list[Any]


class _Asked(msgspec.Struct, frozen=True):
    """A search as a client asks for it."""

    query: Any
    per_page: int
    sort: str | None
    falling: bool
    cursor: _Cursor | None


def search(services: Services, site: Site) -> Response:
    """Give out a page of the people a query describes, and how many there are in all."""
    asked = _asked(services, site, read_object(services))
    retention = services.settings.retention
    node = EVERYBODY if asked.query is None else parse(asked.query, retention_days=services.settings.retention_days, time_zone=site.zone)

    def read(connection: Connection) -> dict[str, Any]:
        now = services.clock()
        asks = segments.expand(connection, site.id, node)
        after = None if asked.cursor is None else asked.cursor.after
        total = services.columns.count(site, asks, now)
        with select(connection, site, services.names, asks, now, retention, sort=asked.sort, falling=asked.falling) as (found, order):
            if after is not None and len(after) != len(order.keys):
                raise _bad_cursor()
            rows = found.page(connection, order, after, asked.per_page + 1)
            if total is None:
                total = found.count(connection)
        shown_rows = rows[: asked.per_page]
        data = [contact_json(services, connection, site, people.load(connection, site.id, row[0])) for row in shown_rows]
        return _listed(services, site, asked, data, total, shown_rows[-1] if len(rows) > asked.per_page else None)

    return jsonify(lookup.steady(services, read))


def _asked(services: Services, site: Site, body: dict[str, Any]) -> _Asked:
    unknown = unknown_key(body, frozenset({"query", "pagination", "sort"}))
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    pagination = _object(body, "pagination", frozenset({"per_page", "starting_after"}))
    sort = _object(body, "sort", frozenset({"field", "order"}))
    per_page = pagination.get("per_page", DEFAULT_PER_PAGE)
    if isinstance(per_page, bool) or not isinstance(per_page, int) or not 1 <= per_page <= MOST_PER_PAGE:
        raise problem(400, Reason.FIELD_INVALID, "pagination.per_page", f"expected a whole number from 1 to {MOST_PER_PAGE}")
    field = sort.get("field")
    try:
        name = None if field is None else attribute_name(field, "sort.field")
    except Refusal as refusal:
        raise problem(400, Reason.FIELD_INVALID, "sort.field", refusal.message) from None
    order = sort.get("order", "descending")
    if not isinstance(order, str) or order not in _ORDERS:
        raise problem(400, Reason.FIELD_INVALID, "sort.order", f"expected ascending or descending, not {shown(order)}")
    cursor = _read_cursor(services, site, pagination.get("starting_after"))
    falling = _ORDERS[order]
    if cursor is not None:
        if sort and (cursor.sort, cursor.falling) != (name, falling):
            raise problem(400, Reason.FIELD_INVALID, "sort", "a page is sorted as the one before it")
        name, falling = cursor.sort, cursor.falling
    return _Asked(body.get("query"), per_page, name, falling, cursor)


def _object(body: dict[str, Any], name: str, known: frozenset[str]) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise problem(400, Reason.FIELD_INVALID, name, f"expected an object, not {shown(value)}")
    unknown = unknown_key(value, known)
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, f"{name}.{unknown}")
    return {key: content for key, content in value.items() if content is not None}


def _read_cursor(services: Services, site: Site, text: Any) -> _Cursor | None:
    """Return what a cursor says; it is signed, since it goes into a statement's conditions."""
    if text is None:
        return None
    value = services.keyring.unsign(f"search.{site.id}", text) if isinstance(text, str) and len(text) <= _LONGEST_CURSOR else None
    try:
        return msgspec.convert(value, _Cursor)
    except msgspec.ValidationError:
        raise _bad_cursor() from None


def _bad_cursor() -> Exception:
    return problem(400, Reason.FIELD_INVALID, "pagination.starting_after", "expected the value of pages.next.starting_after")


def _listed(
    services: Services, site: Site, asked: _Asked, data: list[dict[str, Any]], total: int, last: tuple[Any, ...] | None
) -> dict[str, Any]:
    page = 1 if asked.cursor is None else asked.cursor.page
    following = None
    if last is not None:
        cursor = [page + 1, asked.sort, asked.falling, list(last[2:])]
        following = {"per_page": asked.per_page, "starting_after": services.keyring.sign(f"search.{site.id}", cursor)}
    pages = max(-(-total // asked.per_page), 1)
    return {
        "type": "list",
        "data": data,
        "total_count": total,
        "pages": {"type": "pages", "page": page, "per_page": asked.per_page, "total_pages": pages, "next": following},
    }


ROUTES: tuple[Route, ...] = (("POST", "/contacts/search", search),)
