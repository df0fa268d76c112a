"""What somebody may ask for by law, in the console: everything stored about them, and to be deleted."""

import json
from collections.abc import Iterator

import pytest

from collector.values.clock import HOUR
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console, section

SURE = {"sure": "yes"}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def signed_up(on: Console) -> str:
    """A visitor looks around and signs up; returns the user's contact id."""
    on.viewed(lead(), "/pricing")
    on.did(user(), "signed-up", lead=lead())
    on.world.set(user(), {"name": "Ada", "email": "ada@shop.example"})
    return on.contact_id(user())


def test_the_profile_leads_to_export_and_deletion(on: Console) -> None:
    ada = signed_up(on)
    links = Parsed(section(on.profile(user()), "data")).links
    assert [link["href"] for link in links] == [f"/console/people/{ada}/export", f"/console/people/{ada}/delete"]
    assert "download" in links[0]


def test_an_export_is_a_file_with_what_rest_gives_out(on: Console) -> None:
    ada = signed_up(on)
    answer = on.get(f"/people/{ada}/export")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="contact-{ada}.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    token = {"Authorization": f"Bearer {on.world.access_token}"}
    assert json.loads(answer.data) == on.app.test_client().get(f"/api/contacts/{ada}/export", headers=token).json
    assert {event["event_name"] for event in json.loads(answer.data)["events"]} == {"signed-up", "page-view"}


def test_before_a_deletion_one_is_told_what_goes_and_that_it_cannot_be_undone(on: Console) -> None:
    ada = signed_up(on)
    page = on.page(f"/people/{ada}/delete")
    text = Parsed(page).text
    assert "Delete Ada ?" in text
    assert "all 2 devices and ids" in text
    assert "It cannot be undone." in text
    assert f"/console/people/{ada}/export" in Parsed(page).hrefs
    assert on.contact_id(user()) == ada, "asking deletes nothing"


def test_a_visitor_is_called_a_visitor(on: Console) -> None:
    on.viewed(lead(), "/")
    assert "Everything about this visitor is deleted for good" in Parsed(on.page(f"/people/{on.contact_id(lead())}/delete")).text


def test_a_deletion_is_confirmed(on: Console) -> None:
    ada = signed_up(on)
    for fields in ({}, {"sure": ""}, {"sure": "no"}):
        answer = on.post(f"/people/{ada}/delete", fields)
        assert answer.status_code == 400
        assert "Nothing was deleted." in Parsed(answer.text).text
    assert on.contact_id(user()) == ada


def test_a_deleted_person_is_gone_and_the_list_says_so(on: Console) -> None:
    ada = signed_up(on)
    on.viewed(lead("somebody-else"), "/")
    answer = on.post(f"/people/{ada}/delete", SURE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/people?deleted=1")
    page = on.browser.get(answer.headers["Location"], base_url=on.base_url).text
    assert "The person was deleted, with everything that was stored about them." in Parsed(page).text
    assert "1 person" in Parsed(page).text
    assert "ada@shop.example" not in page
    assert "was deleted" not in on.page("/people")
    for path in (f"/people/{ada}", f"/people/{ada}/export", f"/people/{ada}/delete"):
        assert on.get(path).status_code == 404
    assert on.post(f"/people/{ada}/delete", SURE).status_code == 404
    assert on.world.rows("SELECT count(*) FROM events") == [(1,)]


def test_the_last_one_deleted_leaves_the_list_of_a_newcomer(on: Console) -> None:
    ada = signed_up(on)
    answer = on.post(f"/people/{ada}/delete", SURE)
    text = Parsed(on.browser.get(answer.headers["Location"], base_url=on.base_url).text).text
    assert "The person was deleted" in text
    assert "Nobody has been here yet" in text


def test_a_merged_visitors_address_deletes_nothing_and_leads_to_the_person(on: Console) -> None:
    on.viewed(lead(), "/")
    visitor = on.contact_id(lead())
    ada = signed_up(on)
    there = f"/console/people/{ada}?came_from={visitor}"
    for answer in (
        on.get(f"/people/{visitor}/delete"),
        on.get(f"/people/{visitor}/export"),
        on.post(f"/people/{visitor}/delete", SURE),
    ):
        assert (answer.status_code, answer.headers["Location"]) == (302, there)
    assert on.contact_id(user()) == ada


def test_another_sites_people_are_not_there(on: Console) -> None:
    mine, other = on.world.site, on.world.new_site("Other", "https://other.example")
    on.world.site = other
    on.did(user("theirs"), "signed-up")
    theirs = on.contact_id(user("theirs"))
    for named in ("", f"?site={other.key}", f"?site={mine.key}"):
        assert on.get(f"/people/{theirs}/export{named}").status_code == 404
        assert on.get(f"/people/{theirs}/delete{named}").status_code == 404
        assert on.post(f"/people/{theirs}/delete{named}", SURE).status_code == 404
    assert on.contact_id(user("theirs")) == theirs


def test_an_operators_addresses_name_the_site_all_the_way(on: Console) -> None:
    on.world.new_site("Other", "https://other.example")
    on.account("root@example.com", operator=True)
    on.sign_in("root@example.com")
    ada, named = signed_up(on), f"?site={on.world.site.key}"
    page = on.page(f"/people/{ada}/delete{named}")
    assert f'action="/console/people/{ada}/delete{named}"' in page
    answer = on.post(f"/people/{ada}/delete{named}", SURE)
    assert answer.headers["Location"] == f"/console/people?deleted=1&site={on.world.site.key}"


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_nobody_is_deleted_from_elsewhere(on: Console, headers: dict[str, str]) -> None:
    ada = signed_up(on)
    assert on.post(f"/people/{ada}/delete", SURE, headers=headers).status_code == 403
    assert on.contact_id(user()) == ada


def test_without_signing_in_nothing_is_given_out_or_deleted(on: Console) -> None:
    ada = signed_up(on)
    on.browser = on.new_browser()
    for answer in (on.get(f"/people/{ada}/export"), on.get(f"/people/{ada}/delete"), on.post(f"/people/{ada}/delete", SURE)):
        assert answer.headers["Location"].startswith("/console/sign-in")
    assert on.contact_id(user()) == ada


def test_while_nothing_can_be_written_one_is_asked_to_come_again(on: Console) -> None:
    ada = signed_up(on)
    on.services.writer.close()
    answer = on.post(f"/people/{ada}/delete", SURE)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "try again" in Parsed(answer.text).text
    assert on.contact_id(user()) == ada


@pytest.mark.parametrize("contact_id", ["nobody", "a" * 24, "a" * 200, "%00", "a'b"])
def test_who_is_not_there_is_neither_exported_nor_deleted(on: Console, contact_id: str) -> None:
    assert on.get(f"/people/{contact_id}/export").status_code == 404
    assert on.get(f"/people/{contact_id}/delete").status_code == 404
    assert on.post(f"/people/{contact_id}/delete", SURE).status_code == 404


def test_names_that_visitors_chose_stay_text(on: Console) -> None:
    name = "<script>alert(1)</script>"
    on.did(user(name), "signed-up", lead=lead())
    on.world.set(user(name), {"name": name})
    on.clock.advance(HOUR)
    page = on.page(f"/people/{on.contact_id(user(name))}/delete")
    assert page.count("<script") == 1
    assert name in Parsed(page).text
