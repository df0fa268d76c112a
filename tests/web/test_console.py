"""What the console shows: people, profiles, messages, and how to begin."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import identities, people
from collector.domain.submissions import Event
from collector.values.clock import DAY, HOUR, MINUTE
from collector.web.console import profile, words
from tests.support.clock import START, FakeClock
from tests.support.world import id_at, lead, user
from tests.web.test_console_support import Console, Parsed, console, section


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def signed_up(on: Console, name: str = "u-1", **fields: Any) -> None:
    """A visitor looks around and signs up."""
    on.viewed(lead(), "/pricing", "Prices", at=START - 2 * HOUR)
    on.viewed(lead(), "/whitepaper", at=START - HOUR)
    on.did(user(name), "signed-up", {"plan": "free"}, lead=lead(), **fields)


# -- sites


def test_another_sites_ids_are_not_there(on: Console) -> None:
    other = on.world.new_site("Other", "https://other.example")
    message = on.message(other)
    on.world.site = other
    on.did(user("secret-user"), "signed-up")
    on.did(lead("secret-lead"), "page-view")
    theirs, visitor = on.contact_id(user("secret-user")), on.contact_id(lead("secret-lead"))
    paths = [
        f"/people/{theirs}",
        f"/people/{visitor}",
        "/people/find?user_id=secret-user",
        "/people/find?lead=secret-lead",
        f"/messages/{message.public_id}",
    ]
    for path in paths:
        assert on.get(path).status_code == 404, path
        named = f"{path}{'&' if '?' in path else '?'}site={other.key}"
        assert on.get(named).status_code == 404, named
    for page in ("/people", "/messages", "/install"):
        assert on.get(f"{page}?site={other.key}").status_code == 404
    assert other.key not in on.page("/people")


def test_an_operator_sees_every_site_and_the_address_names_it(on: Console) -> None:
    other = on.world.new_site("Other", "https://other.example")
    on.account("root@example.com", operator=True)
    on.sign_in("root@example.com")
    on.did(user("u-1"), "signed-up")
    assert "Nobody has been here yet" in on.page(f"/people?site={other.key}")
    page = on.page(f"/people?site={on.site.key}")
    assert "u-1" in page
    own = [href for href in Parsed(page).hrefs if href.startswith("/console") and "static" not in href]
    assert all("site=" in href for href in own)
    assert on.get(f"/people/{on.contact_id(user('u-1'))}?site={other.key}").status_code == 404


def test_an_account_without_a_site_is_told_how_to_make_one(on: Console) -> None:
    on.account("new@example.com")
    on.sign_in("new@example.com")
    assert "leadlight init --site" in on.page("/people")
    assert on.get("/people?site=nothing").status_code == 404


# -- people


def test_a_newcomer_is_given_the_script_tag(on: Console) -> None:
    text = Parsed(on.page("/people")).text
    assert f'<script async src="http://127.0.0.1:8000/tracker.js" data-site="{on.site.key}"></script>' in text


def test_people_are_listed_with_the_words_of_the_interface(on: Console) -> None:
    signed_up(on)
    on.world.set(user(), {"name": "Ada Lovelace", "email": "ada@shop.example"})
    on.viewed(lead("lead-2"), "/", at=START - 3 * HOUR)
    text = Parsed(on.page("/people")).text
    assert "2 people" in text
    assert "AL Ada Lovelace ada@shop.example User Not verified just now 2 0" in text
    assert f"{words.short(on.contact_id(lead('lead-2')))} Visitor 3 hours ago 1 0" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=ADA", {"u-1"}), ("q=shop.example", {"u-1", "u-2"}), ("q=U-2", {"u-2"}), ("q=nobody", set()), ("q=%25", set()), ("q=%00", set()),
        ("role=user", {"u-1", "u-2"}), ("role=lead", {"Visitor"}), ("role=other", {"u-1", "u-2", "Visitor"}),
        ("event=bought", {"u-1", "u-2"}), ("event=bought&times=2", {"u-1"}), ("event=bought&times=99999999999999999999", {"u-1", "u-2"}),
        ("event=never", set()), ("event=%00", set()), ("times=-1", {"u-1", "u-2", "Visitor"}), ("page=7", set()),
        ("page=x", {"u-1", "u-2", "Visitor"}),
    ],
)  # fmt: skip
def test_people_are_found_by_text_role_and_what_they_did(on: Console, query: str, found: set[str]) -> None:
    on.viewed(lead(), "/")
    for name, times in (("u-1", 2), ("u-2", 1)):
        for number in range(times):
            on.did(user(name), "bought", at=START - number)
        on.world.set(user(name), {"email": f"{name}@shop.example"})
    on.world.set(user("u-1"), {"name": "Ada"})
    page = on.page(f"/people?{query}")
    table = page[page.index("<tbody>") :] if "<tbody>" in page else ""
    shown = {name for name, sign in (("u-1", "u-1@"), ("u-2", "u-2@"), ("Visitor", ">Visitor ")) if sign in table}
    assert shown == found


def test_pages_of_people_keep_the_filter_and_nothing_else(on: Console) -> None:
    for number in range(60):
        on.did(user(f"u-{number}"), "bought", at=START - number)
    page = on.page("/people?event=bought&_external=1&_scheme=javascript&endpoint=x")
    assert "1–50 of 60 people" in Parsed(page).text
    assert "/console/people?page=2&event=bought" in Parsed(page).hrefs
    assert "51–60 of 60 people" in Parsed(on.page("/people?event=bought&page=2")).text


def test_ids_lead_to_profiles(on: Console) -> None:
    signed_up(on)
    there = f"/console/people/{on.contact_id(user())}"
    for query in ("user_id=u-1", "lead=lead-1", f"user_id=u-1&site={on.site.key}"):
        assert on.get(f"/people/find?{query}").headers["Location"] == there
    for query in ("", "user_id=", "user_id=nobody", "lead=nobody", "user_id=%00", "user_id=u-1&site=unknown"):
        assert on.get(f"/people/find?{query}").status_code == 404


def test_a_merged_visitors_address_leads_to_the_person(on: Console) -> None:
    on.viewed(lead(), "/")
    visitor = on.contact_id(lead())
    signed_up(on)
    answer = on.get(f"/people/{visitor}")
    assert answer.headers["Location"] == f"/console/people/{on.contact_id(user())}?came_from={visitor}"
    assert f"{words.short(visitor)} became part of this person" in on.browser.get(answer.headers["Location"], base_url=on.base_url).text


@pytest.mark.parametrize("contact_id", ["nobody", "a" * 24, "a" * 200, "%00", "..", "a'b", "%F0%9F%98%80"])
def test_people_who_are_not_there(on: Console, contact_id: str) -> None:
    assert on.get(f"/people/{contact_id}").status_code == 404


# -- one person


def test_a_profile_says_who_it_is_and_what_it_did(on: Console) -> None:
    signed_up(on, verified=True)
    on.world.set(user(), {"name": "Ada", "custom_attributes.plan": "pro", "signed_up_at": START // 1000}, verified=True)
    page = on.profile(user())
    assert "Not verified" not in page
    counts = Parsed(section(page, "counts")).text
    assert "page-view 2 first 2 hours ago , last 1 hour ago" in counts
    assert "signed-up 1" in counts
    attributes = Parsed(section(page, "attributes")).text
    assert "plan pro just now" in attributes
    assert "signed_up_at 21 Sep 2026, 16:13" in attributes
    assert 'datetime="2026-09-21T16:13:20+02:00" title="Mon 21 Sep 2026, 16:13:20 CEST"' in page


def test_an_attribute_says_where_it_came_from(on: Console) -> None:
    on.world.set(user("u-2"), {"name": "Somebody"})
    assert "Somebody by a browser, just now" in Parsed(section(on.profile(user("u-2")), "attributes")).text
    on.world.set(user("u-2"), {"name": "Grace"}, browser=False)
    assert "Grace just now" in Parsed(section(on.profile(user("u-2")), "attributes")).text


def test_an_unverified_user_id_is_marked_and_explained(on: Console) -> None:
    signed_up(on)
    page = on.profile(user())
    assert "This user id is not verified." in page
    assert "not verified" in Parsed(section(page, "timeline")).text
    assert "not verified" in Parsed(section(page, "devices")).text


def test_pages_before_sign_up(on: Console) -> None:
    signed_up(on)
    on.viewed(user(), "/app", "Reports", at=START, lead=lead())
    before = Parsed(section(on.profile(user()), "before")).text
    assert "2 pages viewed as a visitor." in before
    assert before.index("/whitepaper") < before.index("Prices")
    assert "Reports" not in before


def test_all_pages_before_sign_up_on_pages_of_their_own(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "PER_PAGE", 20)
    for number in range(45):
        on.viewed(lead(), f"/p{number}", at=START - HOUR - number // 4)  # several at one time
    signed_up(on)
    on.clock.advance(MINUTE)
    on.viewed(lead(), "/later")
    before = section(on.profile(user()), "before")
    assert "47 pages viewed as a visitor." in Parsed(before).text
    (href,) = [href for href in Parsed(before).hrefs if href.endswith("/before-sign-up")]
    seen: list[str] = []
    while href:
        page = Parsed(on.page(href.removeprefix("/console")))
        assert "47 pages" in page.text
        seen += [link for link in page.hrefs if link.startswith("https://shop.example/")]
        href = next((link["href"] for link in page.links if link.get("rel") == "next"), "")
    assert sorted(seen) == sorted(f"https://shop.example{path}" for path in ("/pricing", "/whitepaper", *(f"/p{n}" for n in range(45))))


def test_pages_before_sign_up_say_which_visitor_saw_them(on: Console) -> None:
    on.viewed(lead("phone"), "/phone", at=START - HOUR)
    on.viewed(lead("laptop"), "/laptop", at=START - 2 * HOUR)
    phone, laptop = on.contact_id(lead("phone")), on.contact_id(lead("laptop"))
    for name in ("phone", "laptop"):
        on.did(user(), "signed-up", lead=lead(name))
    contact = on.contact_id(user())
    for page in (section(on.profile(user()), "before"), on.page(f"/people/{contact}/before-sign-up")):
        text = Parsed(page).text
        assert f"/phone 1 hour ago , as {words.short(phone)}" in text
        assert f"/laptop 2 hours ago , as {words.short(laptop)}" in text
    assert on.get(f"/people/{phone}/before-sign-up").headers["Location"].startswith(f"/console/people/{contact}")


def test_a_visitor_has_no_pages_before_sign_up(on: Console) -> None:
    on.viewed(lead(), "/pricing")
    assert 'id="before"' not in on.profile(lead())
    assert "A visitor has not signed up yet." in Parsed(on.page(f"/people/{on.contact_id(lead())}/before-sign-up")).text


def test_metadata_is_shown_by_its_type(on: Console) -> None:
    metadata = {
        "price": {"amount": 34999, "currency": "eur"}, "yen": {"amount": 500, "currency": "jpy"}, "due_at": START // 1000, "gift": True,
        "count": 3.0, "order": {"url": "https://shop.example/o/1", "value": "Order 1"}, "stripe_customer": "cus_1",
        "mail": "mailto:a@b.example",
    }  # fmt: skip
    on.did(user(), "bought", metadata)
    timeline = section(on.profile(user()), "timeline")
    text = Parsed(timeline).text
    for shown in (
        "price EUR 349.99",
        "yen JPY 500",
        "due_at 21 Sep 2026, 16:13",
        "gift Yes",
        "count 3",
        "order Order 1",
        "stripe_customer cus_1",
    ):
        assert shown in text
    links = {link["href"]: link for link in Parsed(timeline).links if not link["href"].startswith("/console/")}
    assert set(links) == {"https://shop.example/o/1", "https://dashboard.stripe.com/customers/cus_1", "mailto:a@b.example"}
    assert all(link["rel"] == "noopener noreferrer nofollow" and link["target"] == "_blank" for link in links.values())


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "//evil.example",
        "https://a b",
    ],
)
def test_other_addresses_are_text_and_no_links(on: Console, address: str) -> None:
    metadata = {"link": address, "rich": {"url": address, "value": "Click me"}}
    on.did(user(), "event", metadata)
    on.did(user(), "page-view", {"url": address, "path": "/", "title": "T", "referrer": address})
    on.world.set(user(), {"custom_attributes.homepage": address, "avatar": address})
    page = on.profile(user())
    assert all(href.startswith(("/console/", "#")) for href in Parsed(page).hrefs)
    assert Parsed(page).text.count(address.strip()) >= 2


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


def test_whatever_visitors_send_stays_text(on: Console) -> None:
    on.did(user(HOSTILE), HOSTILE, {HOSTILE[:60].replace(".", ""): HOSTILE}, lead=lead(HOSTILE))
    on.viewed(lead(HOSTILE), "/", HOSTILE)
    on.world.set(user(HOSTILE), {"name": HOSTILE, "email": HOSTILE, f"custom_attributes.{HOSTILE}": HOSTILE})
    on.message(name=HOSTILE, content={"title": HOSTILE, "body": HOSTILE}, trigger={"type": "event", "event": HOSTILE})
    message = on.message(name=HOSTILE, content={"body": HOSTILE})
    pages = [
        on.page("/people"),
        on.profile(user(HOSTILE)),
        on.page("/messages"),
        on.page(f"/messages/{message.public_id}"),
        on.page("/people?q=%3Cscript%3E"),
    ]
    for page in pages:
        parsed = Parsed(page)
        assert page.count("<script") == 1  # our own
        assert "onerror" not in parsed.attributes
        assert HOSTILE in parsed.text or page is pages[-1]


def test_the_timeline_ends_with_the_retention(on: Console) -> None:
    on.did(user(), "old", at=START)
    on.clock.advance(91 * DAY)
    on.sign_in()
    page = on.profile(user())
    assert "No events in the last 90 days" in page
    assert "old 1" in Parsed(section(page, "counts")).text


@pytest.mark.parametrize("step", [1, 0, 7])
def test_paging_a_timeline_loses_nothing_and_repeats_nothing(on: Console, step: int) -> None:
    """Many events of one millisecond (`step` 0) are as good as any."""
    names = [f"event-{number:03}" for number in range(130)]
    for number, name in enumerate(names):
        on.did(user(), name, at=START - number // 3 * step)
    seen: list[str] = []
    path = f"/people/{on.contact_id(user())}"
    while path:
        timeline = section(on.page(path), "timeline")
        seen += [name for name in names if name in timeline]
        path = next((href.removeprefix("/console").partition("#")[0] for href in Parsed(timeline).hrefs if "before=" in href), "")
    assert sorted(seen) == names
    assert len(names) > profile.PER_PAGE


def test_a_timeline_goes_on_where_a_thousand_events_share_a_millisecond(on: Console) -> None:
    """Times of REST are seconds: what a night's import brings of somebody is one moment."""
    events = [Event(id_at(START), "imported", START, None, None, json.dumps({"row": f"row-{row}"})) for row in range(1_120)]
    on.world.send(user(), *events)
    on.did(user(), "before-that", {"row": "row-1120"}, at=START - 1)
    seen: list[str] = []
    path = f"/people/{on.contact_id(user())}"
    while path:
        timeline = section(on.page(path), "timeline")
        seen += re.findall(r"row-\d+", timeline)
        path = next((href.removeprefix("/console").partition("#")[0] for href in Parsed(timeline).hrefs if "before=" in href), "")
    assert sorted(seen) == sorted(f"row-{row}" for row in range(1_121))
    assert seen[-1] == "row-1120"


