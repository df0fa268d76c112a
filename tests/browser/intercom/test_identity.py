"""Who is said to be here, what proves it, and that a shutdown leaves nothing of it."""

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.intercom.speaking import delivered, say
from tests.browser.people import contact, counts, user_hash
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, push, ready, status, storage, until
from tests.support.pages import Pages
from tests.support.servers import Collector


def token(collector: Collector, **claims: Any) -> str:
    """An identity token as the site's server signs it."""
    payload = json.dumps({"exp": int(time.time()) + 600, **claims}, ensure_ascii=False)
    return jwt.PyJWS().encode(payload.encode(), collector.identity_secret, algorithm="HS256")


def test_a_user_hash_proves_the_user_and_stays_when_the_user_is_named_again_without_it(
    boot: Callable[..., Page], collector: Collector, gateway: Gateway
) -> None:
    proof = user_hash(collector, "proved")
    page = boot(user_id="proved", user_hash=proof)
    say(page, "update", {"user_id": "proved", "plan": "Team"})
    say(page, "trackEvent", "proved-event")
    fence(page)
    found = contact(collector, "proved")
    assert (found["verified"], found["custom_attributes"]) == (True, {"plan": "Team"})
    assert {sent.json["user"]["hash"] for sent in gateway.tries("proved-event")} == {proof}


def test_a_token_alone_says_and_proves_who_the_user_is(boot: Callable[..., Page], collector: Collector) -> None:
    page = boot(intercom_user_jwt=token(collector, user_id="tökened", email="token@example.com"), plan="Team")
    fence(page)
    found = contact(collector, "t%C3%B6kened")
    assert (found["verified"], found["external_id"], found["email"]) == (True, "tökened", "token@example.com")
    assert found["custom_attributes"] == {"plan": "Team"}


def test_a_forged_token_reaches_nobody(boot: Callable[..., Page], collector: Collector) -> None:
    forged = token(collector, user_id="token-victim")[:-6] + "AAAAAA"
    page = boot(intercom_user_jwt=forged, plan="Forged")
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'user_hash_invalid')")
    assert collector.client.api("GET", "/contacts/find_by_external_id/token-victim").status == 404


def test_a_shutdown_leaves_nothing_of_the_user_in_the_browser(boot: Callable[..., Page]) -> None:
    page = boot(user_id="gone-4711", name="Gone Lovelace")
    fence(page)
    before = lead(page)
    say(page, "shutdown")
    delivered(page)
    left = json.dumps([storage(page), page.evaluate("document.cookie"), say(page, "whoami"), say(page, "getVisitorId")])
    assert [word for word in ("gone-4711", "Lovelace", before) if word in left] == []


def test_what_waited_for_a_boot_is_forgotten_by_a_shutdown(open_page: Callable[..., Page], collector: Collector, stored: Stored) -> None:
    page = open_page()
    say(page, "trackEvent", "of-who-never-booted")
    say(page, "shutdown")
    say(page, "boot", {"app_id": collector.site_key})
    ready(page)
    fence(page)
    assert stored.events("of-who-never-booted") == []


def test_the_same_user_may_come_back_after_a_shutdown(boot: Callable[..., Page], collector: Collector, stored: Stored) -> None:
    page = boot(user_id="comes-back")
    say(page, "shutdown")
    say(page, "boot", {"app_id": collector.site_key, "user_id": "comes-back"})
    say(page, "trackEvent", "back-again")
    fence(page)
    assert [event.owner for event in stored.events("back-again")] == ["comes-back"]


