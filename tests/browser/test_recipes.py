"""The recipes of docs/consent.md: each against what its vendor documents, played by a stand-in."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.gateway import Gateway
from tests.browser.recipes import snippet
from tests.browser.stored import Stored
from tests.browser.tabs import fence, lead, status, storage, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

GTAG = "<script>dataLayer = window.dataLayer || []; function gtag() { dataLayer.push(arguments) }</script>"

# What Tag Manager does when it arrives: it keeps what lies in the layer, and puts its own push in front.
TAG_MANAGER = """() => {
    window.heard = [...dataLayer];
    const { push } = dataLayer;
    dataLayer.push = (...entries) => { heard.push(...entries); return push.apply(dataLayer, entries); };
}"""

COOKIEBOT = """<script>
    window.Cookiebot = { consent: { statistics: false, method: null }, hasResponse: false };
    function answer(statistics, method = 'explicit') {
        Cookiebot.consent = { statistics, method };
        Cookiebot.hasResponse = true;
        dispatchEvent(new Event('CookiebotOnConsentReady'));
    }
</script>"""

# The feature is there only once it was loaded; "" stands for a visitor who did not choose.
SHOPIFY = """<script>
    window.Shopify = {
        asks: %s,
        choice: '',
        loadFeatures([feature], done) {
            if (feature.name != 'consent-tracking-api') return done(new Error('no such feature'));
            Shopify.customerPrivacy = {
                currentVisitorConsent: () => ({ marketing: '', analytics: Shopify.choice, preferences: '', sale_of_data: '' }),
                analyticsProcessingAllowed: () => Shopify.choice ? Shopify.choice == 'yes' : !Shopify.asks,
            };
            setTimeout(done);
        },
    };
    function answer(choice) {
        Shopify.choice = choice;
        document.dispatchEvent(new CustomEvent('visitorConsentCollected', { detail: { analyticsAllowed: choice == 'yes' } }));
    }
</script>"""


@pytest.fixture
def recipe(collector: Collector, gateway: Gateway) -> Callable[[str], str]:
    """The snippet of a recipe, sending through the gateway."""
    return lambda heading: snippet("consent.md", heading, collector, gateway.address)


@pytest.fixture
def untouched(context: BrowserContext, page: Page, gateway: Gateway) -> Callable[[], bool]:
    """Tells whether the visitor's browser and the network have seen no more than the script."""
    return lambda: not context.cookies() and not storage(page) and {sent.path for sent in gateway.log} <= {"/tracker.js"}


@pytest.fixture
def gone(context: BrowserContext, page: Page, lead_cookie: str) -> Callable[[], bool]:
    """Tells whether nothing but the visitor's no is left in the browser."""
    marker = f"{lead_cookie}_choice"
    return lambda: [one["name"] for one in context.cookies()] == [marker] and storage(page) == {marker: "out"}


def held(page: Page, reason: str) -> None:
    """Wait until that is why nothing is sent; an empty one: until it is sent."""
    page.wait_for_function("reason => window.leadlight?.v && leadlight('status').held == reason", arg=reason)


def test_a_banner_of_ones_own(
    page: Page, pages: Pages, recipe: Callable[[str], str], untouched: Callable[[], bool], gone: Callable[[], bool], stored: Stored
) -> None:
    shop = pages.add("/banner", recipe("A banner of your own"))
    visit(page, shop)
    banner = page.get_by_role("region", name="Privacy")
    expect(banner).to_be_visible()
    assert untouched()
    page.get_by_role("button", name="Yes").click()
    fence(page)
    assert len(stored.views(lead(page))) == 1
    assert status(page)["choice"] == "in.2026-03"

    visit(page, shop)
    held(page, "")
    expect(banner).to_be_hidden()

    page.context.clear_cookies()
    visit(page, shop)
    page.get_by_role("button", name="No").click()
    held(page, "opted_out")
    assert gone()
    expect(banner).to_be_hidden()


