"""Contacts: made, found, listed and changed as with Intercom."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector.domain.names import Names
from collector.values.ids import new_uuid7
from collector.values.visit_context import VISIT_FIELDS
from tests.domain.test_deletion import wait_for_a_row
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_api_support import Rest, lose, problem, serving

CONTACT_KEYS = """
type id workspace_id external_id role email phone name avatar owner_id has_hard_bounced marked_email_as_spam unsubscribed_from_emails
created_at updated_at signed_up_at last_seen_at last_replied_at last_contacted_at last_email_opened_at last_email_clicked_at
language_override browser browser_version browser_language os location custom_attributes tags notes companies
opted_in_subscription_types social_profiles android_app_name ios_app_name
"""


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def test_a_contact_has_every_key_of_intercoms(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", email="Ann@Example.com", name="Ann", custom_attributes={"plan": "pro", "paid_at": 1_700_000_000})
    assert made.keys() >= set(CONTACT_KEYS.split())
    assert made["type"] == "contact"
    assert (made["role"], made["external_id"], made["email"], made["name"]) == ("user", "u-1", "Ann@Example.com", "Ann")
    assert made["custom_attributes"] == {"plan": "pro", "paid_at": 1_700_000_000}
    assert made["created_at"] == made["updated_at"] == rest.now
    assert made["tags"] == {"type": "list", "data": [], "url": f"/api/contacts/{made['id']}/tags", "total_count": 0, "has_more": False}
    assert rest.get(f"/contacts/{made['id']}").json == made


def test_a_contact_has_what_its_visits_say(rest: Rest) -> None:
    page = '{"url":"https://shop.example/?utm_source=news&utm_campaign=fall","referrer":"https://mail.example/"}'
    client = '{"browser":"Firefox","browser_version":"130.0","os":"Linux","device":"desktop","browser_language":"de-AT"}'
    rest.world.send(user(), rest.world.event(visit=new_uuid7(rest.clock()), page=page), lead=lead(), client=client)
    shown = rest.get("/contacts/find_by_external_id/u-1").json
    assert {name: shown[name] for name in VISIT_FIELDS if shown[name] is not None} == {
        "utm_source": "news", "utm_campaign": "fall", "referrer": "https://mail.example/",
        "first_utm_source": "news", "first_utm_campaign": "fall", "first_referrer": "https://mail.example/",
        "browser": "Firefox", "browser_version": "130.0", "os": "Linux", "device": "desktop", "browser_language": "de-AT",
    }  # fmt: skip


def test_what_visits_say_is_not_set_over_rest_but_for_the_campaign(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", utm_source="fair")
    assert made["utm_source"] == "fair"
    for field in ("browser", "os", "device", "referrer", "first_referrer", "first_utm_source"):
        assert problem(rest.put(f"/contacts/{made['id']}", {field: "x"})) == (400, "attribute_protected", field)


def test_people_are_found_by_what_their_visits_say(rest: Rest) -> None:
    page = '{"url":"https://shop.example/","referrer":"https://mail.example/"}'
    rest.world.send(lead(), rest.world.event(visit=new_uuid7(rest.clock()), page=page), client='{"browser":"Firefox"}')
    for field, value in (("referrer", "https://mail.example/"), ("browser", "Firefox"), ("first_referrer", "https://mail.example/")):
        answer = rest.post("/contacts/search", {"query": {"field": field, "operator": "=", "value": value}})
        assert answer.json["total_count"] == 1, field


def test_people_are_found_by_the_domain_of_their_email(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", email="Ann@Example.COM")
    answer = rest.post("/contacts/search", {"query": {"field": "email_domain", "operator": "=", "value": "example.com"}})
    assert [one["id"] for one in answer.json["data"]] == [made["id"]]


def test_a_user_may_be_known_by_an_email_alone(rest: Rest) -> None:
    made = rest.contact(email="ann@example.com")
    assert (made["role"], made["external_id"], made["email"]) == ("user", None, "ann@example.com")


def test_a_lead_needs_nothing_but_its_role(rest: Rest) -> None:
    made = rest.contact(role="lead", email="ann@example.com")
    assert (made["role"], made["external_id"], made["email"]) == ("lead", None, "ann@example.com")


def test_a_user_without_external_id_and_email_is_refused(rest: Rest) -> None:
    assert problem(rest.post("/contacts", {"name": "Ann"})) == (400, "field_missing", "external_id")
    assert problem(rest.post("/contacts", {"role": "user"})) == (400, "field_missing", "external_id")


def test_a_lead_has_no_external_id(rest: Rest) -> None:
    assert problem(rest.post("/contacts", {"role": "lead", "external_id": "u-1"})) == (400, "field_invalid", "external_id")


def test_an_external_id_is_taken_once(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    answer = rest.post("/contacts", {"external_id": "u-1"})
    assert problem(answer) == (409, "conflict", "external_id")
    assert made["id"] in answer.json["errors"][0]["message"]


def test_a_user_the_browser_brought_is_taken_too(rest: Rest) -> None:
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    assert problem(rest.post("/contacts", {"external_id": "u-1"})) == (409, "conflict", "external_id")


def test_an_email_alone_is_taken_once_whatever_its_case(rest: Rest) -> None:
    rest.contact(email="ann@example.com")
    assert problem(rest.post("/contacts", {"email": "ANN@example.com"})) == (409, "conflict", "email")


@pytest.mark.parametrize("fields", [{"external_id": "u-1"}, {"email": "ann@example.com"}])
def test_of_many_who_make_the_same_contact_at_once_one_does(rest: Rest, fields: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: rest.app.test_client().post("/api/contacts", json=fields, headers=rest.access), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 15]
    assert rest.get("/contacts").json["total_count"] == 1


def test_two_users_may_share_an_email_where_their_ids_differ(rest: Rest) -> None:
    rest.contact(external_id="u-1", email="team@example.com")
    rest.contact(external_id="u-2", email="team@example.com")


def test_external_ids_are_found_exactly(rest: Rest) -> None:
    for external_id in ("u-1", "U-1", "a/b", "50%", "ü ber"):
        made = rest.contact(external_id=external_id)
        path = external_id.replace("%", "%25").replace("/", "%2F").replace(" ", "%20")
        assert rest.get(f"/contacts/find_by_external_id/{path}").json["id"] == made["id"]
    assert problem(rest.get("/contacts/find_by_external_id/u-2")) == (404, "not_found", None)


def test_a_number_as_external_id_is_its_digits(rest: Rest) -> None:
    assert rest.contact(external_id=42)["external_id"] == "42"


def test_an_unknown_contact_is_404(rest: Rest) -> None:
    for contact_id in ("0" * 24, "nobody", "%00", "..."):
        assert problem(rest.get(f"/contacts/{contact_id}")) == (404, "not_found", None)
        assert problem(rest.put(f"/contacts/{contact_id}", {"name": "Ann"})) == (404, "not_found", None)


def test_a_merged_lead_is_gone_and_says_where_to(rest: Rest) -> None:
    anonymous = rest.world.send(lead(), rest.world.event()).contact_id
    signed_in = rest.world.send(user("u-1"), rest.world.event(), lead=lead()).contact_id
    answer = rest.client.get(f"/api/contacts/{anonymous}", headers=rest.access, environ_overrides={"SCRIPT_NAME": "/ll"})
    assert problem(answer) == (410, "contact_merged", None)
    assert answer.headers["Link"] == f'</ll/api/contacts/{signed_in}>; rel="canonical"'
    assert problem(rest.put(f"/contacts/{anonymous}", {"name": "Ann"}))[0] == 410


def test_a_lead_that_is_merged_while_it_is_changed_says_where_to(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    world = rest.world
    anonymous = world.send(lead(), world.event()).contact_id
    ensure = Names.ensure

    def ensure_and_merge(*asked: Any) -> None:
        """Let somebody sign in between the look for the lead and the writing."""
        ensure(*asked)
        world.send(user("u-1"), world.event(), lead=lead())

    monkeypatch.setattr(Names, "ensure", ensure_and_merge)
    answer = rest.put(f"/contacts/{anonymous}", {"name": "Ann"})
    assert problem(answer) == (410, "contact_merged", None)
    assert answer.headers["Link"] == f'</api/contacts/{world.person(user("u-1")).contact_id}>; rel="canonical"'


def test_where_a_failover_loses_a_name_one_is_asked_to_come_again(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rest.contact(external_id="u-1")
    lose(rest, monkeypatch)
    change = {"custom_attributes": {"plan": "pro"}}
    answer = rest.put(f"/contacts/{made['id']}", change)
    assert problem(answer) == (503, "overloaded", None)
    assert answer.headers["Retry-After"] == "5"
    assert rest.put(f"/contacts/{made['id']}", change).json["custom_attributes"] == {"plan": "pro"}


def test_attributes_are_changed_and_unset(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", name="Ann", custom_attributes={"plan": "pro", "seats": 3})
    rest.clock.advance(60_000)
    changed = rest.put(f"/contacts/{made['id']}", {"name": "Anna", "custom_attributes": {"plan": None, "seats": 4}}).json
    assert (changed["name"], changed["custom_attributes"]) == ("Anna", {"seats": 4})
    assert changed["updated_at"] == made["updated_at"] + 60
    assert changed["created_at"] == made["created_at"]


def test_what_rest_set_is_not_overwritten_by_an_unverified_browser(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", name="Ann")
    rest.world.set(user("u-1"), {"name": "Mallory"}, lead=lead())
    assert rest.get(f"/contacts/{made['id']}").json["name"] == "Ann"


def test_a_user_known_by_email_gets_an_external_id_and_stays_the_same_contact(rest: Rest) -> None:
    made = rest.contact(email="ann@example.com")
    assert rest.event(email="ann@example.com").status_code == 202
    changed = rest.put(f"/contacts/{made['id']}", {"external_id": "u-1"}).json
    assert (changed["id"], changed["external_id"]) == (made["id"], "u-1")
    rest.clock.advance(1_000)
    assert rest.event(user_id="u-1").status_code == 202
    assert rest.counts("user_id=u-1") == rest.counts("email=ann@example.com") == {"created-report": 2}
    assert rest.get("/contacts/find_by_external_id/u-1").json["id"] == made["id"]


def test_an_event_by_either_name_of_such_a_user_is_one(rest: Rest) -> None:
    made = rest.contact(email="ann@example.com")
    rest.put(f"/contacts/{made['id']}", {"external_id": "u-1"})
    for who in ({"email": "ann@example.com"}, {"user_id": "u-1"}, {"id": made["id"]}):
        assert rest.event(**who).status_code == 202
    assert rest.counts("user_id=u-1") == {"created-report": 1}


def test_an_external_id_of_somebody_else_is_not_given_twice(rest: Rest) -> None:
    rest.contact(external_id="u-1")
    made = rest.contact(email="ann@example.com")
    assert problem(rest.put(f"/contacts/{made['id']}", {"external_id": "u-1", "name": "Ann"})) == (409, "conflict", "external_id")
    assert rest.get(f"/contacts/{made['id']}").json["name"] is None, "nothing is half written"


def test_external_id_and_role_do_not_change_and_say_so(rest: Rest) -> None:
    known, anonymous = rest.contact(external_id="u-1"), rest.contact(role="lead")
    assert problem(rest.put(f"/contacts/{known['id']}", {"external_id": "u-2"})) == (400, "not_supported", "external_id")
    assert problem(rest.put(f"/contacts/{anonymous['id']}", {"external_id": "u-2"})) == (400, "not_supported", "external_id")
    assert problem(rest.put(f"/contacts/{anonymous['id']}", {"role": "user"})) == (400, "not_supported", "role")
    assert rest.put(f"/contacts/{known['id']}", {"external_id": "u-1", "role": "user"}).status_code == 200


def test_a_user_known_by_email_moves_to_another_email(rest: Rest) -> None:
    made = rest.contact(email="ann@example.com")
    assert rest.put(f"/contacts/{made['id']}", {"email": "anna@example.com"}).json["email"] == "anna@example.com"
    assert rest.contact(email="ann@example.com")["id"] != made["id"], "the old one is free"
    assert problem(rest.put(f"/contacts/{made['id']}", {"email": "ann@example.com"})) == (409, "conflict", "email")
    assert problem(rest.put(f"/contacts/{made['id']}", {"email": None})) == (400, "field_invalid", "email")


def test_contacts_are_listed_page_by_page_each_once(rest: Rest) -> None:
    made = []
    for number in range(7):
        rest.clock.advance(1)
        made.append(rest.contact(external_id=f"u-{number}")["id"])
    path, seen, pages = "/contacts?per_page=3", [], []
    while path:
        answer = rest.get(path).json
        assert (answer["type"], answer["total_count"], answer["pages"]["total_pages"], answer["pages"]["per_page"]) == ("list", 7, 3, 3)
        seen += [contact["id"] for contact in answer["data"]]
        pages.append(answer["pages"]["page"])
        following = answer["pages"]["next"]
        path = following and f"/contacts?per_page={following['per_page']}&starting_after={following['starting_after']}"
    assert seen == made[::-1]
    assert pages == [1, 2, 3]


def test_the_next_page_comes_whoever_is_deleted_or_merged_meanwhile(rest: Rest) -> None:
    made = []
    for _ in range(6):
        rest.clock.advance(1)
        made.append(rest.contact(role="lead")["id"])
    first = rest.get("/contacts?per_page=2").json
    assert rest.send("DELETE", f"/contacts/{made[4]}").status_code == 200
    second = rest.get(f"/contacts?per_page=2&starting_after={first['pages']['next']['starting_after']}").json
    assert [contact["id"] for contact in second["data"]] == [made[3], made[2]]
    rest.post("/contacts/merge", {"from": made[2], "into": rest.contact(external_id="u-1")["id"]})
    third = rest.get(f"/contacts?per_page=2&starting_after={second['pages']['next']['starting_after']}").json
    assert [contact["id"] for contact in third["data"]] == [made[1], made[0]]
    assert third["pages"]["next"] is None


def test_pages_may_be_asked_for_by_number(rest: Rest) -> None:
    made = [rest.contact(external_id=f"u-{number}")["id"] for number in range(5)]
    assert [contact["id"] for contact in rest.get("/contacts?per_page=2&page=2").json["data"]] == made[::-1][2:4]


def test_a_merged_lead_is_not_listed(rest: Rest) -> None:
    rest.world.send(lead(), rest.world.event())
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    assert [contact["external_id"] for contact in rest.get("/contacts").json["data"]] == ["u-1"]


def test_the_list_is_narrowed_by_email_and_external_id(rest: Rest) -> None:
    first = rest.contact(external_id="u-1", email="Team@example.com")
    second = rest.contact(role="lead", email="team@example.com")
    rest.contact(external_id="u-3", email="else@example.com")
    assert [contact["id"] for contact in rest.get("/contacts?email=TEAM@example.com").json["data"]] == [second["id"], first["id"]]
    assert [contact["id"] for contact in rest.get("/contacts?external_id=u-1").json["data"]] == [first["id"]]
    answer = rest.get("/contacts?external_id=u-9").json
    assert (answer["data"], answer["total_count"], answer["pages"]["next"]) == ([], 0, None)


def test_names_of_javascripts_objects_are_names_like_any_other(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", custom_attributes={"__proto__": "a", "constructor": 1})
    assert made["custom_attributes"] == {"__proto__": "a", "constructor": 1}


@pytest.mark.parametrize("engine", ["postgresql"])
def test_of_two_who_are_given_one_address_at_once_the_second_is_told_so(rest: Rest) -> None:
    made = [rest.contact(email=f"{name}@example.com") for name in ("ann", "ada")]
    services = rest.world.services
    with ThreadPoolExecutor(1) as pool:
        with services.written.write() as tx:
            tx.run("UPDATE identities SET value = 'both@example.com', folded = 'both@example.com' WHERE value = 'ann@example.com'")
            second = pool.submit(rest.put, f"/contacts/{made[1]['id']}", {"email": "both@example.com"})
            wait_for_a_row(rest.world)
        assert problem(second.result(60)) == (409, "conflict", "email")
