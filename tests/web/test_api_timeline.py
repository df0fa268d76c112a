"""The timeline over REST, and what visitors did before they became users."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.clock import DAY, MINUTE
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def viewed(rest: Rest, who: Any, path: str, ago: int = 0, **fields: Any) -> None:
    rest.world.send(who, rest.world.event(at=rest.clock() - ago, metadata=f'{{"path": "{path}"}}'), **fields)


def contact_id(rest: Rest, who: Any) -> str:
    return rest.world.person(who if isinstance(who, tuple) else who.key).contact_id


def page(rest: Rest, who: Any, query: str = "") -> dict[str, Any]:
    answer = rest.get(f"/contacts/{contact_id(rest, who)}/timeline?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def paths(rest: Rest, who: Any, query: str = "") -> list[str]:
    return [event["metadata"].get("path", event["event_name"]) for event in page(rest, who, query)["data"]]


def signed_up(rest: Rest) -> tuple[str, str]:
    """Two browsers look around and become one user; returns their contact ids from before."""
    viewed(rest, lead("phone"), "/pricing", 3 * MINUTE)
    viewed(rest, lead("laptop"), "/whitepaper", 2 * MINUTE)
    rest.world.send(lead("laptop"), rest.world.event("downloaded", at=rest.clock() - MINUTE))
    ids = contact_id(rest, lead("phone")), contact_id(rest, lead("laptop"))
    viewed(rest, user(), "/app", lead=lead("phone"))
    viewed(rest, user(), "/app/settings", lead=lead("laptop"))
    return ids


def test_events_are_given_out_the_newest_first(rest: Rest) -> None:
    signed_up(rest)
    assert paths(rest, user())[2:] == ["downloaded", "/whitepaper", "/pricing"]


def test_an_event_names_the_identity_that_sent_it(rest: Rest) -> None:
    phone, laptop = signed_up(rest)
    own = contact_id(rest, user())
    assert [event["contact_id"] for event in page(rest, user())["data"]] == [own, own, laptop, laptop, phone]
    event = page(rest, user(), "event_name=downloaded")["data"][0]
    assert set(event) == {"type", "id", "event_name", "created_at", "contact_id", "unverified", "page", "metadata"}


def test_pages_that_visitors_saw_before_they_signed_up(rest: Rest) -> None:
    phone, laptop = signed_up(rest)
    found = page(rest, user(), "event_name=page-view&before_sign_up=true")["data"]
    assert [(event["metadata"]["path"], event["contact_id"]) for event in found] == [("/whitepaper", laptop), ("/pricing", phone)]
    assert paths(rest, user(), "before_sign_up=true") == ["downloaded", "/whitepaper", "/pricing"]


def test_what_the_browser_does_anonymously_later_is_not_before_sign_up(rest: Rest) -> None:
    signed_up(rest)
    rest.clock.advance(MINUTE)
    viewed(rest, lead("phone"), "/later")
    assert "/later" in paths(rest, user())
    assert "/later" not in paths(rest, user(), "before_sign_up=true")


def test_what_happened_before_and_arrived_after_is_before_sign_up(rest: Rest) -> None:
    signed_up(rest)
    viewed(rest, lead("phone"), "/offline", 10 * MINUTE)
    assert paths(rest, user(), "before_sign_up=true")[-1] == "/offline"


def test_after_an_undone_merge_its_pages_are_the_visitors_again(rest: Rest) -> None:
    phone, _ = signed_up(rest)
    (merge,) = [one for one in rest.get("/merges").json["data"] if one["from"] == phone]
    assert rest.post(f"/merges/{merge['id']}/undo", {}).status_code == 200
    assert paths(rest, user(), "before_sign_up=true") == ["downloaded", "/whitepaper"]
    assert paths(rest, lead("phone")) == ["/pricing"]


def test_a_visitor_has_not_signed_up(rest: Rest) -> None:
    viewed(rest, lead(), "/pricing")
    assert paths(rest, lead(), "before_sign_up=true") == []


@pytest.mark.parametrize("filters", ["", "before_sign_up=true&", "event_name=page-view&before_sign_up=true&"])
def test_pages_give_out_each_event_once_those_of_one_time_too(rest: Rest, filters: str) -> None:
    for number in range(7):
        viewed(rest, lead("phone" if number % 2 else "laptop"), f"/{number}", MINUTE * (number // 3))
    viewed(rest, user(), "/app", 5 * MINUTE, lead=lead("phone"))
    rest.clock.advance(1)
    for name in ("phone", "laptop"):
        viewed(rest, user(), "/in", lead=lead(name))
    whole = [event["id"] for event in page(rest, user(), filters)["data"]]
    found, cursor = [], ""
    while True:
        answer = page(rest, user(), f"{filters}per_page=2{cursor}")
        found += [event["id"] for event in answer["data"]]
        if answer["pages"]["next"] is None:
            break
        cursor = f"&starting_after={answer['pages']['next']['starting_after']}"
    assert found == whole
    assert len(set(found)) == len(found) >= 3


def test_what_is_older_than_the_timeline_is_not_given_out(rest: Rest) -> None:
    signed_up(rest)
    rest.clock.advance(91 * DAY)
    assert paths(rest, user()) == paths(rest, user(), "before_sign_up=true") == []


def test_a_merged_visitor_leads_to_the_user(rest: Rest) -> None:
    phone, _ = signed_up(rest)
    answer = rest.get(f"/contacts/{phone}/timeline")
    assert problem(answer)[:2] == (410, "contact_merged")
    assert contact_id(rest, user()) in answer.headers["Link"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("starting_after=x", "starting_after"),
        ("before_sign_up=maybe", "before_sign_up"),
        ("per_page=0", "per_page"),
        ("event_name=%00", "event_name"),
    ],
)
def test_a_wrong_question_names_the_place(rest: Rest, query: str, field: str) -> None:
    viewed(rest, lead(), "/pricing")
    assert problem(rest.get(f"/contacts/{contact_id(rest, lead())}/timeline?{query}")) == (400, "field_invalid", field)


def test_nobodys_timeline(rest: Rest) -> None:
    assert rest.get("/contacts/nobody/timeline").status_code == 404
