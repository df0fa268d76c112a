"""The snippets of docs/install.md that a browser can run."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route

from tests.browser import recipes
from tests.browser.stored import Stored
from tests.browser.tabs import cookie, fence, lead, visit
from tests.support.pages import Pages
from tests.support.servers import Collector

COUNTED = "<script>leadlightSettings = { automation: 'count' }</script>"


def test_plain_html(page: Page, pages: Pages, collector: Collector, stored: Stored) -> None:
    visit(page, pages.add("/plain", head=recipes.snippet("install.md", "Plain HTML", collector)))
    fence(page)
    assert [event.name for event in stored.events(lead=lead(page))] == ["page-view", "opened-the-brochure", "fence"]


def test_a_tag_manager_that_creates_the_script_anew(page: Page, pages: Pages, collector: Collector, stored: Stored) -> None:
    source = re.search(r'src="([^"]+)"', recipes.snippet("install.md", "Google Tag Manager", collector))
    assert source
    manager = f"const made = document.createElement('script'); made.src = '{source[1]}'; document.head.append(made)"
    visit(page, pages.add("/managed", head=f"{COUNTED}<script>{manager}</script>"))
    fence(page)
    assert len(stored.views(lead(page))) == 1


def test_a_path_of_ones_own_domain(
    page: Page, pages: Pages, collector: Collector, stored: Stored, new_message: Callable[..., object]
) -> None:
    """The proxy of the recipe: what its pattern admits goes on to the collector, below no path."""
    pattern = re.search(r"location ~ (\S+) ", recipes.snippet("install.md", "Under your own domain", collector, language="nginx"))
    assert pattern

    def proxy(route: Route) -> None:
        found = re.match(pattern[1], re.sub(r"^\w+://[^/]+|\?.*", "", route.request.url))
        assert found, route.request.url
        headers = {name: value for name, value in route.request.headers.items() if name != "cookie"}
        route.fulfill(response=route.fetch(url=f"{collector.url}/{found[1]}", headers=headers))

    page.route("**/ll/**", proxy)
    new_message("/proxied", title="Below a path")
    visit(page, pages.add("/proxied", head=COUNTED + recipes.snippet("install.md", "Under your own domain", collector)))
    page.get_by_role("dialog").wait_for()
    fence(page)
    assert len(stored.views(lead(page))) == 1
    # pages that came from Intercom, too
    settings = f"<script>intercomSettings = {{app_id: '{collector.site_key}'}}</script>"
    visit(page, pages.add("/proxied-widget", head=f'{COUNTED}{settings}<script src="/ll/widget/{collector.site_key}"></script>'))
    fence(page)
    assert len(stored.views(lead(page))) == 2


def test_a_cookie_that_the_server_sends_back_stays_one_cookie(
    page: Page, pages: Pages, collector: Collector, snippet: str, lead_cookie: str
) -> None:
    visit(page, pages.add("/", head=snippet))
    first = cookie(page.context, lead_cookie)
    before = lead(page)
    renewed = f"{lead_cookie}={first['value']}; Domain={first['domain']}; Path=/; Max-Age=34560000; SameSite=Lax"
    visit(page, pages.add("/renewed", head=snippet, headers={"Set-Cookie": renewed}))
    assert lead(page) == before
    assert [one["value"] for one in page.context.cookies() if one["name"] == lead_cookie] == [first["value"]]
