"""What nobody can do is not named as a change, and where nothing is left that is said plainly."""

import re
from typing import Any

import pytest

from collector.domain import nearest_change
from collector.domain.outlook import Happens
from collector.values.clock import DAY
from tests.domain.test_explanation import MISSING, attribute, change, event, group, refusal


@pytest.mark.parametrize(("message", "field"), [("m3", "seen"), ("m1", "answered"), ("m1", "clicked")])
def test_what_nobody_can_do_with_a_message_as_it_is_is_not_proposed(message: str, field: str) -> None:
    words = refusal({"message": message, "field": field, "operator": "has_any_value"})
    assert words.startswith("No few steps were found") and words.endswith("; nobody can do that with the message as it is now.")


def viewed(field: str, operator: str, value: Any = MISSING) -> dict[str, Any]:
    condition = {"field": f"metadata.{field}", "operator": operator, **({} if value is MISSING else {"value": value})}
    return event("page-view", "count", ">", 0, where=[condition])


@pytest.mark.parametrize(
    "query",
    [
        viewed("plan", "=", "pro"),
        viewed("path", "is_unknown"),
        viewed("path", "=", "pricing"),
        viewed("path", "=", "/a?b"),
        viewed("path", "=", 5),
        viewed("url", "=", "javascript:alert(1)"),
        event(
            "page-view",
            "count",
            ">",
            0,
            where=[
                {"field": "metadata.path", "operator": "=", "value": "/a"},
                {"field": "metadata.url", "operator": "=", "value": "https://shop.example/b"},
            ],
        ),
    ],
    ids=str,
)
def test_no_view_of_a_page_that_cannot_be_is_proposed(query: dict[str, Any]) -> None:
    assert refusal(query).endswith("; no event was found that meets these conditions.")


@pytest.mark.parametrize(
    ("query", "metadata"),
    [
        (viewed("path", "~", "prices"), {"path": "/prices"}),
        (viewed("path", "!=", "/pricing"), {}),
        (viewed("PATH", "^", "/docs/"), {"path": "/docs/"}),
        (viewed("url", "~", "token"), {"url": "https://example.com/token"}),
        (viewed("referrer", "=", "https://friend.example/"), {"referrer": "https://friend.example/"}),
    ],
    ids=str,
)
def test_a_view_of_a_page_that_can_be_is_proposed(query: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert change(query)[0] == [Happens("page-view", 1, metadata)]


@pytest.mark.parametrize(
    "query",
    [
        attribute("created_at", "before", "2020-01-01"),
        attribute("created_at", "in_more_than_days", 5),
        event("paid", "first", "<", 0),
        event("paid", "first", "more_than_days_ago", 10_000_000),
        event("paid", "count", "<", 0),
        event("paid", "count", "=", 0.5),
        event("paid", "count", ">", 10**400),
        event("paid", "count", ">", 10**6, within_days=1),
        event("paid", "last", "in_less_than_days", 5),
        attribute("custom_attributes.due_at", "in_more_than_days", 10_000_000),
        attribute("custom_attributes.due_at", ">", 253_402_300_799),
        attribute("session_count", ">", 10**9),
        attribute("session_count", "<", 0),
        attribute("page_view_count", ">", 1e300),
        attribute("email", "=", "no address"),
        attribute("custom_attributes.seats", ">", 2**3_320 - 1),
        attribute("tag_id", "=", "t"),
        group("AND", attribute("custom_attributes.n", ">", 5), attribute("custom_attributes.n", "<", 5)),
        group("AND", event("paid", "count", ">", 0), event("paid", "count", "=", 0)),
        group("NOT", event("paid", "count", ">=", 0)),
    ],
    ids=lambda query: str(query)[:80],
)
def test_what_cannot_come_to_be_has_no_change_and_says_so(query: dict[str, Any]) -> None:
    words = refusal(query, created())
    assert re.match("(This cannot be made to hold any more|No few steps were found after which this would hold): .+", words)


def created() -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Somebody who paid yesterday."""
    return {"paid": [(DAY, {})]}


def test_a_search_among_rules_that_get_in_each_others_way_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_change, "MOST_SECONDS", 0.02)
    rules = [event("cart", "count", "=", number, where=[attribute_of("n", ">", number)]) for number in range(30)]
    assert refusal(group("AND", *rules)) == "A change was looked for among 30 rules for as long as is allowed, and none was found."


def attribute_of(key: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": f"metadata.{key}", "operator": operator, "value": value}
