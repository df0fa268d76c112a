"""Who sends: the lead in the cookie, the user whom the page asserts, and what must never be mixed up."""

import base64
import json
import time
from collections.abc import Callable

import jwt
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.messages import Message
from tests.browser.people import contact, counts, user_hash
from tests.browser.stored import Stored
from tests.browser.tabs import call, cookie, fence, lead, status, storage, until, visit, wait_for
from tests.support.pages import Pages
from tests.support.servers import Collector

DAY = 86_400
OTHER_SECRET = "A" * 22


def names(stored: Stored, **whose: str) -> list[str]:
    return [event.name for event in stored.events(**whose) if event.name not in ("page-view", "fence")]


def token(collector: Collector, user_id: str, seconds: int) -> str:
    """A signed identity token that ends so many seconds from now."""
    return jwt.encode({"user_id": user_id, "exp": time.time() + seconds}, collector.identity_secret, algorithm="HS256")


def test_identify_makes_lead_and_user_one_person_with_one_history(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "track", "looked")
    call(page, "identify", "one-person", {"name": "Ada", "plan": "Team"})
    call(page, "track", "looked")
    fence(page)
    assert counts(collector, "one-person") == {"looked": 2}
    found = contact(collector, "one-person")
    assert (found["role"], found["name"], found["custom_attributes"]) == ("user", "Ada", {"plan": "Team"})
    assert names(stored, lead=lead(page)) == ["looked"]
    assert names(stored, user="one-person") == ["looked"]


def test_a_user_hash_made_by_the_site_verifies_the_user(page: Page, pages: Pages, snippet: str, collector: Collector) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", "verified", {"user_hash": user_hash(collector, "verified")})
    fence(page)
    assert contact(collector, "verified")["verified"] is True
    call(page, "identify", "not-verified")
    fence(page)
    assert contact(collector, "not-verified")["verified"] is False


def test_a_wrong_user_hash_reaches_nobody(page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored) -> None:
    visit(page, pages.add("/", head=snippet))
    fence(page)
    call(page, "identify", "victim", {"user_hash": user_hash(collector, "somebody else")})
    call(page, "track", "as-victim")
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'user_hash_invalid')")
    assert collector.client.api("GET", "/contacts/find_by_external_id/victim").status == 404
    assert stored.events("as-victim") == []


def test_what_a_proof_that_has_run_out_leaves_behind_waits_for_the_same_user(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "back-later", {"jwt": token(collector, "back-later", -60)})
    call(page, "track", "before-proof")
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'session_expired')")
    call(page, "identify", "other-user", {"user_hash": user_hash(collector, "other-user")})
    call(page, "track", "of-somebody-else")
    assert until(page, lambda: stored.events("of-somebody-else"))
    assert stored.events("before-proof") == []
    call(page, "reset")
    visit(page, shop)
    call(page, "identify", "back-later", {"jwt": token(collector, "back-later", 600)})
    fence(page)
    assert [(event.kind, event.owner) for event in stored.events("before-proof")] == [("user", "back-later")]
    assert len(stored.events("of-somebody-else")) == 1


def test_a_page_that_asserts_nobody_is_counted_for_the_person_without_being_them(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "signed-out-page")
    fence(page)
    visit(page, shop)
    assert status(page)["user"] is None
    call(page, "track", "read-on")
    fence(page)
    assert names(stored, lead=lead(page)) == ["read-on"]
    assert counts(collector, "signed-out-page") == {"read-on": 1}


