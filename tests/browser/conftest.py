"""Fixtures for tests that drive a real Chromium.

Pages live at http://shop.example:PORT (and app.shop.example), the collector at http://collect.other:PORT: two sites, so that cookies
and requests behave as they do on the web. All names lead to this machine.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.environment import find_chromium
from tests.support.pages import Pages, page_server
from tests.support.servers import Collector, Demo

HOSTS = ("shop.example", "app.shop.example", "collect.other")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=" + ", ".join(f"MAP {host} 127.0.0.1" for host in HOSTS),
]
TIMEOUT_MS = 15_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, so that `-m 'not browser'` leaves it out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Take a picture of every open page when a test fails, and say where it is."""
    report = yield
    open_contexts = getattr(item, "funcargs", {}).get("open_contexts")
    if report.failed and call.when == "call" and open_contexts:
        report.sections.append(("Pages at the failure", "\n".join(_pictures(item.name, open_contexts))))
    return report


def _pictures(name: str, contexts: "list[BrowserContext]") -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="leadlight-failure-"))
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    for number, page in enumerate((page for context in contexts for page in context.pages), start=1):
        target = folder / f"{plain}-{number}.png"
        try:
            page.screenshot(path=target, timeout=5_000)
            yield f"{page.url}  {target}"
        except Exception as error:  # a page that hangs must not hide why the test failed
            yield f"{page.url}  no picture: {error}"
    if not any(folder.iterdir()):
        shutil.rmtree(folder)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """SQLite, as most installations have it; PostgreSQL only where it alone was asked for."""
    return "postgresql" if request.config.getoption("engine") == "postgresql" else "sqlite"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def launch_browser(playwright: Playwright) -> Iterator[Callable[..., Browser]]:
    """Starts further browsers; `arguments` are added to the usual ones."""
    path = find_chromium()
    if path is None:
        raise RuntimeError("the browser tests need a Chromium: `make install` brings one, or set CHROMIUM to its path")
    browsers: list[Browser] = []

    def launch(arguments: tuple[str, ...] = ()) -> Browser:
        # Playwright turns the back-forward cache off; visitors have it.
        started = playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, *arguments], ignore_default_args=["--disable-back-forward-cache"]
        )
        browsers.append(started)
        return started

    yield launch
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="session")
def browser(launch_browser: Callable[..., Browser]) -> Browser:
    """The Chromium of this run."""
    return launch_browser()


@pytest.fixture
def open_contexts() -> list[BrowserContext]:
    """The contexts that the test has opened."""
    return []


@pytest.fixture
def page_errors() -> list[str]:
    """Errors nobody caught in any page of this test; empty is what every site expects of our scripts."""
    return []


@pytest.fixture
def new_context(browser: Browser, open_contexts: list[BrowserContext], page_errors: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Opens one more visitor's browser: cookies and storage of its own. Options are Playwright's, or another `browser`."""

    def open_one(browser: Browser = browser, **options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("weberror", lambda error: page_errors.append(str(error.error)))
        open_contexts.append(context)
        return context

    yield open_one
    for context in open_contexts:
        context.close()


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    """A visitor who was never here."""
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab of that visitor."""
    return context.new_page()


@pytest.fixture
def pages() -> Iterator[Pages]:
    """The customer's site: `pages.add("/pricing", head=..., body=...)` returns the address."""
    with page_server() as running:
        yield running


@pytest.fixture
def collector(start_collector: Callable[..., Collector], pages: Pages) -> Iterator[Collector]:
    """A real collector that allows the pages' origins. For the browser it is at `collector.url_as("collect.other")`."""
    running = start_collector(origins=(pages.origin, f"http://app.shop.example:{pages.port}"))
    yield running
    if running.program.running:
        running.stop()


@pytest.fixture
def snippet(collector: Collector) -> str:
    """The script tag as a customer pastes it; the tests' own browser is to be counted."""
    address = collector.url_as("collect.other")
    return f'<script async src="{address}/tracker.js" data-site="{collector.site_key}" data-automation="count"></script>'


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo as `make demo` starts it, one for the run; use a context of your own to be a new visitor."""
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()
