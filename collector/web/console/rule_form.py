"""The form of an event rule: what may make an event, each with the part of the form that describes it and how that is read."""

from collections.abc import Callable
from typing import Any

import msgspec

from collector.domain.names import PAGE_VIEW
from collector.values.errors import Refusal
from collector.values.fields import MAX_NAME, clean_event_name
from collector.values.page_rules import MAX_PATTERN, PageRule, parse_page_rule
from collector.web.console import asked, current
from collector.web.console.asked import Unreadable

_LONGEST_JSON = 200_000

PLACES = (("path", "Path"), ("url", "Whole address"), ("host", "Host"), ("query", "Query parameter"))
"""Where a rule about page views looks, with its words."""
COMPARED = (("is", "is"), ("starts", "starts with"), ("contains", "contains"), ("wildcard", "matches (* and **)"))


class Source(msgspec.Struct, frozen=True):
    """One thing that a rule may make events of: its words, the template of its part of the form, and what reads that part."""

    label: str
    template: str
    read: Callable[[], Any]
    """Returns the definition that `EventRules.create` takes. Raises Unreadable."""


def event_name() -> str:
    """Return the name of the form's event.

    Raises:
        Unreadable: it is none, or that of the page view itself.
    """
    try:
        name = clean_event_name(current.field("event_name", MAX_NAME + 1), field="event_name")
    except Refusal as refusal:
        raise Unreadable(refusal.message, "event_name") from None
    if name == PAGE_VIEW:
        raise Unreadable("Choose another name than that of the page view itself.", "event_name")
    return name


def page_rule() -> PageRule:
    """Return the form's rule about addresses: its one condition, or the JSON of several.

    Raises:
        Unreadable: it is no rule, or both were filled in.
    """
    text, value = current.field("page", _LONGEST_JSON), current.field("value", MAX_PATTERN + 1)
    if text and value:
        raise Unreadable("Fill in the one condition or the JSON, not both.", "page")
    if text:
        return asked.decoded(text, parse_page_rule)
    place = current.field("place")
    if place == "query":
        place = f"query.{current.field('parameter')}"
    raw = {"field": place, "operator": current.field("compared"), "value": value}
    if not value:
        raise Unreadable("Write what the address has to be.", "page.value")
    try:
        return parse_page_rule(raw)
    except Refusal as refusal:
        raise Unreadable(refusal.message, refusal.field or "page") from None


SOURCES = {"page_view": Source("A page is viewed", "event_rule_page.html", page_rule)}
"""By the name that the form sends. One that is added here appears in the form."""