@pytest.mark.parametrize("before", ["", "0", "x", "-1", "%00", "1750000000000", "1750000000000-x", "9" * 40])
def test_what_is_no_place_in_a_timeline_is_its_beginning(on: Console, before: str) -> None:
    on.did(user(), "signed-up")
    assert "signed-up" in section(on.page(f"/people/{on.contact_id(user())}?before={before}"), "timeline")


def test_a_visitor_who_signs_in_while_it_is_looked_for_is_not_found(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    on.viewed(lead(), "/")
    found = identities.find

    def find_and_merge(*asked: Any) -> Any:
        """Find somebody who becomes part of somebody else in the next moment."""
        monkeypatch.setattr(people.identities, "find", found)
        there = found(*asked)
        on.did(user(), "signed-in", lead=lead())
        return there

    monkeypatch.setattr(people.identities, "find", find_and_merge)
    assert on.get("/people/find?lead=lead-1").status_code == 404
    assert on.get("/people/find?lead=lead-1").headers["Location"] == f"/console/people/{on.contact_id(user())}"


def test_secrets_of_visitors_are_never_shown(on: Console) -> None:
    on.viewed(lead("lead-9", "the-secret"), "/")
    page = on.profile(lead("lead-9"))
    assert "lead-9" in page
    assert "the-secret" not in page


# -- how to begin


def test_the_install_page_shows_no_secret(on: Console) -> None:
    page = on.page("/install")
    text = Parsed(page).text
    assert on.site.key in text
    assert "https://shop.example" in text
    assert "user_hash" in text
    assert all(secret not in page for secret in (*on.site.identity_secrets, on.world.access_token))


def test_the_install_page_says_how_many_events_browsers_gave_up(on: Console) -> None:
    assert "Given up by browsers Nothing" in " ".join(Parsed(on.page("/install")).text.split())
    on.world.services.losses.note(on.site.id, 12, on.world.clock())
    on.world.services.losses.write()
    assert "Given up by browsers 12 events" in " ".join(Parsed(on.page("/install")).text.split())


def test_the_snippets_name_the_public_address(database_url: str, clock: FakeClock) -> None:
    with console(database_url, clock, public_url="https://ll.example.com/base/") as on:
        on.sign_in()
        text = Parsed(on.page("/install")).text
        assert 'src="https://ll.example.com/base/tracker.js"' in text
        assert "npm install https://ll.example.com/base/leadlight.tgz" in text
        assert f'load({{ site: "{on.site.key}", host: "https://ll.example.com/base" }})' in text
        assert "docs/install.md" in text


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (0, "just now"), (59_999, "less than a minute ago"), (MINUTE, "1 minute ago"), (3 * HOUR, "3 hours ago"), (25 * HOUR, "1 day ago"),
        (45 * DAY, "1 month ago"), (800 * DAY, "2 years ago"), (-2 * HOUR, "in 2 hours"), (-1, "just now"),
    ],
)  # fmt: skip
def test_ages_in_words(age: int, said: str) -> None:
    assert words.ago(age) == said


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("/people", "People"),
        ("/people/{contact}", "People"),
        ("/people/{contact}/joined", "People"),
        ("/people/{contact}/why", "People"),
        ("/segments/new", "Segments"),
        ("/event-rules", "Events"),
        ("/messages/looks", "Messages"),
        ("/install", "Install"),
    ],
)
def test_each_page_is_shown_to_be_of_its_section(on: Console, path: str, section: str) -> None:
    on.viewed(lead(), "/")
    page = on.page(path.format(contact=on.contact_id(lead())))
    assert re.findall(r'aria-current="page">([^<]+)</a>', page) == [section]


def test_nobody_is_last_seen_before_the_first_time(on: Console) -> None:
    """When somebody was active is kept to the minute."""
    on.clock.now = on.clock.now // MINUTE * MINUTE + 50_000
    on.viewed(lead(), "/")
    on.clock.advance(75_000)
    text = Parsed(on.profile(lead())).text
    assert "First seen 1 minute ago Last seen 1 minute ago" in text
