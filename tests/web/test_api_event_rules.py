"""Event rules by REST: made, listed, archived; a real collector applies them to what there was."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector
from tests.web.test_api_support import Rest, problem, serving

PAGE = {"field": "path", "operator": "is", "value": "/pricing"}


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
    assert (rule["type"], rule["event_name"], rule["page"]) == ("event_rule", "saw-pricing", PAGE)
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


def test_a_running_collector_goes_back_by_itself(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    lead = f"{1:022d}.{1:022d}"
    view = new_event(page={"url": "https://shop.example/pricing"})
    collector.client.post_json("/collect", envelope(collector.site_key, lead, view))
    rule = collector.client.api("POST", "/event_rules", {"event_name": "saw-pricing", "page": PAGE}).json["id"]
    deadline = time.monotonic() + 60
    while collector.client.api("GET", f"/event_rules/{rule}").json["backfilled_at"] is None and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    found = {"event": "saw-pricing", "field": "count", "operator": "=", "value": 1}
    assert collector.client.api("POST", "/contacts/search", {"query": found}).json["total_count"] == 1
