"""Fixtures for tests that drive a real Chromium.

Pages live at http://shop.example:PORT (and app.shop.example; pay.example is another domain of that site), the collector at
http://collect.other:PORT: two sites, so that cookies and requests behave as they do on the web. All names lead to this machine. The same
over https, where browsers offer more: `secure_pages` and `secure_gateway`.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.browser.gateway import Gateway, gateway_to
from tests.browser.messages import Message
from tests.browser.rules import Rules
from tests.browser.stored import Stored, open_stored
from tests.browser.tabs import until
from tests.environment import find_chromium, find_shell
from tests.support.certificates import Certificate, new_certificate
from tests.support.pages import Pages, page_server
from tests.support.postgres import new_database
from tests.support.servers import Collector, Demo

HOSTS = ("shop.example", "app.shop.example", "pay.example", "collect.other")
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
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    """What the servers over https show, and the browsers of the tests believe."""
    return new_certificate(HOSTS)


@pytest.fixture(scope="session")
def launch_browser(playwright: Playwright, certificate: Certificate) -> Iterator[Callable[..., Browser]]:
    """Starts browsers; `arguments` are added to the usual ones. The shell of Chromium only where it may be `quick`, and there is one."""
    whole = find_chromium()
    if whole is None:
        raise RuntimeError("the browser tests need a Chromium: `make install` brings one, or set CHROMIUM to its path")
    trusted = f"--ignore-certificate-errors-spki-list={certificate.pin}"
    browsers: list[Browser] = []

    def launch(arguments: tuple[str, ...] = (), *, quick: bool = False) -> Browser:
        path = (quick and find_shell()) or whole
        # Playwright turns the back-forward cache off; visitors have it.
        started = playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, trusted, *arguments], ignore_default_args=["--disable-back-forward-cache"]
        )
        browsers.append(started)
        return started

    yield launch
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="session")
def browser(launch_browser: Callable[..., Browser]) -> Browser:
    """The Chromium of this run, without its windows where there is one."""
    return launch_browser(quick=True)


@pytest.fixture(scope="session")
def whole_browser(launch_browser: Callable[..., Browser]) -> Browser:
    """The Chromium that visitors have, with a back-forward cache and tabs, for tests marked so."""
    return launch_browser()


@pytest.fixture
def unattended(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Opens an address in a Chromium that no debugger watches: with one, pages are not prerendered."""
    with ExitStack() as stack:

        def open_address(address: str) -> None:
            command = [find_chromium() or "", "--headless", *ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}", address]
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(running.wait)
            stack.callback(running.terminate)

        yield open_address


@pytest.fixture
def open_contexts() -> list[BrowserContext]:
    """The contexts that the test has opened."""
    return []


@pytest.fixture
def page_errors() -> list[str]:
    """Errors nobody caught in any page of this test; empty is what every site expects of our scripts."""
    return []


@pytest.fixture(autouse=True)
def nothing_uncaught(page_errors: list[str]) -> Iterator[None]:
    """No test may leave an error of a page uncaught, whatever else it is about."""
    yield
    assert page_errors == []


@pytest.fixture
def new_context(
    request: pytest.FixtureRequest, open_contexts: list[BrowserContext], page_errors: list[str]
) -> Iterator[Callable[..., BrowserContext]]:
    """Opens one more visitor's browser: cookies and storage of its own. Options are Playwright's, or another `browser`."""
    usual: Browser = request.getfixturevalue("whole_browser" if request.node.get_closest_marker("whole_browser") else "browser")

    def open_one(browser: Browser = usual, **options: Any) -> BrowserContext:
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


@pytest.fixture(scope="session")
def site_server() -> Iterator[Pages]:
    """The web server of the customer's site, one for the run, so that its origin stays the same."""
    with page_server() as running:
        yield running


@pytest.fixture
def pages(site_server: Pages) -> Pages:
    """The customer's site, empty: `pages.add("/pricing", head=..., body=...)` returns the address."""
    site_server.by_path.clear()
    return site_server


@pytest.fixture(scope="session")
def secure_server(certificate: Certificate) -> Iterator[Pages]:
    """The web server of the customer's site over https."""
    with page_server(certificate.tls) as running:
        yield running


