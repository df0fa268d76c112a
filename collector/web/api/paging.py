"""Intercom's pages: `per_page` and `starting_after`, or `page`; the cursor names the last contact of the page and the page's number."""

import re
from typing import Any

import msgspec

from collector.domain import identities
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.web.api.body import query_number, query_text

DEFAULT_PER_PAGE = 50
MOST_PER_PAGE = 150
_MOST_PAGES = 1_000_000
_CURSOR = re.compile(r"([0-9]{1,9})-([0-9a-f]{24})")


class Asked(msgspec.Struct, frozen=True):
    """What page a client asks for."""

    per_page: int
    page: int
    after: str | None
    """The contact id after which it starts."""

    @property
    def offset(self) -> int:
        """How many to pass over; a cursor says where to start by itself."""
        return 0 if self.after is not None else (self.page - 1) * self.per_page

    def after_row(self, connection: Connection, site: int) -> int | None:
        """Return the row id of the identity after which the page starts.

        Raises:
            Problem: 400, the cursor is not one of this site.
        """
        if self.after is None:
            return None
        found = identities.by_public_id(connection, site, self.after)
        if found is None:
            raise _bad_cursor()
        return found.id


def asked() -> Asked:
    """Read the page from the address.

    Raises:
        Problem: 400.
    """
    per_page = query_number("per_page", DEFAULT_PER_PAGE, 1, MOST_PER_PAGE)
    page = query_number("page", 1, 1, _MOST_PAGES)
    cursor = query_text("starting_after")
    if cursor is None:
        return Asked(per_page, page, None)
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise _bad_cursor()
    return Asked(per_page, int(match[1]), match[2])


def listed(data: list[dict[str, Any]], total: int, page: Asked, *, more: bool) -> dict[str, Any]:
    """Return Intercom's list of these contacts."""
    following = {"per_page": page.per_page, "starting_after": f"{page.page + 1}-{data[-1]['id']}"} if more else None
    return {
        "type": "list",
        "data": data,
        "total_count": total,
        "pages": {
            "type": "pages",
            "page": page.page,
            "per_page": page.per_page,
            "total_pages": max(-(-total // page.per_page), 1),
            "next": following,
        },
    }


def _bad_cursor() -> Exception:
    return problem(400, Reason.FIELD_INVALID, "starting_after", "expected the value of pages.next.starting_after")
