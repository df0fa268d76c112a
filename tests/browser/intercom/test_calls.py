"""What each of Intercom's calls comes to, and that none is lost or limited."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.intercom.speaking import say
from tests.browser.people import contact, counts
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, push, ready, status, until
from tests.support.pages import Pages
from tests.support.servers import Collector


def test_calls_made_before_the_script_are_kept_in_order(page: Page, pages: Pages, head: str, collector: Collector, stored: Stored) -> None:
    early = f"""<script>
        window.held = Intercom;
        Intercom("boot", {{app_id: "{collector.site_key}"}});
        for (let n = 0; n < 5; n++) Intercom("trackEvent", "kept-in-order", {{n}});
    </script>"""
    page.goto(pages.add("/", head=head.replace("<script async", early + "<script async")))
    ready(page)
    page.evaluate("() => { held('trackEvent', 'kept-in-order', {n: 5}) }")
    fence(page)
    assert [event.metadata["n"] for event in stored.events("kept-in-order")] == [0, 1, 2, 3, 4, 5]


def test_events_and_updates_before_the_first_boot_are_kept_for_it(
    open_page: Callable[..., Page], collector: Collector, stored: Stored
) -> None:
    page = open_page()
    say(page, "update", {"plan": "Early"})
    say(page, "trackEvent", "before-boot", {"n": 1})
    say(page, "boot", {"app_id": collector.site_key, "user_id": "waited-for"})
    ready(page)
    fence(page)
    assert [(event.owner, event.metadata) for event in stored.events("before-boot")] == [("waited-for", {"n": 1})]
    assert contact(collector, "waited-for")["custom_attributes"] == {"plan": "Early"}


def test_ready_is_told_once_the_session_lives_whenever_it_was_asked(page: Page, pages: Pages, head: str, collector: Collector) -> None:
    ask = "Intercom('ready', () => told.push([name, leadlight.v]))"
    asked_in_stub = f"<script>window.told = []; {{ const name = 'stub'; {ask} }}</script>"
    page.goto(pages.add("/", head=head.replace("<script async", asked_in_stub + "<script async")))
    page.wait_for_function("!Intercom.q")
    page.evaluate(f"() => {{ const name = 'before boot'; {ask} }}")
    assert page.evaluate("told") == []
    say(page, "boot", {"app_id": collector.site_key})
    page.wait_for_function("told.length == 2")
    page.evaluate(f"() => {{ const name = 'after boot'; {ask} }}")
    assert page.evaluate("told") == [["stub", 1], ["before boot", 1], ["after boot", 1]]


def test_ready_after_a_shutdown_waits_for_the_next_boot(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot()
    say(page, "shutdown")
    page.evaluate("() => { window.told = 0; Intercom('ready', () => { told++ }) }")
    assert page.evaluate("told") == 0
    say(page, "boot", {"app_id": collector.site_key})
    assert page.evaluate("told") == 1


def test_nothing_is_unread_and_who_asks_hears_so_at_once(open_page: Callable[..., Page]) -> None:
    page = open_page()
    assert page.evaluate("() => { const told = []; Intercom('onUnreadCountChange', count => told.push(count)); return told }") == [0]


def test_a_second_boot_with_a_user_identifies(boot: Callable[..., Page], collector: Collector, stored: Stored) -> None:
    page = boot("/second-boot")
    visitor = lead(page)
    say(page, "trackEvent", "as-visitor")
    say(page, "boot", {"app_id": collector.site_key, "user_id": "second-boot", "email": "second@example.com"})
    fence(page)
    assert lead(page) == visitor
    assert counts(collector, "second-boot") == {"as-visitor": 1}
    assert contact(collector, "second-boot")["email"] == "second@example.com"
    assert [event.path for event in stored.events("page-view")] == ["/second-boot"]


def test_an_update_sets_attributes_of_a_visitor_too(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot()
    say(page, "update", {"email": "visitor@example.com", "companies": [{"id": "c-7", "name": "Example"}]})
    fence(page)
    query = {"query": {"field": "email", "operator": "=", "value": "visitor@example.com"}}
    (found,) = collector.client.api("POST", "/contacts/search", query).json["data"]
    assert (found["role"], found["company"]) == ("lead", {"id": "c-7", "name": "Example"})


def test_a_key_that_ends_in_at_is_a_date(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot(user_id="dated", trial_ends_at="2030-01-01T00:00:00Z")
    page.evaluate("() => { Intercom('update', {paid_at: new Date(1700000000000)}) }")
    fence(page)
    assert contact(collector, "dated")["custom_attributes"] == {"trial_ends_at": 1893456000, "paid_at": 1700000000}


def test_settings_of_the_messenger_are_not_stored_on_the_person(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot(
        user_id="of-no-use",
        **dict.fromkeys(["custom_launcher_selector", "action_color", "background_color", "link_color", "theme_mode"], "#help"),
        **dict.fromkeys(["vertical_padding", "horizontal_padding", "z_index", "session_duration", "messenger_style_id"], 40),
        **{"hide_notifications": False, "hide_default_launcher": True, "alignment": "left", "installation_type": "rails"},
        **{"widget": {"activator": "#help"}, "auth_tokens": {"a": "b"}, "page_title": "Here", "last_request_at": 1700000000, "kept": True},
    )
    fence(page)
    assert contact(collector, "of-no-use")["custom_attributes"] == {"kept": True}
    assert status(page)["refused"] == []


def test_the_visitor_id_is_the_leads_until_there_is_a_user(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot()
    visitor = lead(page)
    assert say(page, "getVisitorId") == visitor
    assert say(page, "whoami") == {"app_id": collector.site_key, "visitor_id": visitor}
    say(page, "update", {"user_id": "whoever"})
    assert say(page, "getVisitorId") is None
    assert say(page, "whoami") == {"app_id": collector.site_key, "visitor_id": visitor, "user_id": "whoever"}


def test_what_has_no_counterpart_does_nothing_and_says_so_once(boot: Callable[..., Page]) -> None:
    page = boot()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    methods = ["startTour", "showArticle", "startSurvey", "startChecklist", "showNews", "showTicket", "showConversation"]
    methods += ["startConversation", "show", "showSpace", "showMessages", "showNewMessage", "setAuthTokens", "toString"]
    for method in [*methods, *methods, "hide", "reattach_activator"]:
        assert say(page, method, 1) is None
    said = [f'Leadlight: Intercom("{method}") has no counterpart and does nothing' for method in methods]
    until(page, lambda: len(told) >= len(said))
    assert told == said


def test_one_page_is_one_sites(boot: Callable[..., Page], collector: Collector, stored: Stored) -> None:
    page = boot(user_id="of-one-site")
    say(page, "boot", {"app_id": "another-site", "user_id": "of-another-site"})
    say(page, "trackEvent", "still-here")
    fence(page)
    assert [event.owner for event in stored.events("still-here")] == ["of-one-site"]


HOSTILE = {
    "throwing getter": "{get plan() { throw new Error('no') }, user_id: ID, kept: 1}",
    "cycle": "(() => { const found = {user_id: ID, kept: 1}; found.self = found; return found })()",
    "symbol and function": "{user_id: ID, kept: 1, sign: Symbol('s'), work() {}}",
    "token that is none": "{user_id: ID, kept: 1, intercom_user_jwt: {toString() { throw 1 }}}",
    "names that objects inherit": 'JSON.parse(JSON.stringify({user_id: ID, kept: 1}).replace(\'{\', \'{"__proto__":{"user_id":"x"},\'))',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_settings_throw_and_what_can_be_read_of_them_counts(
    boot: Callable[..., Page], collector: Collector, stored: Stored, kind: str
) -> None:
    page = boot()
    user = "hostile-" + kind.replace(" ", "-")
    page.evaluate(f"ID => {{ Intercom('update', {HOSTILE[kind]}); Intercom('trackEvent', 'after ' + ID) }}", user)
    fence(page)
    assert [event.owner for event in stored.events("after " + user)] == [user]
    assert contact(collector, user)["custom_attributes"]["kept"] == 1


@pytest.mark.parametrize(
    "given", ["", "null", "Symbol('s')", "{toString() { throw 1 }}", "'boot', null", "'ready', 7", "'onShow'", "'update', 1"]
)
def test_a_senseless_call_throws_nothing(boot: Callable[..., Page], given: str) -> None:
    page = boot()
    page.evaluate(f"() => {{ Intercom({given}) }}")
    fence(page)


def test_no_update_is_throttled_or_held_to_be_the_same(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot(user_id="often")
    page.evaluate("() => { for (let n = 1; n <= 50; n++) Intercom('update', {[`step_${n}`]: n, email: `often-${n}@example.com`}) }")
    fence(page)
    found = contact(collector, "often")
    assert found["email"] == "often-50@example.com"
    assert found["custom_attributes"] == {f"step_{n}": n for n in range(1, 51)}


def test_an_update_counts_no_view_of_a_page_that_is_the_same(boot: Callable[..., Page], stored: Stored) -> None:
    page = boot("/same")
    for _ in range(3):
        say(page, "update")
    push(page, "/other")
    say(page, "update", {"last_request_at": 1700000000})
    # The view waits for its title: what is tracked after it may arrive before it.
    until(page, lambda: len(stored.views(lead(page))) == 2)
    fence(page)
    assert [event.path for event in stored.views(lead(page))] == ["/same", "/other"]


def test_there_may_be_more_than_a_hundred_and_twenty_names(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot(user_id="many-names")
    page.evaluate("() => { for (let n = 0; n < 150; n++) Intercom('trackEvent', `name-${n}`) }")
    fence(page)
    assert counts(collector, "many-names") == {f"name-{n}": 1 for n in range(150)}
