"""The most important of the browser tests, in every engine that is on the machine: Firefox, WebKit, and Chromium as the control.

They drive browsers by WebDriver, which knows less of a page than the tools of `tests/browser` do, so they say only what a visitor or the
page's own script can see, and what the collector stored. All hosts lead to this machine by a proxy.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser.gateway import Gateway, gateway_to
from tests.browser.messages import Message
from tests.browser.stored import Stored, open_stored
from tests.engines.browsers import ENGINES, Engine, Wanted
from tests.engines.proxy import proxy_here
from tests.engines.tab import Tab, Visitor
from tests.support.certificates import Certificate, new_certificate
from tests.support.pages import Pages, page_server
from tests.support.servers import Collector

HOSTS = ("shop.example", "app.shop.example", "www.shop.co.uk", "collect.other")
HERE = [engine for engine in ENGINES if not engine.missing()]

# An image passes policies that let nothing else out.
WATCH = """
    const uncaught = text => { new Image().src = '/uncaught?' + encodeURIComponent(text) };
    addEventListener('error', event => event.message && uncaught(event.message));
    addEventListener('unhandledrejection', event => uncaught('' + event.reason));
"""


def pytest_report_header() -> list[str]:
    """Say which engines are here, and what to install for the others."""
    return [f"engine {engine.name}: {'missing, install ' + engine.missing() if engine.missing() else 'here'}" for engine in ENGINES]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engines)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once in each engine; one about a signal in those that can send it."""
    if "maker" in metafunc.fixturenames:
        signal = next((mark.args[0] for mark in metafunc.definition.iter_markers("sends")), None)
        able = [engine for engine in HERE if signal is None or signal in engine.signals]
        metafunc.parametrize("maker", able, ids=lambda engine: engine.name)


@pytest.fixture
def scheme() -> str:
    """Pages and collector speak https, unless a test is about plain http."""
    return "https"


@pytest.fixture(scope="session")
def proxy() -> Iterator[str]:
    """Where all hosts are found."""
    with proxy_here() as address:
        yield address


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    """What the servers over https show; the browsers were told to believe anything."""
    return new_certificate(HOSTS)


@pytest.fixture(scope="session")
def sites(certificate: Certificate) -> Iterator[dict[str, Pages]]:
    """The web servers of the customer's site, by scheme."""
    with page_server() as plain, page_server(certificate.tls) as secure:
        yield {"http": plain, "https": secure}


@pytest.fixture
def pages(sites: dict[str, Pages], scheme: str) -> Iterator[Pages]:
    """The customer's site, empty. No test may leave an error of a page uncaught."""
    site = sites[scheme]
    site.by_path.clear()
    site.uncaught.clear()
    yield site
    assert site.uncaught == []


@pytest.fixture(scope="session")
def collector(sites: dict[str, Pages], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One real collector for the run: making a site takes seconds, and tests are apart by visitor, path and event name."""
    folder = tmp_path_factory.mktemp("collector")
    origins = [site.url("", host) for site in sites.values() for host in HOSTS[:-1]]
    with ExitStack() as stack:
        running = Collector(folder, f"sqlite:///{folder / 'leadlight.db'}", origins=origins)
        stack.callback(running.kill)
        yield running
        running.stop()


@pytest.fixture
def stored(collector: Collector) -> Iterator[Stored]:
    """What that collector stored."""
    with open_stored(collector.database_url, collector.site_key) as found:
        yield found


@pytest.fixture
def gateway(collector: Collector, certificate: Certificate, scheme: str) -> Iterator[Gateway]:
    """A network in front of that collector that can be told to fail."""
    with gateway_to(collector.url, certificate.tls if scheme == "https" else None) as running:
        yield running


@pytest.fixture
def shop(pages: Pages, gateway: Gateway, collector: Collector) -> Callable[..., str]:
    """Serves a page with the tracker and returns its address.

    `tag` are more attributes of the script tag, `before` the script of the page's own that stands ahead of it, `own` its attributes.
    """

    def serve(path: str = "/", body: str = "", tag: str = "", before: str = "", own: str = "", **options: Any) -> str:
        script = (
            f'<script async src="{gateway.address}/tracker.js" data-site="{collector.site_key}" data-automation="count" {tag}></script>'
        )
        watch = f"<script {own}>{WATCH}{before}</script>"
        return pages.add(path, body, f'<link rel="icon" href="data:,">{watch}{script}', **options)

    return serve


@pytest.fixture
def new_visitor(maker: Engine, proxy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Visitor]]:
    """Starts the browser of one more visitor; keywords are those of `Wanted`."""
    with ExitStack() as stack:

        def start(**wanted: bool) -> Visitor:
            folder = tmp_path_factory.mktemp(maker.name)
            return Visitor(stack.enter_context(maker.running(Wanted(proxy, **wanted), folder)))

        yield start


@pytest.fixture
def visitor(new_visitor: Callable[..., Visitor]) -> Visitor:
    """Somebody who was never here."""
    return new_visitor()


@pytest.fixture
def tab(visitor: Visitor) -> Tab:
    """That visitor's first tab."""
    return visitor.tab


@pytest.fixture
def new_message(collector: Collector, maker: Engine) -> Callable[..., Message]:
    """Makes a message for one path; keywords are those of the definition, or of its content."""

    def make(path: str, **fields: Any) -> Message:
        content = {name: fields.pop(name) for name in ("title", "body", "position", "buttons") if name in fields}
        page = {"field": "path", "operator": "is", "value": path}
        base = {"name": f"{path} in {maker.name}", "type": "popup", "state": "live", "page": page, "ignore_caps": True}
        return Message(collector.client, {**base, "content": content, **fields})

    return make
