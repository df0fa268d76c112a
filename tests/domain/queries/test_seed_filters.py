"""The filters that marketing asks for, each alone and together with when somebody was last seen."""

from typing import Any

import pytest

from collector.values.clock import DAY, MINUTE
from collector.values.ids import new_uuid7
from tests.domain.queries.conftest import NOW
from tests.support.asking import Asking
from tests.support.world import lead

SEEN_LATELY = {"field": "last_seen_at", "operator": "less_than_days_ago", "value": 30}


def count(event: str, operator: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"event": event, "field": "count", "operator": operator, "value": value, **more}


def pricing(operator: str = ">", value: int = 3) -> dict[str, Any]:
    return count("page-view", operator, value, where=[{"field": "metadata.path", "operator": "=", "value": "/pricing"}])


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "more than two reports": (count("created-report", ">", 2), {"busy", "busy, away"}),
    "the first report more than five days ago": (
        {"event": "created-report", "field": "first", "operator": "more_than_days_ago", "value": 5},
        {"busy", "busy, away"},
    ),
    "cart but no checkout": (
        {"operator": "AND", "value": [count("cart", ">", 0), count("checked-out", "=", 0)]},
        {"cart", "cart, away"},
    ),
    "cart but no checkout since": (
        {"event": "cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}},
        {"cart", "cart, away", "cart again"},
    ),
    "whitepaper downloaded": (
        count("downloaded", ">=", 1, where=[{"field": "metadata.file", "operator": "$", "value": "Whitepaper.PDF"}]),
        {"reader"},
    ),
    "form error met": (
        {"event": "form-error", "field": "last", "operator": "less_than_hours_ago", "value": 24},
        {"reader"},
    ),
    "a feature never used": (
        count("exported", "=", 0),
        {"busy, away", "cart", "cart, away", "cart again", "bought", "reader", "looking"},
    ),
    "pricing viewed more than three times": (pricing(), {"looking"}),
}


@pytest.fixture
def asking(asking: Asking) -> Asking:
    """People who did this and that; they were here ten days ago, or fifty where they are away."""
    world = asking.world

    def lives(name: str, *events: tuple[str, int] | tuple[str, int, str]) -> None:
        seen = NOW - (50 if "away" in name else 10) * DAY
        sent = [world.event(event, at=NOW - age, metadata=metadata[0] if metadata else None) for event, age, *metadata in events]
        world.send(lead(name), *sent, world.event("visited", at=seen, visit=new_uuid7(seen)))

    for name in ("busy", "busy, away"):
        lives(name, *[("created-report", age * DAY) for age in (6, 4, 1)], *([("exported", DAY)] if name == "busy" else []))
    lives("cart", ("cart", 2 * DAY))
    lives("cart, away", ("cart", 2 * DAY))
    lives("cart again", ("cart", 5 * DAY), ("checked-out", 4 * DAY), ("cart", DAY))
    lives("bought", ("cart", 2 * DAY), ("checked-out", DAY))
    lives("reader", ("downloaded", DAY, '{"file":"Our whitepaper.pdf"}'), ("downloaded", DAY, '{"file":"a.txt"}'), ("form-error", DAY - 1))
    lives("looking", *[("page-view", age * MINUTE, '{"path":"/pricing"}') for age in (1, 2, 3, 4)], ("page-view", 5, '{"path":"/"}'))
    world.send(lead("bought"), world.event("exported", at=NOW - 3 * DAY))
    return asking


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_whom_it_is_meant_to_find(asking: Asking, name: str) -> None:
    query, expected = FILTERS[name]
    expected = expected - {"bought"} if name == "a feature never used" else expected
    assert asking.found(query) == expected
    assert asking.found({"operator": "NOT", "value": [query]}) == asking.found({"field": "role", "operator": "has_any_value"}) - expected
    lately = {one for one in expected if "away" not in one}
    assert asking.found({"operator": "AND", "value": [query, SEEN_LATELY]}) == lately


def test_all_that_is_asked_for_at_once(asking: Asking) -> None:
    """Did X more than twice, the last one not lately, never Y, seen within 30 days."""
    late = {"event": "created-report", "field": "last", "operator": "more_than_hours_ago", "value": 12}
    rules = [count("created-report", ">", 2), late, count("checked-out", "=", 0), SEEN_LATELY]
    assert asking.found({"operator": "AND", "value": rules}) == {"busy"}