def test_a_shutdown_in_one_tab_is_one_in_the_others_until_they_name_the_user_again(
    boot: Callable[..., Page], context: BrowserContext, pages: Pages, head: str, collector: Collector, stored: Stored
) -> None:
    page = boot(user_id="two-tabs")
    other = context.new_page()
    other.goto(pages.add("/other-tab", head=head))
    say(other, "boot", {"app_id": collector.site_key, "user_id": "two-tabs"})
    ready(other)
    fence(other)
    say(page, "shutdown")
    other.wait_for_function("!leadlight('status').user")
    say(other, "trackEvent", "by-whoever-is-here")
    say(other, "update", {"user_id": "two-tabs", "plan": "Team"})
    say(other, "trackEvent", "by-the-user")
    fence(other)
    assert [event.kind for event in stored.events("by-whoever-is-here")] == ["lead"]
    assert [event.owner for event in stored.events("by-the-user")] == ["two-tabs"]
    assert contact(collector, "two-tabs")["custom_attributes"] == {"plan": "Team"}


def test_nothing_is_tracked_between_a_shutdown_and_the_next_boot(
    boot: Callable[..., Page], collector: Collector, gateway: Gateway, stored: Stored
) -> None:
    page = boot("/before", user_id="left-the-desk")
    say(page, "trackEvent", "last-words")
    say(page, "shutdown")
    delivered(page)
    gateway.log.clear()
    say(page, "trackEvent", "in-between")
    say(page, "update", {"name": "Nobody"})
    push(page, "/in-between")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    say(page, "boot", {"app_id": collector.site_key})
    # The view waits for its title: what is tracked after it may arrive before it.
    until(page, lambda: stored.views(lead(page)))
    fence(page)
    assert counts(collector, "left-the-desk") == {"last-words": 1}
    assert stored.events("in-between") == []
    assert [event.path for event in stored.events("page-view")] == ["/before", "/in-between"]
    assert [event.path for event in stored.views(lead(page))] == ["/in-between"]
    assert all(sent.json["lead"].startswith(lead(page)) for sent in gateway.sent())


def test_who_leaves_before_the_tracker_is_there_is_still_somebody_else_than_who_follows(
    open_page: Callable[..., Page], collector: Collector
) -> None:
    page = open_page()
    page.evaluate(
        """site => {
            for (const user_id of ["quick-one", "quick-two"]) {
                Intercom("boot", {app_id: site, user_id});
                Intercom("trackEvent", "worked");
                Intercom("shutdown");
                Intercom("trackEvent", "lost");
            }
            Intercom("boot", {app_id: site});
        }""",
        collector.site_key,
    )
    ready(page)
    fence(page)
    assert counts(collector, "quick-one") == counts(collector, "quick-two") == {"worked": 1}
    assert contact(collector, "quick-one")["id"] != contact(collector, "quick-two")["id"]
    assert status(page)["user"] is None


def test_settings_left_in_the_page_do_not_bring_the_previous_user_back_and_new_ones_begin(
    page: Page, pages: Pages, head: str, collector: Collector, stored: Stored
) -> None:
    settings = json.dumps({"app_id": collector.site_key, "user_id": "left-behind"})
    page.goto(pages.add("/", head=f"<script>window.intercomSettings = {settings}</script>" + head))
    ready(page)
    fence(page)
    say(page, "shutdown")
    page.evaluate("() => { Intercom('update', intercomSettings); Intercom('trackEvent', 'left-behind-event') }")
    assert say(page, "whoami") == {"app_id": collector.site_key}
    # What a snippet does that a body swap runs again, now for another one.
    page.evaluate("site => { window.intercomSettings = {app_id: site}; Intercom('update', intercomSettings) }", collector.site_key)
    say(page, "trackEvent", "next-visitor")
    fence(page)
    assert stored.events("left-behind-event") == []
    assert [event.owner for event in stored.events("next-visitor")] == [lead(page)]


def test_the_message_of_the_previous_user_goes_with_the_shutdown_and_none_comes_for_nobody(
    boot: Callable[..., Page], new_message: Callable[..., Any]
) -> None:
    new_message("/signed-out", title="For somebody")
    page = boot("/signed-out", user_id="reader")
    card = page.get_by_role("dialog")
    card.wait_for()
    say(page, "shutdown")
    expect(card).to_have_count(0)
    delivered(page)
    assert page.locator("leadlight-message").count() == 0
