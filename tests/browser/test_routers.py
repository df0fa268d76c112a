"""Routers that fetch the next page and put its body in place of this one's: the tracker lives on, and counts every page once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stored import Stored
from tests.browser.tabs import call, fence, lead, visit
from tests.support.pages import Page as Answer
from tests.support.pages import Pages

TURBO = Path(__file__).resolve().parents[2] / "static/node_modules/@hotwired/turbo/dist/turbo.es2017-umd.js"

# What the view transitions of Astro do, as far as a guest in the page can tell: fetch, push, put head and body in place, say so.
ASTRO = """<script>
    const swap = async (address, turn) => {
        const next = new DOMParser().parseFromString(await (await fetch(address)).text(), 'text/html');
        turn();
        document.title = next.title;
        document.body.replaceWith(document.adoptNode(next.body));
        document.dispatchEvent(new Event('astro:after-swap'));
        document.dispatchEvent(new Event('astro:page-load'));
    };
    document.addEventListener('click', event => {
        const link = event.target.closest?.('a');
        if (!link) return;
        event.preventDefault();
        swap(link.href, () => history.pushState({}, '', link.href));
    });
    addEventListener('popstate', () => swap(location.href, () => {}));
</script>"""


@pytest.fixture(params=["turbo", "astro"])
def router(request: pytest.FixtureRequest, pages: Pages) -> str:
    """What stands in the head of every page of a site with that router."""
    if request.param == "astro":
        return ASTRO
    pages.by_path["/turbo.js"] = Answer(TURBO.read_text(encoding="utf-8"), content_type="text/javascript; charset=utf-8")
    return '<script src="/turbo.js"></script>'


def add_pages(pages: Pages, head: str, *paths: str) -> str:
    """A site of pages that link to each other; returns the address of the first. A mark in `window` tells whether one was loaded anew."""
    links = "".join(f'<p><a href="{path}">{path}</a></p>' for path in paths)
    for path in paths:
        pages.add(path, head=head, body=f"<h1>{path}</h1>{links}")
    return pages.url(paths[0])


def go(page: Page, path: str) -> None:
    """Follow a link and wait for the body of its page."""
    page.get_by_role("link", name=path, exact=True).click()
    expect(page.get_by_role("heading", name=path)).to_be_visible()


def card(page: Page) -> Any:
    return page.locator("leadlight-message").get_by_role("dialog")


def test_every_page_is_one_view_and_the_tracker_lives_on(page: Page, pages: Pages, snippet: str, router: str, stored: Stored) -> None:
    visit(page, add_pages(pages, router + snippet, "/one", "/two", "/three"))
    page.evaluate("window.mark = 'the same document'")
    go(page, "/two")
    call(page, "track", "in-two")
    go(page, "/three")
    page.evaluate("history.back()")
    expect(page.get_by_role("heading", name="/two")).to_be_visible()
    fence(page)
    assert page.evaluate("window.mark") == "the same document"
    found = stored.views(lead(page))
    assert [view.path for view in found] == ["/one", "/two", "/three", "/two"]
    assert [view.metadata.get("referrer") for view in found] == [None, pages.url("/one"), pages.url("/two"), pages.url("/three")]
    assert [event.page["url"] for event in stored.events("in-two")] == [pages.url("/two")]


def test_the_title_of_a_page_is_its_own(page: Page, pages: Pages, snippet: str, router: str, stored: Stored) -> None:
    visit(page, add_pages(pages, router + snippet, "/titled", "/titled-next"))
    go(page, "/titled-next")
    fence(page)
    assert [view.metadata["title"] for view in stored.views(lead(page))] == ["/titled", "/titled-next"]


def test_a_message_ends_with_its_page_and_the_messenger_comes_back_on_the_next(
    page: Page, pages: Pages, snippet: str, router: str, new_message: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["router"]
    paths = [f"/{kind}-{number}" for number in ("one", "two", "three")]
    for path in paths:
        new_message(path, title=f"On {path}")
    visit(page, add_pages(pages, router + snippet, *paths))
    expect(card(page)).to_have_accessible_name(f"On {paths[0]}")
    for path in paths[1:]:
        go(page, path)
        expect(card(page)).to_have_accessible_name(f"On {path}")
        expect(card(page)).to_have_count(1)


def test_a_snippet_in_the_body_that_every_swap_runs_again_counts_no_page_twice(
    page: Page, pages: Pages, snippet: str, router: str, stored: Stored
) -> None:
    for path, other in (("/inside", "/inside-next"), ("/inside-next", "/inside")):
        pages.add(path, head=router, body=f'<h1>{path}</h1><a href="{other}">{other}</a>{snippet}')
    visit(page, pages.url("/inside"))
    go(page, "/inside-next")
    go(page, "/inside")
    fence(page)
    assert [view.path for view in stored.views(lead(page))] == ["/inside", "/inside-next", "/inside"]