def test_a_banner_of_ones_own_asks_nobody_whose_browser_said_no(page: Page, pages: Pages, recipe: Callable[[str], str]) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {get: () => true})")
    visit(page, pages.add("/banner", recipe("A banner of your own")))
    held(page, "gpc")
    page.wait_for_load_state()
    expect(page.get_by_role("region", name="Privacy")).to_be_hidden()


def test_google_consent_mode(
    page: Page, pages: Pages, recipe: Callable[[str], str], untouched: Callable[[], bool], gone: Callable[[], bool], stored: Stored
) -> None:
    visit(page, pages.add("/google", head=recipe("Google consent mode") + GTAG))
    page.evaluate("gtag('consent', 'default', { analytics_storage: 'granted', region: ['US'] })")
    page.evaluate(TAG_MANAGER)
    page.evaluate("gtag('consent', 'update', { ad_storage: 'granted' })")
    page.evaluate("gtag('event', 'purchase', { value: 1 })")
    assert status(page)["held"] == "consent_required"
    assert untouched()
    page.evaluate("gtag('consent', 'update', { analytics_storage: 'granted' })")
    fence(page)
    assert len(stored.views(lead(page))) == 1
    page.evaluate("gtag('consent', 'update', { analytics_storage: 'denied' })")
    held(page, "opted_out")
    assert gone()
    assert page.evaluate("[heard.length, dataLayer.length]") == [5, 5]


def test_google_consent_mode_that_was_updated_before(page: Page, pages: Pages, recipe: Callable[[str], str]) -> None:
    update = "<script>gtag('consent', 'update', { analytics_storage: 'granted' })</script>"
    visit(page, pages.add("/google", head=GTAG + update + recipe("Google consent mode")))
    held(page, "")


def test_cookiebot(
    page: Page, pages: Pages, recipe: Callable[[str], str], untouched: Callable[[], bool], gone: Callable[[], bool], stored: Stored
) -> None:
    visit(page, pages.add("/cookiebot", head=COOKIEBOT + recipe("Cookiebot")))
    page.evaluate("dispatchEvent(new Event('CookiebotOnConsentReady'))")
    page.evaluate("answer(true, 'implied')")
    assert status(page)["held"] == "consent_required"
    assert untouched()
    page.evaluate("answer(true)")
    fence(page)
    assert len(stored.views(lead(page))) == 1
    page.evaluate("answer(false)")
    held(page, "opted_out")
    assert gone()


def test_shopify_where_visitors_are_asked(
    page: Page, pages: Pages, recipe: Callable[[str], str], untouched: Callable[[], bool], gone: Callable[[], bool], stored: Stored
) -> None:
    visit(page, pages.add("/shopify", head=SHOPIFY % "true" + recipe("Shopify")))
    held(page, "consent_required")
    assert untouched()
    page.evaluate("answer('yes')")
    fence(page)
    assert len(stored.views(lead(page))) == 1
    page.evaluate("answer('no')")
    held(page, "opted_out")
    assert gone()


def test_shopify_where_nobody_is_asked(page: Page, pages: Pages, recipe: Callable[[str], str], gone: Callable[[], bool]) -> None:
    visit(page, pages.add("/shopify", head=SHOPIFY % "false" + recipe("Shopify")))
    held(page, "")
    assert status(page)["choice"] == ""
    page.evaluate("answer('no')")
    held(page, "opted_out")
    assert gone()


def test_shopify_without_its_feature_tracks_nothing(page: Page, pages: Pages, recipe: Callable[[str], str], gateway: Gateway) -> None:
    broken = "<script>window.Shopify = { loadFeatures(features, done) { done(new Error('away')) } }</script>"
    page.goto(pages.add("/shopify", head=broken + recipe("Shopify")))
    assert page.evaluate("leadlight.v") is None
    assert gateway.log == []
