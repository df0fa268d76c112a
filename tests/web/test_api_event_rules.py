"""Event rules by REST: made, listed, archived; a real collector applies them to what there was."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.domain import element_rules
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector
from tests.web.test_api_support import Rest, problem, serving

PAGE = {"field": "path", "operator": "is", "value": "/pricing"}
CLICK = {
    "source": "click",
    "selector": "article.product button",
    "page": PAGE,
    "metadata": [{"key": "name", "from": "text", "selector": "h2"}, {"key": "plan", "from": "attribute", "attribute": "data-plan"}],
}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def made(rest: Rest) -> dict[str, Any]:
    answer = rest.post("/event_rules", {"event_name": " saw-pricing ", "page": PAGE})
    assert answer.status_code == 201, answer.text
    return answer.json


def test_a_rule_is_given_out_as_it_was_made(rest: Rest) -> None:
    rule = made(rest)
    assert (rule["type"], rule["event_name"], rule["source"], rule["page"]) == ("event_rule", "saw-pricing", "page_view", PAGE)
    assert (rule["created_at"], rule["archived_at"], rule["backfilled_at"]) == (rest.now, None, None)
    assert rest.get(f"/event_rules/{rule['id']}").json == rule
    assert rest.get("/event_rules").json == {"type": "list", "data": [rule], "total_count": 1}


def test_deleted_it_is_archived(rest: Rest) -> None:
    rule = made(rest)
    rest.clock.advance(1_000)
    archived = rest.send("DELETE", f"/event_rules/{rule['id']}").json
    assert archived == {**rule, "archived_at": rest.now}
    rest.clock.advance(1_000)
    assert rest.send("DELETE", f"/event_rules/{rule['id']}").json == archived


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"page": PAGE}, "event_name"),
        ({"event_name": "x"}, "page"),
        ({"event_name": "page-view", "page": PAGE}, "event_name"),
        ({"event_name": "", "page": PAGE}, "event_name"),
        ({"event_name": "x", "page": {"field": "path", "operator": "matches", "value": "/"}}, "page.operator"),
        ({"event_name": "x", "page": PAGE, "selector": "a"}, "selector"),
        ({"event_name": "x", "page": PAGE, "source": "hover"}, "source"),
        ({"event_name": "x", "page": PAGE, "source": ["click"]}, "source"),
        ({"event_name": "x", "source": "click"}, "selector"),
        ({"selector": "a", "source": "click"}, "event_name"),
        ({"event_name": "page-view", "source": "submit", "selector": "form"}, "event_name"),
        ({"event_name": "x", "source": "click", "selector": "a", "label": "y"}, "label"),
        ({"event_name": "x", "source": "click", "selector": "a", "page": {"field": "hash"}}, "page.field"),
        ({"event_name": "x", **CLICK, "metadata": [{"key": "k", "from": "value"}]}, "metadata[0].from"),
    ],
)
def test_a_wrong_rule_names_the_place(rest: Rest, body: Any, field: str) -> None:
    answer = problem(rest.post("/event_rules", body))
    assert (answer[0] in (400, 422), answer[2]) == (True, field)


def test_a_rule_of_another_site_is_none(rest: Rest) -> None:
    rule = made(rest)
    other = rest.other_site()
    assert other.get(f"/event_rules/{rule['id']}").status_code == 404
    assert other.send("DELETE", f"/event_rules/{rule['id']}").status_code == 404
    assert other.get("/event_rules").json["data"] == []


@pytest.mark.parametrize("source", ["click", "submit"])
def test_a_rule_by_selector_is_given_out_as_it_was_made(rest: Rest, source: str) -> None:
    answer = rest.post("/event_rules", {"event_name": " added ", **CLICK, "source": source})
    assert answer.status_code == 201, answer.text
    rule = answer.json
    times = {"created_at": rest.now, "archived_at": None}
    assert rule == {"type": "event_rule", "id": rule["id"], "event_name": "added", **CLICK, "source": source, **times}
    assert rest.get(f"/event_rules/{rule['id']}").json == rule


def test_without_page_and_metadata_it_is_for_every_page_and_carries_nothing(rest: Rest) -> None:
    rule = rest.post("/event_rules", {"event_name": "added", "source": "click", "selector": " a > b "}).json
    assert (rule["selector"], rule["page"], rule["metadata"]) == ("a > b", None, [])


def test_rules_of_every_source_stand_in_one_list_the_newest_first(rest: Rest) -> None:
    first = made(rest)
    rest.clock.advance(1_000)
    second = rest.post("/event_rules", {"event_name": "added", **CLICK}).json
    rest.clock.advance(1_000)
    third = made(rest)
    assert rest.get("/event_rules").json == {"type": "list", "data": [third, second, first], "total_count": 3}


def test_a_rule_by_selector_is_archived_too_and_is_none_of_another_site(rest: Rest) -> None:
    rule = rest.post("/event_rules", {"event_name": "added", **CLICK}).json
    other = rest.other_site()
    assert other.send("DELETE", f"/event_rules/{rule['id']}").status_code == 404
    assert other.get("/event_rules").json["data"] == []
    rest.clock.advance(1_000)
    assert rest.send("DELETE", f"/event_rules/{rule['id']}").json == {**rule, "archived_at": rest.now}


def test_a_site_has_at_most_fifty_rules_by_selector(rest: Rest) -> None:
    rule = {"event_name": "added", "source": "click", "selector": "a"}
    kept = [rest.post("/event_rules", rule).json["id"] for _ in range(element_rules.MOST_ACTIVE)]
    assert problem(rest.post("/event_rules", rule)) == (409, "rule_limit", None)
    assert rest.other_site().post("/event_rules", rule).status_code == 201
    rest.send("DELETE", f"/event_rules/{kept[0]}")
    assert rest.post("/event_rules", rule).status_code == 201


def test_rules_by_selector_are_small_together(rest: Rest) -> None:
    large = {"event_name": "added", "source": "click", "selector": "ü" * 500}
    answers = [rest.post("/event_rules", large) for _ in range(20)]
    assert problem(answers[-1]) == (409, "rule_limit", None)
    stored = sum(len(json.dumps(one, ensure_ascii=False).encode()) for one in rest.get("/event_rules").json["data"])
    assert element_rules.MOST_BYTES * 0.8 < stored < element_rules.MOST_BYTES * 1.3


def test_a_running_collector_goes_back_by_itself(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    collector.stop()
    collector.start("from collector import backfill\nbackfill.SETTLED_SECONDS, backfill.LOOK_SECONDS = 0, 0.1")
    lead = f"{1:022d}.{1:022d}"
    view = new_event(page={"url": "https://shop.example/pricing"})
    collector.client.post_json("/collect", envelope(collector.site_key, lead, view))
    rule = collector.client.api("POST", "/event_rules", {"event_name": "saw-pricing", "page": PAGE}).json["id"]
    deadline = time.monotonic() + 60
    while collector.client.api("GET", f"/event_rules/{rule}").json["backfilled_at"] is None and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    found = {"event": "saw-pricing", "field": "count", "operator": "=", "value": 1}
    assert collector.client.api("POST", "/contacts/search", {"query": found}).json["total_count"] == 1
