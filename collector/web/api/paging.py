"""Intercom's pages: `per_page` and `starting_after`, or `page`; the cursor says, signed, after which contact a page starts.

It holds a place in the order, not somebody who must still be there: a list is read to its end although people are deleted meanwhile.
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


class Asked(msgspec.Struct, frozen=True):
    """What page a client asks for."""

    per_page: int
    page: int
    after: int | None
    """The row id of the person after whom it starts."""

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
    try:
        page, after = msgspec.convert(services.keyring.unsign(_purpose(site), cursor), tuple[int, int])
    except msgspec.ValidationError:
        message = "expected the value of pages.next.starting_after"
        raise problem(400, Reason.FIELD_INVALID, "starting_after", message) from None
    return Asked(per_page, page, after)


def listed(services: Services, site: Site, data: list[dict[str, Any]], total: int, page: Asked, last: int | None) -> dict[str, Any]:
    """Return Intercom's list of these contacts; `last` is the row id of the last one where more follow."""
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
            "next": {"per_page": page.per_page, "starting_after": cursor} if cursor else None,
        },
    }


def _purpose(site: Site) -> str:
    return f"contacts.{site.id}"
