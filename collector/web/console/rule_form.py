"""The form of an event rule: what may make an event, each with the part of the form that describes it and how that is read."""

from collections.abc import Callable
from itertools import takewhile
from typing import Any, TypeVar

import msgspec
from flask import request

from collector.domain.names import PAGE_VIEW
from collector.values.element_rules import MAX_SELECTOR, ElementRuleDefinition, clean_element_rule
from collector.values.errors import Problem, Refusal
from collector.values.fields import MAX_NAME, clean_event_name
from collector.values.metadata import MAX_KEYS
from collector.values.page_rules import MAX_PATTERN, PageRule, parse_page_rule, rule_json
from collector.web.console import asked, current
from collector.web.console.asked import Unreadable

_T = TypeVar("_T")
_LONGEST_JSON = 200_000
_ORDER = ("event_name", "selector", "value", "page")  # of the fields in the form; those of metadata come last

PLACES = (("path", "Path"), ("url", "Whole address"), ("host", "Host"), ("query", "Query parameter"))
"""Where a rule about addresses looks, with its words."""
COMPARED = (("is", "is"), ("starts", "starts with"), ("contains", "contains"), ("wildcard", "matches (* and **)"))


class Wrong(msgspec.Struct, frozen=True):
    """One thing that is wrong with the form.

    `place` is its path, as the API says it (or where in the JSON it is), and `field` the field of the form that it is shown at. Both are
    empty where it is about the site's rules as a whole.
    """

    problem: str
    place: str = ""
    field: str = ""


class Faulty(Exception):
    """The form makes no rule; `wrong` in the order of the form."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__(wrong)
        self.wrong = wrong


class Row(msgspec.Struct, frozen=True):
    """One row of the form about metadata, as it was filled in: without an attribute it is about a text."""

    key: str = ""
    attribute: str = ""
    selector: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the shape of the API."""
        origin = {"from": "attribute", "attribute": self.attribute} if self.attribute else {"from": "text"}
        return {"key": self.key, **origin, "selector": self.selector or None}


class Source(msgspec.Struct, frozen=True):
    """One thing that a rule may make events of: its words, the template of its part of the form, and what reads that part."""

    label: str
    template: str
    read: Callable[[], PageRule | ElementRuleDefinition]
    """Returns the definition that `EventRules.create` takes. Raises Faulty."""
    has_rows: bool = False
    """Whether metadata goes with the event."""


def read(source: Source) -> tuple[str, PageRule | ElementRuleDefinition]:
    """Return the event's name and the definition of the rule that the form describes.

    Raises:
        Faulty: it describes none.
    """
    wrong: list[Wrong] = []
    name, definition = _attempt(event_name, wrong), _attempt(source.read, wrong)
    if name is None or definition is None:
        raise Faulty(sorted(wrong, key=lambda one: _ORDER.index(one.field) if one.field in _ORDER else len(_ORDER)))
    return name, definition


def event_name() -> str:
    """Return the name of the form's event.

    Raises:
        Faulty: it is none, or that of the page view itself.
    """
    try:
        name = clean_event_name(current.field("event_name", MAX_NAME + 1), field="event_name")
    except Refusal as refusal:
        raise _faulty(refusal.message, "event_name", "event_name") from None
    if name == PAGE_VIEW:
        raise _faulty("Choose another name than that of the page view itself.", "event_name", "event_name")
    return name


def page_rule() -> PageRule:
    """Return the form's rule about addresses: its one condition, or the JSON of several.

    Raises:
        Faulty: it is no rule, or both were filled in.
    """
    text, value = current.field("page", _LONGEST_JSON), current.field("value", MAX_PATTERN + 1)
    if text and value:
        raise _faulty("Fill in the one condition or the JSON, not both.", "page", "page")
    if text:
        try:
            return asked.decoded(text, parse_page_rule)
        except Unreadable as error:
            raise _faulty(error.problem, error.place, "page") from None
    if not value:
        raise _faulty("Write what the address has to be.", "page.value", "value")
    place = current.field("place")
    if place == "query":
        place = f"query.{current.field('parameter')}"
    try:
        return parse_page_rule({"field": place, "operator": current.field("compared"), "value": value})
    except Refusal as refusal:
        raise _faulty(refusal.message, refusal.field or "page", "value") from None


def element_rule(source: str) -> ElementRuleDefinition:
    """Return the form's rule by selector; without anything about addresses it is for every page.

    Raises:
        Faulty: it is no rule.
    """
    wrong: list[Wrong] = []
    page = _attempt(page_rule, wrong) if limits_pages() else None
    raw = {
        "source": source,
        "selector": current.field("selector", MAX_SELECTOR + 1) or None,
        "page": None if page is None else rule_json(page),
        "metadata": [row.as_json() for row in rows()],
    }
    try:
        definition = clean_element_rule(raw)
    except Problem as problem:
        raise Faulty([*wrong, *(Wrong(one.message, one.field or "", one.field or "") for one in problem.errors)]) from None
    if wrong:
        raise Faulty(wrong)
    return definition


def limits_pages() -> bool:
    """Say whether something about addresses was filled in."""
    return any(current.field(name) for name in ("page", "value")) or (
        current.field("place") == "query" and bool(current.field("parameter"))
    )


def rows() -> list[Row]:
    """Return the rows about metadata in which something stands, so that their order is that of the rule's; one too many at most."""
    sent = takewhile(lambda number: f"metadata[{number}].key" in request.form, range(MAX_KEYS + 1))
    found = (Row(_cell(number, "key", MAX_NAME), _cell(number, "attribute"), _cell(number, "selector", MAX_SELECTOR)) for number in sent)
    return [row for row in found if row != Row()]


def rows_to_fill(*, more: bool) -> list[Row]:
    """Return the rows that the form shows: those filled in, and an empty one if they are none or `more` were asked for."""
    found = rows()
    return [*found, Row()] if (more or not found) and len(found) < MAX_KEYS else found


def _cell(number: int, part: str, longest: int = 255) -> str:
    return current.field(f"metadata[{number}].{part}", longest + 1)


def _attempt(clean: Callable[[], _T], wrong: list[Wrong]) -> _T | None:
    try:
        return clean()
    except Faulty as error:
        wrong += error.wrong
        return None


def _faulty(problem: str, place: str, field: str) -> Faulty:
    return Faulty([Wrong(problem, place, field)])


SOURCES = {
    "page_view": Source("A page is viewed", "event_rule_page.html", page_rule),
    "click": Source("Something is clicked", "event_rule_element.html", lambda: element_rule("click"), has_rows=True),
    "submit": Source("A form is submitted", "event_rule_element.html", lambda: element_rule("submit"), has_rows=True),
}
"""By the name that the form sends. One that is added here appears in the form."""