def test_reset_makes_a_new_lead_and_leaves_nothing_of_the_user(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    before = lead(page)
    call(page, "identify", "leaver-7391", {"name": "Leaver Lovelace"})
    fence(page)
    call(page, "reset")
    call(page, "track", "after-reset")
    fence(page)
    after = status(page)
    assert after["user"] is None
    assert after["lead"] != before
    assert names(stored, lead=after["lead"]) == ["after-reset"]
    assert counts(collector, "leaver-7391") == {}
    left = json.dumps([storage(page), page.evaluate("document.cookie")])
    assert "leaver-7391" not in left
    assert "Lovelace" not in left
    assert before not in left


def test_two_users_at_one_browser_with_a_reset_are_two_people(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", "morning")
    call(page, "track", "worked")
    call(page, "reset")
    call(page, "identify", "evening")
    call(page, "track", "worked")
    fence(page)
    assert counts(collector, "morning") == counts(collector, "evening") == {"worked": 1}
    assert contact(collector, "morning")["id"] != contact(collector, "evening")["id"]


def test_a_second_user_without_sign_out_is_another_person_and_gets_a_new_lead(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "track", "browsed")
    call(page, "identify", "first-user")
    call(page, "track", "bought")
    fence(page)
    before = lead(page)
    call(page, "identify", "second-user")
    call(page, "track", "bought")
    fence(page)
    assert lead(page) != before
    call(page, "track", "bought")
    fence(page)
    assert counts(collector, "first-user") == {"browsed": 1, "bought": 1}
    assert counts(collector, "second-user") == {"bought": 2}
    assert contact(collector, "first-user")["id"] != contact(collector, "second-user")["id"]


def test_tabs_share_the_lead_and_each_page_asserts_for_itself(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    other = context.new_page()
    visit(other, pages.url("/"))
    call(page, "identify", "tab-user")
    call(page, "track", "in-first")
    call(other, "track", "in-second")
    fence(page)
    fence(other)
    assert lead(other) == lead(page)
    assert names(stored, user="tab-user") == ["in-first"]
    assert names(stored, lead=lead(other)) == ["in-second"]


def test_a_reset_in_one_tab_is_one_in_the_others(context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/", head=snippet))
    other = context.new_page()
    visit(other, pages.url("/"))
    call(other, "identify", "shared-desk")
    fence(other)
    call(page, "reset")
    other.wait_for_function("!leadlight('status').user")
    assert lead(other) == lead(page)
    call(other, "track", "after-reset-elsewhere")
    fence(other)
    assert [event.owner for event in stored.events("after-reset-elsewhere")] == [lead(page)]


def test_who_signs_in_right_after_a_sign_out_keeps_the_session_whatever_other_tabs_are_open(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str, stored: Stored
) -> None:
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "signed-out-first")
    fence(page)
    other = context.new_page()
    visit(other, shop)
    call(other, "identify", "signed-out-first")
    fence(other)
    page.evaluate("() => { leadlight('reset'); leadlight('identify', 'signed-in-next'); leadlight('track', 'first-of-next') }")
    wait_for(other, "() => !leadlight('status').user")
    fence(page)
    call(page, "track", "second-of-next")
    fence(page)
    kept = json.loads(storage(page)[f"{lead_cookie}.who"])
    assert (kept["id"], "token" in kept) == ("signed-in-next", True)
    (first,), (second,) = stored.events("first-of-next"), stored.events("second-of-next")
    assert (first.owner, first.visit) == ("signed-in-next", second.visit)


def test_who_signs_in_in_one_tab_ends_the_session_of_somebody_else_in_the_others(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", "sat-here-first")
    fence(page)
    other = context.new_page()
    visit(other, pages.url("/"))
    call(other, "identify", "sat-here-next")
    page.wait_for_function("!leadlight('status').user")
    assert status(other)["user"] == "sat-here-next"
    fence(other)
    call(page, "track", "on-the-old-page")
    fence(page)
    assert lead(page) == lead(other)
    assert [event.owner for event in stored.events("on-the-old-page")] == [lead(page)]
    assert counts(collector, "sat-here-first") == {}


def test_tabs_of_the_same_user_leave_each_other_alone(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, stored: Stored
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", "two-tabs")
    other = context.new_page()
    visit(other, pages.url("/"))
    call(other, "identify", "two-tabs", {"plan": "Team"})
    fence(other)
    call(page, "track", "in-both")
    call(other, "track", "in-both")
    fence(page)
    fence(other)
    assert [event.owner for event in stored.events("in-both")] == ["two-tabs", "two-tabs"]


def test_a_message_of_somebody_who_signed_out_elsewhere_ends(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, new_message: Callable[..., Message]
) -> None:
    new_message("/left-open", title="For whoever was here")
    visit(page, pages.add("/left-open", head=snippet))
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_be_visible()
    other = context.new_page()
    visit(other, pages.add("/elsewhere", head=snippet))
    call(other, "reset")
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_have_count(0)


def test_who_is_told_late_sees_what_is_for_users_in_the_view_that_is_on(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored, new_message: Callable[..., Message]
) -> None:
    new_message("/told-late", title="Hello {{name}}")
    proof = {"user_hash": user_hash(collector, "told-late")}
    visit(page, pages.add("/told-before", head=snippet))
    call(page, "identify", "told-late", {"name": "Ada", **proof})
    fence(page)
    visit(page, pages.add("/told-late", head=snippet))
    fence(page)
    call(page, "identify", "told-late", {"name": "Ada", **proof})
    expect(page.locator("leadlight-message").get_by_role("dialog", name="Hello Ada")).to_be_visible()
    fence(page)
    assert [view.path for view in stored.views(lead(page)) if view.path == "/told-late"] == ["/told-late"]


def test_a_proof_given_late_counts_in_the_view_that_is_on(
    page: Page, pages: Pages, snippet: str, collector: Collector, new_message: Callable[..., Message]
) -> None:
    new_message("/proved-late", title="Hello {{name}}")
    proof = {"user_hash": user_hash(collector, "proved-late")}
    visit(page, pages.add("/proved-late", head=snippet))
    call(page, "identify", "proved-late", {"name": "Ada"})
    fence(page)
    call(page, "identify", "proved-late", {"name": "Ada", **proof})
    expect(page.locator("leadlight-message").get_by_role("dialog", name="Hello Ada")).to_be_visible()


def test_a_message_ends_when_somebody_else_signs_in(
    page: Page, pages: Pages, snippet: str, collector: Collector, new_message: Callable[..., Message]
) -> None:
    new_message("/taken-over", title="For {{name}} alone")
    visit(page, pages.add("/taken-over", head=snippet))
    call(page, "identify", "first-at-it", {"name": "Ada", "user_hash": user_hash(collector, "first-at-it")})
    expect(page.locator("leadlight-message").get_by_role("dialog", name="For Ada alone")).to_be_visible()
    call(page, "identify", "second-at-it", {"user_hash": user_hash(collector, "second-at-it")})
    expect(page.locator("leadlight-message").get_by_role("dialog")).to_have_count(0)


def test_a_view_that_waits_in_the_browser_stays_with_whoever_was_here_then(
    page: Page, pages: Pages, through: str, gateway: Gateway, stored: Stored
) -> None:
    visit(page, pages.add("/", head=through))
    call(page, "identify", "viewed-it")
    fence(page)
    gateway.fate = "drop"
    page.evaluate("history.pushState({}, '', '/waits')")
    page.wait_for_function("leadlight('status').retry_at")
    call(page, "identify", "came-then")
    call(page, "track", "did-this")
    gateway.fate = "pass"
    page.evaluate("window.dispatchEvent(new Event('online'))")
    fence(page)
    assert [(view.owner, view.path) for view in stored.events("page-view") if view.path == "/waits"] == [("viewed-it", "/waits")]
    assert [event.owner for event in stored.events("did-this")] == ["came-then"]


def test_two_users_in_one_view_are_one_view_of_the_first(page: Page, pages: Pages, snippet: str, stored: Stored) -> None:
    visit(page, pages.add("/one-view", head=snippet))
    page.evaluate("() => { leadlight('identify', 'first-in-view'); leadlight('identify', 'second-in-view') }")
    fence(page)
    assert [view.owner for view in stored.events("page-view") if view.path == "/one-view"] == ["first-in-view"]


def test_whoever_signs_in_in_a_view_of_somebody_else_gets_their_messages_in_it(
    page: Page, pages: Pages, snippet: str, new_message: Callable[..., Message], stored: Stored
) -> None:
    new_message("/their-view", title="For the second", audience={"field": "external_id", "operator": "=", "value": "gets-it"})
    visit(page, pages.add("/their-view", head=snippet))
    call(page, "identify", "was-here")
    fence(page)
    call(page, "identify", "gets-it")
    expect(page.locator("leadlight-message").get_by_role("dialog", name="For the second")).to_be_visible()
    assert [view.owner for view in stored.events("page-view") if view.path == "/their-view"] == ["was-here"]


@pytest.mark.whole_browser
@pytest.mark.parametrize("then", [("reset",), ("identify", "came-after")], ids=["signed out", "somebody else signed in"])
def test_a_page_back_from_the_cache_does_not_speak_for_who_was_there_before(
    page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored, then: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    before = f"was-there {request.node.callspec.id}"
    mark = "<script>addEventListener('pageshow', event => { window.restored = event.persisted })</script>"
    visit(page, pages.add("/account", head=mark + snippet))
    call(page, "identify", before)
    fence(page)
    visit(page, pages.add("/bye", head=snippet))
    call(page, *then)
    fence(page)
    page.evaluate("history.back()")
    page.wait_for_function("window.restored === true")
    assert status(page)["user"] is None
    call(page, "track", "pressed-back")
    fence(page)
    assert counts(collector, before.replace(" ", "%20")) == {}
    assert {(event.kind, event.owner) for event in stored.events("pressed-back")} == {("lead", lead(page))}


def test_after_the_session_has_ended_whoever_sits_there_is_somebody_new(
    context: BrowserContext, page: Page, pages: Pages, snippet: str, collector: Collector, stored: Stored
) -> None:
    """Days later nobody has signed out, and the page asserts nobody."""
    shop = pages.add("/", head=snippet)
    visit(page, shop)
    call(page, "identify", "long-gone")
    fence(page)
    known = lead(page)
    context.clock.set_fixed_time(time.time() + 6 * DAY)
    visit(page, shop)
    assert lead(page) == known
    context.clock.set_fixed_time(time.time() + 8 * DAY)
    visit(page, shop)
    call(page, "track", "after-the-session")
    assert lead(page) != known
    fence(page)
    assert [event.owner for event in stored.events("after-the-session")] == [lead(page)]
    assert counts(collector, "long-gone") == {}
    assert known not in json.dumps(storage(page))


def test_a_cookie_with_another_secret_pulls_nothing_and_is_replaced(
    new_context: Callable[..., BrowserContext], pages: Pages, snippet: str, collector: Collector, stored: Stored, lead_cookie: str
) -> None:
    shop = pages.add("/", head=snippet)
    owner, thief = new_context(), new_context()
    victim = owner.new_page()
    visit(victim, shop)
    call(victim, "identify", "robbed")
    fence(victim)
    known = cookie(owner, lead_cookie)
    stolen = known["value"].partition(".")[0]
    thief.add_cookies([{**known, "value": f"{stolen}.{OTHER_SECRET}"}])
    page = thief.new_page()
    visit(page, shop)
    call(page, "track", "as-robbed")
    page.wait_for_function("leadlight('status').refused.some(({code}) => code == 'lead_secret_invalid')")
    assert until(page, lambda: lead(page) != stolen)
    call(page, "track", "as-myself")
    fence(page)
    assert stored.events("as-robbed") == []
    assert [event.owner for event in stored.events("as-myself")] == [lead(page)]
    assert counts(collector, "robbed") == {}


def test_the_session_of_a_user_is_kept_and_stands_in_for_the_proof(
    context: BrowserContext, page: Page, pages: Pages, tag: Callable[..., str], gateway: Gateway, collector: Collector, lead_cookie: str
) -> None:
    proof = user_hash(collector, "kept-session")
    shop = pages.add("/", head=tag(address=gateway.address))
    visit(page, shop)
    call(page, "identify", "kept-session", {"user_hash": proof})
    fence(page)
    kept = storage(page).values()
    assert all(proof not in text and collector.identity_secret not in text for text in kept)
    visit(page, shop)
    call(page, "identify", "kept-session")
    call(page, "track", "with-session")
    fence(page)
    (sent,) = gateway.tries("with-session")
    session = sent.json["user"]["session"]
    assert any(session in text for text in kept)
    assert "hash" not in sent.json["user"]
    assert contact(collector, "kept-session")["verified"] is True
    secret = cookie(context, lead_cookie)["value"].partition(".")[2]
    readable = session + "".join(base64.urlsafe_b64decode(part + "===").decode("latin-1") for part in session.split("."))
    assert secret not in readable


def test_status_never_shows_the_secret(context: BrowserContext, page: Page, pages: Pages, snippet: str, lead_cookie: str) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", "asked-for-status", {"user_hash": "0" * 64})
    public, _, secret = cookie(context, lead_cookie)["value"].partition(".")
    shown = json.dumps(status(page))
    assert public in shown
    assert secret not in shown
    assert "0" * 64 not in shown


@pytest.mark.parametrize(
    ("hold", "release"),
    [
        pytest.param("leadlight('optOut')", "leadlight('optIn')", id="opted out"),
        pytest.param("window.leadlightSettings = {paused: true}", "leadlightSettings.paused = false", id="paused"),
    ],
)
def test_attributes_said_while_nothing_is_tracked_count_when_they_are_said_again(
    page: Page, pages: Pages, snippet: str, collector: Collector, hold: str, release: str
) -> None:
    visit(page, pages.add("/", head=snippet))
    user = f"held-back-by-{len(hold)}"
    page.evaluate(hold)
    call(page, "identify", user, {"plan": "gold"})
    page.evaluate(release)
    call(page, "identify", user, {"plan": "gold"})
    fence(page)
    assert contact(collector, user)["custom_attributes"] == {"plan": "gold"}


@pytest.mark.parametrize(("before", "after"), [("Aa", "BB"), ("1P", "21"), ("\U0001f600", "\U0001f601")])
def test_an_attribute_that_changes_by_little_is_sent(
    page: Page, pages: Pages, snippet: str, collector: Collector, before: str, after: str
) -> None:
    visit(page, pages.add("/", head=snippet))
    user = f"changes-to-{after.encode().hex()}"
    for plan in (before, after):
        call(page, "identify", user, {"plan": plan})
        fence(page)
    assert contact(collector, user)["custom_attributes"] == {"plan": after}


def test_what_is_no_user_id_by_its_kind_is_refused_with_a_reason(page: Page, pages: Pages, snippet: str) -> None:
    visit(page, pages.add("/", head=snippet))
    for given in ("123n", "Symbol('u')", "NaN", "true", "() => 1"):
        page.evaluate(f"() => {{ leadlight('identify', {given}) }}")
    assert status(page)["refused"] == [{"code": "user_id_invalid", "field": "user_id"}] * 5


def test_attributes_are_said_again_once_the_user_is_proved(
    page: Page, pages: Pages, through: str, collector: Collector, gateway: Gateway
) -> None:
    """What REST set is not overwritten before that."""
    proof = user_hash(collector, "proved-later")
    visit(page, pages.add("/", head=through))
    call(page, "identify", "proved-later", {"plan": "pro"})
    call(page, "identify", "proved-later", {"plan": "pro"})
    call(page, "identify", "proved-later", {"plan": "pro", "user_hash": proof})
    fence(page)
    said = [item for sent in gateway.sent() for item in sent.json["items"] if item["type"] == "identify"]
    assert [item["attributes"] for item in said] == [{"plan": "pro"}] * 2


@pytest.mark.parametrize("user_id", ["", " ", "null", "undefined", "NaN", "None", "[object Object]"])
def test_a_user_id_that_names_nobody_is_refused_and_the_page_is_tracked_as_before(
    page: Page, pages: Pages, snippet: str, stored: Stored, user_id: str
) -> None:
    visit(page, pages.add("/", head=snippet))
    call(page, "identify", user_id, {"plan": "gold"})
    call(page, "track", "after-an-id-of-nobody")
    who = lead(page)
    assert until(page, lambda: "after-an-id-of-nobody" in names(stored, lead=who))
    assert len(stored.views(who)) == 1
    assert status(page)["refused"] == [{"code": "user_id_invalid", "field": "user_id"}]
