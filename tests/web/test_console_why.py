"""Why a message is shown to somebody, or not, as the console tells it; and what was decided about it lately."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from collector.values.clock import HOUR
from tests.support.clock import START, FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console, section

PRICING_OFTEN = {"event": "page-view", "field": "count", "operator": ">", "value": 1}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def test_a_profile_leads_to_each_live_message_and_that_to_the_answer(on: Console) -> None:
    made, paused = on.message(name="Ask us"), on.message(name="Later", state="paused")
    on.viewed(lead(), "/")
    listed = f"/console/people/{on.contact_id(lead())}/why"
    assert listed in Parsed(on.profile(lead())).hrefs
    page = Parsed(on.page(listed.removeprefix("/console")))
    assert f"{listed}/{made.public_id}" in page.hrefs
    assert f"{listed}/{paused.public_id}" not in page.hrefs
    text = Parsed(on.page(f"{listed.removeprefix('/console')}/{made.public_id}")).text
    assert "Why it would be shown" in text
    assert "Yes Nothing stands against it" in text


def test_each_rule_is_said_with_the_tree_of_the_audience(on: Console) -> None:
    made = on.message(audience=PRICING_OFTEN, page={"field": "path", "operator": "is", "value": "/pricing"})
    on.viewed(lead(), "/")
    address = f"/people/{on.contact_id(lead())}/why/{made.public_id}"
    text = Parsed(section(on.page(address), "verdicts")).text
    assert "No 1 rule against it" in text
    assert "✗ Does not hold: Audience. “page-view” happened 1 time, expected more than 1. One more page view would show it." in text
    assert "? Not evaluated: Page. It depends on the page, and none was given" in text
    page = on.page(f"{address}?url={quote('https://shop.example/<b>team', safe='')}")
    assert "https://shop.example/<b>team is no page it shows on: where path is “/pricing”." in Parsed(page).text
    assert "2 rules against it" in Parsed(page).text
    assert "b>team" not in "".join(Parsed(page).tags)


def test_a_value_that_is_missing_stands_against_it_whatever_the_audience_lacks(on: Console) -> None:
    made = on.message(audience=PRICING_OFTEN, content={"body": "Hi {{first_name}}"})
    on.viewed(lead(), "/")
    text = Parsed(section(on.page(f"/people/{on.contact_id(lead())}/why/{made.public_id}"), "verdicts")).text
    assert "No 2 rules against it" in text
    assert "✗ Does not hold: Content. This person has no first_name, and there is no fallback." in text
    assert "One more page view would bring this person into its audience." in text


def test_what_is_no_page_is_refused_beside_its_field(on: Console) -> None:
    made = on.message()
    on.viewed(lead(), "/")
    page = on.page(f"/people/{on.contact_id(lead())}/why/{made.public_id}?url=javascript:alert(1)")
    assert 'aria-invalid="true" aria-describedby="url-problem"' in page
    assert "This is no address of a page." in Parsed(page).text


def test_a_message_opened_by_an_event_is_decided_for_the_last_of_it(on: Console) -> None:
    made = on.message(trigger={"type": "event", "event": "saved"})
    on.viewed(lead(), "/")
    address = f"/people/{on.contact_id(lead())}/why/{made.public_id}"
    assert "Not evaluated: Trigger." in Parsed(on.page(address)).text
    on.did(lead(), "saved", at=START - 2 * HOUR)
    on.did(lead(), "saved", at=START - HOUR)
    assert "Holds: Trigger. “saved” happened at 15:13, which opens it." in Parsed(on.page(address)).text


def test_what_was_decided_lately_stands_in_the_list_and_with_the_message(on: Console) -> None:
    made = on.message(name="Ask us")
    on.viewed(lead(), "/")
    person = on.world.person(lead().key)
    on.services.decisions.note(on.site.id, person.id, [(made.id, "caps")], START)
    on.services.decisions.write()
    held = "It was meant for this person, but held back by the limits across messages: at 16:13."
    listed = f"/people/{person.contact_id}/why"
    assert held in Parsed(on.page(listed)).text
    assert held in Parsed(section(on.page(f"{listed}/{made.public_id}"), "past")).text


def test_a_visitor_leads_to_the_user_it_became_and_nobody_to_a_page_of_ours(on: Console) -> None:
    made = on.message()
    on.viewed(lead(), "/")
    anonymous = on.contact_id(lead())
    on.did(user(), "signed-up", lead=lead())
    for path in ("", f"/{made.public_id}"):
        answer = on.get(f"/people/{anonymous}/why{path}")
        assert (answer.status_code, f"/people/{on.contact_id(user())}" in answer.headers["Location"]) == (302, True)
    assert on.get(f"/people/{'0' * 24}/why").status_code == 404
    assert on.get(f"/people/{on.contact_id(user())}/why/{'0' * 24}").status_code == 404
