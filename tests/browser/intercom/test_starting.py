"""When `window.Intercom` starts, for whom, and where from."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.gateway import Gateway
from tests.browser.intercom.speaking import COUNTED, STATIC, STUB, say, snippet
from tests.browser.people import contact
from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, push, ready, status, storage, until
from tests.support.pages import Page as Served
from tests.support.pages import Pages
from tests.support.servers import Collector


def test_nothing_starts_before_a_boot(open_page: Callable[..., Page], context: BrowserContext, gateway: Gateway) -> None:
    page = open_page()
    say(page, "trackEvent", "too-early")
    say(page, "update", {"name": "Ada"})
    push(page, "/further")
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    assert [sent.path for sent in gateway.log] == ["/tracker.js", "/intercom.js"]
    assert context.cookies() == []
    assert storage(page) == {}
    assert page.evaluate("typeof leadlight") == "undefined"


def test_settings_with_an_app_id_are_a_boot(page: Page, pages: Pages, gateway: Gateway, collector: Collector, stored: Stored) -> None:
    settings = json.dumps({"app_id": collector.site_key, "user_id": "by-settings", "name": "Ada"})
    tag = f'<script async src="{gateway.address}/tracker.js"></script>'
    page.goto(pages.add("/settings", head=COUNTED + f"<script>window.intercomSettings = {settings}</script>" + tag))
    ready(page)
    fence(page)
    assert contact(collector, "by-settings")["name"] == "Ada"
    assert [(event.path, event.owner) for event in stored.events("page-view")] == [("/settings", "by-settings")]


def test_the_address_of_a_widget_names_the_site_for_a_boot_without_an_app_id(
    page: Page, pages: Pages, collector: Collector, stored: Stored
) -> None:
    tag = f'<script src="{collector.url_as("collect.other")}/widget/{collector.site_key}" data-automation="count"></script>'
    page.goto(pages.add("/named", head=tag))
    assert page.evaluate("Intercom.name + typeof Intercom.q") == page.evaluate("Intercom.name") + "undefined"
    assert page.evaluate("typeof leadlight") == "undefined"
    say(page, "boot")
    ready(page)
    fence(page)
    assert [event.path for event in stored.views(lead(page))] == ["/named"]


def test_markup_of_strangers_does_not_say_where_it_comes_from(page: Page, pages: Pages, collector: Collector, stored: Stored) -> None:
    written = f'<img name="currentScript" src="{pages.url("/widget/somebody-elses")}" alt="">'
    tag = f'<script src="{collector.url_as("collect.other")}/widget/{collector.site_key}" data-automation="count"></script>'
    page.goto(pages.add("/forum", body=written + tag))
    say(page, "boot")
    ready(page)
    fence(page)
    assert [event.path for event in stored.views(lead(page))] == ["/forum"]


def test_the_snippet_begins_with_the_settings_of_the_page_where_the_library_is_there_first(
    page: Page, pages: Pages, collector: Collector, stored: Stored
) -> None:
    widget = f"{collector.url_as('collect.other')}/widget/{collector.site_key}"
    pasted = snippet("https://widget.example.com/never", {"app_id": collector.site_key, "user_id": "library-first"})
    page.goto(pages.add("/first", head=COUNTED + f'<script src="{widget}"></script>' + pasted))
    ready(page)
    fence(page)
    assert [event.owner for event in stored.events("page-view")] == ["library-first"]


def test_the_attributes_of_the_tag_hold_as_in_any_page(page: Page, pages: Pages, gateway: Gateway, collector: Collector) -> None:
    tag = f'<script async src="{gateway.address}/tracker.js" data-consent="required" data-automation="count"></script>'
    page.goto(pages.add("/", head=STUB + tag))
    say(page, "boot", {"app_id": collector.site_key})
    ready(page)
    assert status(page)["held"] == "consent_required"
    call(page, "optIn")
    fence(page)


def test_it_speaks_to_where_the_script_came_from_whatever_api_base_says(page: Page, pages: Pages) -> None:
    for name in ("intercom.js", "tracker.js"):
        pages.by_path["/ll/widget/a-site" if name == "intercom.js" else "/ll/tracker.js"] = Served(
            (STATIC / name).read_text("utf-8"), content_type="text/javascript"
        )
    pasted = snippet("/ll/widget/a-site", {"app_id": "a-site", "api_base": "https://api-iam.example.com"})
    with page.expect_request("**/collect") as asked:
        page.goto(pages.add("/", head=COUNTED + pasted))
    assert asked.value.url == pages.url("/ll/collect")


def test_an_intercom_that_is_at_work_is_left_alone(page: Page, pages: Pages, gateway: Gateway) -> None:
    real = "<script>window.Intercom = function real() { return 'real' }; window.intercomSettings = {app_id: 'theirs'}</script>"
    page.goto(pages.add("/", head=COUNTED + real + f'<script src="{gateway.address}/tracker.js"></script>'))
    until(page, lambda: "/intercom.js" in [sent.path for sent in gateway.log])
    page.wait_for_load_state("networkidle")
    assert page.evaluate("Intercom('boot')") == "real"
    assert [sent.path for sent in gateway.log] == ["/tracker.js", "/intercom.js"]


def test_a_tag_with_a_site_does_not_touch_intercom(page: Page, pages: Pages, snippet: str) -> None:
    page.goto(pages.add("/", head=STUB + snippet))
    ready(page)
    fence(page)
    assert page.evaluate("Array.isArray(Intercom.q)")


def test_a_strict_policy_with_trusted_types_is_kept(
    page: Page, pages: Pages, collector: Collector, stored: Stored, new_message: Callable[..., Any]
) -> None:
    new_message("/strict-intercom", title="Under a strict policy")
    origin = collector.url_as("collect.other")
    policy = (
        f"default-src 'none'; script-src 'nonce-n0nce'; connect-src {origin}; style-src 'none'; img-src 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page_script = (
        "window.broken = []; addEventListener('securitypolicyviolation', ({violatedDirective}) => broken.push(violatedDirective));"
        f"window.leadlightSettings = {{automation: 'count'}}; window.intercomSettings = {{app_id: '{collector.site_key}'}}"
    )
    icon = '<link rel="icon" href="data:,">'
    head = f'{icon}<script nonce=n0nce>{page_script}</script><script nonce=n0nce async src="{origin}/tracker.js"></script>'
    page.goto(pages.add("/strict-intercom", head=head, headers={"Content-Security-Policy": policy}))
    page.get_by_role("dialog").wait_for()
    fence(page)
    assert [event.path for event in stored.views(lead(page))] == ["/strict-intercom"]
    assert [one for one in page.evaluate("broken") if one != "img-src"] == []


def test_it_leaves_no_global_but_intercoms_and_leadlights(page: Page, pages: Pages, head: str, collector: Collector) -> None:
    spy = "<script>window.before = Object.getOwnPropertyNames(window).concat('before')</script>"
    page.goto(pages.add("/", head=spy + head))
    say(page, "boot", {"app_id": collector.site_key})
    ready(page)
    found = set(page.evaluate("Object.getOwnPropertyNames(window).filter(name => !before.includes(name))"))
    assert found == {"Intercom", "leadlight", "leadlightSettings"}


@pytest.mark.parametrize("path", ["/widget/{}", "/intercom.js"])
def test_a_module_finds_its_own_address(page: Page, pages: Pages, collector: Collector, stored: Stored, path: str) -> None:
    """It has no `currentScript`, as scripts have none that a loader made anew."""
    address = collector.url_as("collect.other") + path.format(collector.site_key)
    others = '<script type="text/plain" src="https://widget.intercom.io/widget/other"></script>'
    page.goto(pages.add("/module", head=f'{others}<script type="module" src="{address}" data-automation="count"></script>'))
    say(page, "boot", {"app_id": collector.site_key})
    ready(page)
    fence(page)
    assert [event.path for event in stored.views(lead(page))] == ["/module"]