@pytest.fixture
def secure_pages(secure_server: Pages) -> Pages:
    """The customer's site over https, empty."""
    secure_server.by_path.clear()
    return secure_server


@pytest.fixture(scope="session")
def shared_collector(
    site_server: Pages, secure_server: Pages, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Collector]:
    """One real collector for the run: making a site takes seconds, and tests are apart by visitor, path and event name."""
    folder = tmp_path_factory.mktemp("collector")
    origins = [
        server.url("", host)
        for server in (site_server, secure_server)
        for host in ("shop.example", "app.shop.example", "pay.example", "localhost")
    ]
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'leadlight.db'}"
        if request.config.getoption("engine") == "postgresql":
            url = stack.enter_context(new_database(request.getfixturevalue("postgres_url")))
        running = Collector(folder, url, origins=origins)
        stack.callback(running.kill)
        yield running
        if running.program.running:
            running.stop()


@pytest.fixture
def collector(shared_collector: Collector) -> Iterator[Collector]:
    """A real collector that allows the pages' origins, running. For the browser it is at `collector.url_as("collect.other")`."""
    yield shared_collector
    if not shared_collector.program.running:
        shared_collector.start()


@pytest.fixture
def stored(collector: Collector) -> Iterator[Stored]:
    """What that collector stored."""
    with open_stored(collector.database_url, collector.site_key) as found:
        yield found


@pytest.fixture
def gateway(collector: Collector) -> Iterator[Gateway]:
    """A network in front of that collector that can be told to fail."""
    with gateway_to(collector.url) as running:
        yield running


@pytest.fixture
def secure_gateway(collector: Collector, certificate: Certificate) -> Iterator[Gateway]:
    """The same over https."""
    with gateway_to(collector.url, certificate.tls) as running:
        yield running


@pytest.fixture
def tag(collector: Collector) -> Callable[..., str]:
    """Makes script tags of the tracker: `address` of the collector, more attributes as text."""

    def make(attributes: str = "", address: str = collector.url_as("collect.other")) -> str:
        return f'<script async src="{address}/tracker.js" data-site="{collector.site_key}" data-automation="count" {attributes}></script>'

    return make


@pytest.fixture
def snippet(tag: Callable[..., str]) -> str:
    """The script tag as a customer pastes it; the tests' own browser is to be counted."""
    return tag()


@pytest.fixture
def through(tag: Callable[..., str], gateway: Gateway) -> str:
    """The script tag of a collector behind the gateway."""
    return tag(address=gateway.address)


@pytest.fixture
def numbers(page: Page, stored: Stored) -> Callable[[str, int], list[int]]:
    """Waits for that many events of a name and returns the numbers they carry, in the order of tracking."""

    def read(name: str, count: int) -> list[int]:
        until(page, lambda: len(stored.events(name)) >= count)
        return [event.metadata["n"] for event in stored.events(name)]

    return read


@pytest.fixture
def lead_cookie(collector: Collector) -> str:
    """The name of the lead's cookie."""
    return f"leadlight_{collector.site_key}"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo as `make demo` starts it, one for the run; use a context of your own to be a new visitor."""
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


@pytest.fixture
def new_message(collector: Collector) -> Iterator[Callable[..., Message]]:
    """Makes a message for one path; keywords are those of the definition, or of its content. After the test it is archived."""
    made: list[Message] = []

    def make(path: str | None, **fields: Any) -> Message:
        content = {
            name: fields.pop(name) for name in ("title", "body", "position", "buttons", "image_url", "sender", "question") if name in fields
        }
        page = None if path is None else {"field": "path", "operator": "is", "value": path}
        base = {"name": f"Message for {path}", "type": "popup", "state": "live", "page": page, "ignore_caps": True}
        made.append(Message(collector.client, {**base, "content": content, **fields}))
        return made[-1]

    yield make
    for message in made if collector.program.running else ():
        message.archive()


@pytest.fixture
def rules(collector: Collector) -> Iterator[Rules]:
    """Rules of the site, archived afterwards: the collector is shared, and most tests are about a site without any."""
    made = Rules(collector.client)
    yield made
    made.archive_all()
