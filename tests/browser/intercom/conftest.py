"""Fixtures: pages that speak Intercom and have the tracker's tag without a site."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.gateway import Gateway
from tests.browser.intercom.speaking import COUNTED, STUB, say
from tests.browser.tabs import ready
from tests.support.pages import Pages
from tests.support.servers import Collector


@pytest.fixture
def head(gateway: Gateway) -> str:
    """What stands in the head: a stub, and the tracker's tag."""
    return COUNTED + STUB + f'<script async src="{gateway.address}/tracker.js"></script>'


@pytest.fixture
def open_page(page: Page, pages: Pages, head: str) -> Callable[..., Page]:
    """Opens such a page, at a path; the library is there, and nobody has booted."""

    def open_one(path: str = "/") -> Page:
        page.goto(pages.add(path, head=head))
        page.wait_for_function("!Intercom.q")
        return page

    return open_one


@pytest.fixture
def boot(open_page: Callable[..., Page], collector: Collector) -> Callable[..., Page]:
    """Opens such a page and boots with these settings; the tracker is there."""

    def open_one(path: str = "/", **settings: Any) -> Page:
        page = open_page(path)
        say(page, "boot", {"app_id": collector.site_key, **settings})
        ready(page)
        return page

    return open_one
