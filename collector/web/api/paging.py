"""Intercom's pages: `per_page` and `starting_after`, or `page`. A cursor holds the page's number and where the page before it ended.

It names a place, not a contact: whoever stood there may be deleted before the next page is asked for.
"""

from typing import Any

import msgspec

from collector.domain.sites import Site
from collector.services import Services
from collector.values.errors import Reason, problem
from collector.web.api.body import query_number, query_text

DEFAULT_PER_PAGE = 50
MOST_PER_PAGE = 150
_MOST_PAGES = 1_000_000
_LONGEST_CURSOR = 200


class Asked(msgspec.Struct, frozen=True):
    """What page a client asks for."""

    per_page: int
    page: int
    after: int | None
    """The row id of the identity after which it starts."""

    @property
    def offset(self) -> int:
        """How many to pass over; a cursor says where to start by itself."""
        return 0 if self.after is not None else (self.page - 1) * self.per_page


def asked(services: Services, site: Site) -> Asked:
    """Read the page from the address.

    Raises:
        Problem: 400.
    """
    per_page = query_number("per_page", DEFAULT_PER_PAGE, 1, MOST_PER_PAGE)
    page = query_number("page", 1, 1, _MOST_PAGES)
    cursor = query_text("starting_after")
    if cursor is None:
        return Asked(per_page, page, None)
    value = services.keyring.unsign(_purpose(site), cursor) if len(cursor) <= _LONGEST_CURSOR else None
    try:
        return Asked(per_page, *msgspec.convert(value, tuple[int, int]))
    except msgspec.ValidationError:
        raise problem(400, Reason.FIELD_INVALID, "starting_after", "expected the value of pages.next.starting_after") from None


def listed(services: Services, site: Site, data: list[dict[str, Any]], total: int, page: Asked, last: int | None) -> dict[str, Any]:
    """Return Intercom's list of these contacts. `last` is the row id of the last one, where more follow."""
    cursor = None if last is None else services.keyring.sign(_purpose(site), [page.page + 1, last])
    return {
        "type": "list",
        "data": data,
        "total_count": total,
        "pages": {
            "type": "pages",
            "page": page.page,
            "per_page": page.per_page,
            "total_pages": max(-(-total // page.per_page), 1),
            "next": None if cursor is None else {"per_page": page.per_page, "starting_after": cursor},
        },
    }


def _purpose(site: Site) -> str:
    return f"contacts.{site.id}"
