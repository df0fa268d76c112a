"""Segments in the console: listed with what they count now, made of a query, renamed, edited, deleted."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from collector.domain import segments
from collector.domain.segments import Segment
from collector.values.clock import DAY, SECOND
from tests.support.clock import START, FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console

REPORTS = {"event": "created-report", "field": "count", "operator": ">", "value": 2}
WORDS = "Did “created-report” more than 2 times"


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def reported(on: Console, name: str, times: int) -> None:
    for number in range(times):
        on.did(user(name), "created-report", at=START - number * DAY)


def sent(on: Console, path: str, **fields: Any) -> tuple[int, str, str]:
    """Send a form; returns status, text, and where it leads."""
    query = fields.get("query")
    answer = on.post(path, {**fields, **({} if query is None or isinstance(query, str) else {"query": json.dumps(query)})})
    return answer.status_code, Parsed(answer.text).text, answer.headers.get("Location", "")


def made(on: Console, name: str = "Busy", query: Any = REPORTS) -> str:
    """Make a segment and return the address of its page."""
    status, text, where = sent(on, "/segments/new", name=name, query=query)
    assert status == 303, text
    return urlsplit(where).path.removeprefix("/console")


def stored(on: Console) -> list[Segment]:
    with on.services.database.read() as connection:
        return segments.all_of(connection, on.site.id)


# The list


def test_without_segments_the_page_says_what_one_is(on: Console) -> None:
    assert "A segment is a query with a name" in Parsed(on.page("/segments")).text


def test_each_segment_stands_with_its_count_and_the_time_of_it(on: Console) -> None:
    reported(on, "busy", 3)
    made(on)
    made(on, "Idle", {"operator": "NOT", "value": [REPORTS]})
    made(on, "Both", {"operator": "AND", "value": [REPORTS, {"event": "paid", "field": "count", "operator": ">", "value": 0}]})
    text = Parsed(on.page("/segments")).text
    assert "3 segments" in text
    assert f"Busy {WORDS} 1 " in text
    assert f"Idle None of these holds: {WORDS} 0 " in text
    assert "Both All of these hold: 2 rules 0 " in text
    assert "Counted at 16:13:20" in text


def test_the_numbers_are_asked_for_again(on: Console) -> None:
    address = made(on)
    public_id = address.rpartition("/")[2]
    page = on.page("/segments")
    assert 'data-counts="/console/segments/counts"' in page
    assert f'data-count="{public_id}"' in page
    reported(on, "busy", 3)
    on.clock.advance(4 * SECOND)
    answer = on.get("/segments/counts").json
    assert answer == {"at": "2026-09-21T16:13:24+02:00", "clock": "16:13:24", "people": {public_id: "1"}}
    assert on.get(f"/segments/counts?id={public_id}").json == answer
    assert on.get("/segments/counts?id=none").status_code == 404


def test_without_columns_in_memory_the_numbers_are_the_same(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, columns_megabytes=0) as on:
        on.sign_in()
        reported(on, "busy", 3)
        reported(on, "idle", 1)
        address = made(on)
        assert on.get("/segments/counts").json["people"] == {address.rpartition("/")[2]: "1"}


def test_who_is_not_signed_in_is_told_no_number(on: Console) -> None:
    made(on)
    on.browser = on.new_browser()
    assert on.get("/segments/counts").status_code == 303


def test_the_people_of_a_segment(on: Console) -> None:
    reported(on, "busy", 3)
    reported(on, "idle", 1)
    made(on)
    (href,) = [href for href in Parsed(on.page("/segments")).hrefs if "/people?query=" in href]
    page = on.page(href.removeprefix("/console"))
    text = Parsed(page).text
    assert "People of the segment Busy" in text
    assert WORDS in text
    assert "1 person" in text
    assert on.contact_id(user("busy")) in page
    assert on.contact_id(user("idle")) not in page


# One segment


def test_a_segment_is_made(on: Console) -> None:
    reported(on, "busy", 3)
    address = made(on, "  Busy ")
    (one,) = stored(on)
    assert one.name == "Busy"
    text = Parsed(on.page(f"{address}?saved=1")).text
    assert "Saved." in text
    assert "People 1 " in text
    assert WORDS in text


def test_a_query_is_saved_from_the_page_of_people(on: Console) -> None:
    reported(on, "busy", 3)
    page = on.page(f"/people?query={quote(json.dumps(REPORTS))}")
    (href,) = [href for href in Parsed(page).hrefs if "/segments/new" in href]
    assert json.loads(parse_qs(urlsplit(href).query)["query"][0]) == REPORTS
    form = on.page(href.removeprefix("/console"))
    assert "created-report" in form
    assert WORDS in Parsed(form).text


@pytest.mark.parametrize("query", [{"field": "segment_id", "operator": "has_any_value"}, {"event": "x"}])
def test_what_cannot_be_a_segment_is_not_offered(on: Console, query: Any) -> None:
    reported(on, "busy", 3)
    assert "/segments/new" not in on.page(f"/people?query={quote(json.dumps(query))}")


def test_a_segment_is_renamed_and_edited(on: Console) -> None:
    reported(on, "busy", 3)
    reported(on, "idle", 1)
    address = made(on)
    status, _, where = sent(on, address, name="All", query={**REPORTS, "value": 0})
    assert (status, urlsplit(where).path) == (303, f"/console{address}")
    (one,) = stored(on)
    assert (one.name, on.get("/segments/counts").json["people"]) == ("All", {one.public_id: "2"})


def test_a_message_that_asks_for_the_segment_follows_at_once(on: Console) -> None:
    address = made(on)
    on.message(audience={"field": "segment_id", "operator": "=", "value": address.rpartition("/")[2]})
    before = on.services.auto_messages.live(on.site.id).messages[0].definition.audience
    sent(on, address, name="Busy", query={**REPORTS, "value": 0})
    assert on.services.auto_messages.live(on.site.id).messages[0].definition.audience != before


def test_counting_saves_nothing(on: Console) -> None:
    reported(on, "busy", 3)
    address = made(on)
    status, text, _ = sent(on, address, name="Other", query={**REPORTS, "value": 0}, do="count")
    assert status == 200
    assert "It describes 1 person now. Nothing was saved." in text
    assert stored(on)[0].name == "Busy"
    assert sent(on, "/segments/new", name="", query=REPORTS, do="count")[0] == 200
    assert len(stored(on)) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " ", "query": REPORTS}, "Give it a name of 1 to 255 characters."),
        ({"name": "x" * 256, "query": REPORTS}, "Give it a name of 1 to 255 characters."),
        ({"name": "Taken", "query": REPORTS}, "A segment of this name exists already."),
        ({"name": "x", "query": ""}, "Write a query: it says who is in the segment."),
        ({"name": "x", "query": '{"event":\r\n"a" "b"}'}, "At line 2, column 5 : This is no JSON"),
        ({"name": "x", "query": {"operator": "AND", "value": [{**REPORTS, "operator": "is"}]}}, "At query.value[0].operator :"),
        ({"name": "x", "query": {**REPORTS, "within_days": 91}}, "At query.within_days : There is 91; expected whole days from 1 to 90"),
        ({"name": "x", "query": {"field": "segment_id", "operator": "has_any_value"}}, "A segment does not ask for segments"),
    ],
)
def test_what_is_wrong_is_said_at_its_place_and_nothing_is_lost(on: Console, fields: dict[str, Any], said: str) -> None:
    taken = made(on, "Taken")
    other = made(on, "Other")
    for path in ("/segments/new", other):
        query = fields["query"] if isinstance(fields["query"], str) else json.dumps(fields["query"])
        answer = on.post(path, {**fields, "query": query})
        assert answer.status_code == 400
        assert said in Parsed(answer.text).text
        assert answer.text.count('aria-invalid="true"') == answer.text.count("autofocus") == 1
    assert sorted(one.name for one in stored(on)) == ["Other", "Taken"]
    assert on.get(taken).status_code == 200


def test_a_segment_is_deleted(on: Console) -> None:
    address = made(on)
    status, _, where = sent(on, f"{address}/delete")
    assert (status, where) == (303, "/console/segments?deleted=1")
    assert stored(on) == []
    assert on.get(address).status_code == 404
    assert on.post(f"{address}/delete").status_code == 404
    assert "The segment was deleted." in Parsed(on.page("/segments?deleted=1")).text


def test_a_segment_that_a_message_asks_for_stays(on: Console) -> None:
    address = made(on)
    on.message(name="For the busy", audience={"field": "segment_id", "operator": "=", "value": address.rpartition("/")[2]})
    status, text, _ = sent(on, f"{address}/delete")
    assert status == 409
    assert "Nothing was deleted: the message For the busy asks for this segment." in text
    assert len(stored(on)) == 1


def test_another_page_can_change_nothing(on: Console) -> None:
    address = made(on)
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    fields = {"name": "x", "query": json.dumps(REPORTS)}
    for path in ("/segments/new", address, f"{address}/delete"):
        assert on.post(path, fields, headers=elsewhere).status_code == 403
    assert [one.name for one in stored(on)] == ["Busy"]


def test_another_sites_segment_is_not_there(on: Console) -> None:
    other = on.world.new_site("Other", "https://other.example")
    address = made(on)
    on.account("two@example.com", other)
    on.browser = on.new_browser()
    on.sign_in("two@example.com")
    assert on.get(address).status_code == on.post(address, {"name": "x"}).status_code == on.post(f"{address}/delete").status_code == 404
    assert on.get(f"/segments/counts?id={address.rpartition('/')[2]}").status_code == 404
    assert "Busy" not in on.page("/segments")


def test_a_name_stays_text(on: Console) -> None:
    address = made(on, "<script>alert(1)</script>")
    for path in ("/segments", address):
        assert "<script>alert" not in on.page(path)


# Something in the cart and no checkout since: the example of the query box


def test_the_example_of_the_cart_holds_for_who_has_not_checked_out_since(on: Console) -> None:
    on.did(lead("never"), "cart")
    on.did(lead("since"), "checkout", at=START - DAY)
    on.did(lead("since"), "cart")
    on.did(lead("done"), "cart", at=START - DAY)
    on.did(lead("done"), "checkout")
    on.did(lead("nothing"), "page-view")
    example = '{"event": "cart", "field": "last", "operator": ">", "value": {"event": "checkout", "field": "last"}}'
    assert example in Parsed(on.page("/people")).text
    page = on.page(f"/people?query={quote(example)}")
    assert {name: on.contact_id(lead(name)) in page for name in ("never", "since", "done", "nothing")} == {
        "never": True,
        "since": True,
        "done": False,
        "nothing": False,
    }
