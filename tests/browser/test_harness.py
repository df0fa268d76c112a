"""The browser of the tests behaves as a visitor's does where that matters."""

import pytest
from playwright.sync_api import Page

from tests.support.pages import Pages


@pytest.mark.whole_browser
def test_back_forward_cache_is_on(page: Page, pages: Pages) -> None:
    first = pages.add("/first", "<script>addEventListener('pageshow', event => { window.restored = event.persisted })</script>")
    page.goto(first)
    page.goto(pages.add("/second"))
    page.evaluate("history.back()")
    page.wait_for_function("window.restored === true")


def test_sites_are_apart(page: Page, pages: Pages) -> None:
    page.goto(pages.add("/"))
    page.evaluate("document.cookie = 'own=1'")
    page.goto(pages.url("/", host="app.shop.example"))
    assert page.evaluate("document.cookie") == ""
    page.goto(pages.url("/", host="collect.other"))
    assert page.evaluate("document.cookie") == ""
    page.goto(pages.url("/"))
    assert page.evaluate("document.cookie") == "own=1"
