"""From one domain of the site to another, shop.example to pay.example: the same lead there, and only for who followed the link."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.stored import Stored
from tests.browser.tabs import HEARD, call, cookie, fence, heard, lead, ready, status, until, visit, wait_for
from tests.support.pages import Pages

DOMAINS = 'data-link-domains="shop.example pay.example"'
NOTES = "window.fragments = []; addEventListener('click', ({target}) => target.hash != null && fragments.push(target.hash))"


@pytest.fixture
def network(gateway: Gateway) -> Gateway:
    """Where a fate is set, it meets what is asked at arrival."""
    gateway.path = "/handover/take"
    return gateway


@pytest.fixture
def shop(pages: Pages, tag: Callable[..., str], network: Gateway) -> str:
    """A page with a link to `/paid` on the other domain, which has one back to `/`."""
    head = f"<script>{NOTES}{HEARD}</script>{tag(DOMAINS, network.address)}"
    pages.add("/paid", f'<a href="{pages.url("/")}">Back to the shop</a>', head=head)
    return pages.add("/", f'<a href="{pages.url("/paid", host="pay.example")}">Pay</a>', head=head)


def there(pages: Pages) -> str:
    return pages.url("/paid", host="pay.example")


def point_at(page: Page, name: str) -> None:
    """Point at a link, until its parameter is there."""
    heard(page, "/handover", page.get_by_role("link", name=name).hover)


def leave_by(page: Page, network: Gateway, name: str = "Pay") -> None:
    """Point at a link, and follow it as a visitor does who takes a moment."""
    before = len(network.sent("/handover"))
    point_at(page, name)
    assert len(network.sent("/handover")) == before + 1
    page.get_by_role("link", name=name).click()


def arrive(page: Page, pages: Pages) -> str:
    """Wait for the other domain, its tracker and its first view, and return the lead there."""
    page.wait_for_url(there(pages) + "*")
    ready(page)
    fence(page)
    return lead(page)


def known(page: Page, address: str) -> str:
    """Open a page, wait until the collector knows the visitor, and return the lead."""
    visit(page, address)
    fence(page)
    return lead(page)


def test_the_visitor_is_the_same_lead_on_the_other_domain_from_its_first_view_on(
    page: Page, pages: Pages, shop: str, network: Gateway, stored: Stored
) -> None:
    first = known(page, shop)
    leave_by(page, network)
    assert arrive(page, pages) == first
    assert [view.path for view in stored.views(first)] == ["/", "/paid"]
    assert {event.owner for event in stored.events()} == {first}


def test_it_is_one_visit_on_both_domains(page: Page, pages: Pages, shop: str, network: Gateway, stored: Stored) -> None:
    first = known(page, shop)
    leave_by(page, network)
    arrive(page, pages)
    assert len({view.visit for view in stored.views(first)}) == 1


def test_the_secret_goes_along_in_an_answer_and_in_no_address(
    page: Page, context: BrowserContext, pages: Pages, shop: str, network: Gateway, lead_cookie: str
) -> None:
    addresses: list[str] = []
    context.on("request", lambda request: addresses.extend([request.url, request.headers.get("referer", "")]))
    known(page, shop)
    secret = cookie(context, lead_cookie)["value"].split(".")[1]
    leave_by(page, network)
    arrive(page, pages)
    assert [one["value"].split(".")[1] for one in context.cookies(there(pages))] == [secret]
    assert not [address for address in addresses if secret in address]
    requested = [sent.path for sent in network.log] + [sent.headers["Referer"] or "" for sent in network.log]
    assert not [address for address in requested if "_ll" in address]


def test_the_parameter_is_gone_from_the_address_and_from_what_is_sent(
    page: Page, pages: Pages, shop: str, network: Gateway, stored: Stored
) -> None:
    first = known(page, shop)
    leave_by(page, network)
    arrive(page, pages)
    assert page.url == there(pages)
    assert [view.page["url"] for view in stored.views(first)] == [shop, there(pages)]


def test_what_the_page_tracks_at_once_is_the_same_leads(
    page: Page, pages: Pages, shop: str, tag: Callable[..., str], network: Gateway, stored: Stored
) -> None:
    head = "<script>leadlight = function () { (leadlight.q = leadlight.q || []).push(arguments) }; leadlight('track', 'paid')</script>"
    pages.add("/paid", head=head + tag(DOMAINS, network.address))
    first = known(page, shop)
    leave_by(page, network)
    arrive(page, pages)
    assert [event.owner for event in stored.events("paid")] == [first]


def test_a_route_in_the_hash_is_one_view_without_the_parameter(
    page: Page, pages: Pages, shop: str, tag: Callable[..., str], network: Gateway, stored: Stored
) -> None:
    pages.add("/paid", head=tag(DOMAINS + " data-hash", network.address))
    first = known(page, shop)
    leave_by(page, network)
    arrive(page, pages)
    assert [view.page["url"] for view in stored.views(first)] == [shop, there(pages)]


def test_the_link_has_the_parameter_for_its_click_alone(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    known(page, shop)
    page.evaluate("() => addEventListener('click', (event) => event.preventDefault())")
    leave_by(page, network)
    (fragment,) = page.evaluate("fragments")
    assert fragment.startswith("#_ll=")
    wait_for(page, "address => document.querySelector('a').getAttribute('href') == address", there(pages))


def test_the_keyboard_takes_the_lead_along_too(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    first = known(page, shop)
    heard(page, "/handover", page.get_by_role("link", name="Pay").focus)
    page.keyboard.press("Enter")
    assert arrive(page, pages) == first


@pytest.mark.whole_browser
def test_a_new_tab_takes_the_lead_along_too(page: Page, context: BrowserContext, pages: Pages, shop: str, network: Gateway) -> None:
    first = known(page, shop)
    point_at(page, "Pay")
    with context.expect_page() as opened:
        page.get_by_role("link", name="Pay").click(button="middle")
    assert arrive(opened.value, pages) == first


def handed(page: Page, network: Gateway) -> str:
    """The parameter that a click put into its link, which was not followed."""
    page.evaluate("() => addEventListener('click', (event) => event.preventDefault())")
    leave_by(page, network)
    return str(page.evaluate("fragments")[-1])


def test_who_gets_the_address_pasted_is_somebody_else(
    page: Page, pages: Pages, shop: str, network: Gateway, new_context: Callable[..., BrowserContext]
) -> None:
    first = known(page, shop)
    friend = new_context().new_page()
    friend.goto(there(pages) + handed(page, network))
    assert arrive(friend, pages) != first
    assert friend.url == there(pages)
    assert network.sent("/handover/take") == []


def test_a_strangers_page_gives_nobody_its_own_lead(
    page: Page, pages: Pages, shop: str, network: Gateway, new_context: Callable[..., BrowserContext]
) -> None:
    attackers = known(page, shop)
    pages.add("/trap", f'<a href="{there(pages)}{handed(page, network)}">Win</a>')
    victim = new_context().new_page()
    victim.goto(pages.url("/trap", host="localhost"))
    victim.get_by_role("link", name="Win").click()
    assert arrive(victim, pages) != attackers
    assert network.sent("/handover/take") == []


def test_who_is_known_there_already_stays_who_they_are(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    own = known(page, there(pages))
    assert known(page, shop) != own
    leave_by(page, network)
    assert arrive(page, pages) == own
    assert page.url == there(pages)


def test_a_parameter_that_was_used_makes_a_new_lead(
    page: Page, pages: Pages, shop: str, network: Gateway, new_context: Callable[..., BrowserContext]
) -> None:
    first = known(page, shop)
    used = handed(page, network)
    leads = []
    for _ in range(2):
        other = new_context().new_page()
        visit(other, shop)
        other.evaluate("address => { location.href = address }", there(pages) + used)
        leads.append(arrive(other, pages))
    assert leads[0] == first != leads[1]
    assert len(network.sent("/handover/take")) == 2


def test_back_and_forward_change_nobody(page: Page, context: BrowserContext, pages: Pages, shop: str, network: Gateway) -> None:
    first = known(page, shop)
    leave_by(page, network)
    arrive(page, pages)
    for step, address in (("back", shop), ("forward", there(pages))):
        page.evaluate(f"() => {{ setTimeout(() => history.{step}()) }}")  # or the answer would race with the end of the page
        page.wait_for_url(address, wait_until="commit")  # from the cache there is no load
        ready(page)
        fence(page)
        assert lead(page) == first
    assert len(network.sent("/handover/take")) == 1


@pytest.mark.parametrize("fate", ["hang", "drop", "busy", "garble"])
def test_where_the_other_page_gets_no_answer_it_counts_a_new_lead(
    page: Page, pages: Pages, shop: str, network: Gateway, stored: Stored, fate: str
) -> None:
    network.fate = fate
    first = known(page, shop)
    leave_by(page, network)
    own = arrive(page, pages)
    assert own != first
    assert [view.path for view in stored.views(own)] == ["/paid"]


def test_an_answer_that_comes_late_changes_nobody(page: Page, pages: Pages, shop: str, network: Gateway, stored: Stored) -> None:
    network.fate = "wait"
    known(page, shop)
    leave_by(page, network)
    own = arrive(page, pages)
    with page.expect_response("**/handover/take") as answer:
        heard(page, "/handover/take", network.hold.set)
    assert answer.value.status == 403
    fence(page)
    assert lead(page) == own


def test_the_link_is_followed_at_once_while_the_collector_is_silent(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    first = known(page, shop)
    network.path, network.fate = "/handover", "hang"
    with page.expect_request("**/handover"):
        page.get_by_role("link", name="Pay").hover()
    page.get_by_role("link", name="Pay").click()
    assert arrive(page, pages) != first
    assert network.sent("/handover/take") == []


def test_pointing_at_links_again_and_again_asks_once(page: Page, shop: str, network: Gateway) -> None:
    known(page, shop)
    point_at(page, "Pay")
    for _ in range(3):
        page.mouse.move(0, 0)
        page.get_by_role("link", name="Pay").hover()
    fence(page)
    assert len(network.sent("/handover")) == 1


def test_after_a_reset_the_former_lead_is_handed_to_nobody(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    former = known(page, shop)
    point_at(page, "Pay")
    call(page, "reset")
    page.evaluate("() => document.querySelector('a').click()")
    assert arrive(page, pages) != former


def test_signed_in_on_one_domain_the_lead_ends_with_its_session_on_the_other(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    first = known(page, shop)
    call(page, "identify", "handed-1")
    fence(page)
    leave_by(page, network)
    assert arrive(page, pages) == first
    who = "Object.entries(localStorage).find(([key]) => key.endsWith('.who'))"
    assert page.evaluate(f"JSON.parse({who}[1]).expires_at > Date.now() + 6 * 864e5")
    ended = "{...JSON.parse(text), expires_at: Date.now() - 1}"
    page.evaluate(f"() => {{ const [key, text] = {who}; localStorage[key] = JSON.stringify({ended}) }}")
    fence(page)
    assert lead(page) != first


def test_before_consent_nothing_is_asked_and_after_it_the_lead_comes_along(
    page: Page, pages: Pages, shop: str, tag: Callable[..., str], network: Gateway, stored: Stored
) -> None:
    pages.add("/paid", head=tag(f'{DOMAINS} data-consent="required"', network.address))
    first = known(page, shop)
    leave_by(page, network)
    page.wait_for_url(there(pages) + "*")
    ready(page)
    assert status(page)["held"] == "consent_required"
    assert network.sent("/handover/take") == []
    call(page, "optIn")
    until(page, lambda: len(stored.views(first)) == 2)
    assert lead(page) == first
    assert [view.path for view in stored.views(first)] == ["/", "/paid"]


def test_of_who_does_not_consent_nothing_is_handed_over(page: Page, pages: Pages, shop: str, network: Gateway) -> None:
    known(page, shop)
    call(page, "optOut")
    page.get_by_role("link", name="Pay").hover()
    page.get_by_role("link", name="Pay").click()
    arrive(page, pages)
    assert network.sent("/handover") == []


def test_without_the_option_no_link_is_touched_and_nothing_loaded(
    page: Page, pages: Pages, shop: str, tag: Callable[..., str], network: Gateway
) -> None:
    pages.add("/", f'<a href="{there(pages)}">Pay</a>', head=tag(address=network.address))
    first = known(page, shop)
    page.get_by_role("link", name="Pay").hover()
    fence(page)
    assert {sent.path for sent in network.log} == {"/tracker.js", "/collect"}
    page.get_by_role("link", name="Pay").click()
    assert arrive(page, pages) != first
