"""Fixtures for every test: engines, databases, a clock, the real collector."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.client import Client
from tests.support.clock import FakeClock
from tests.support.compiling import compile_once
from tests.support.disks import quick_folder
from tests.support.postgres import new_database, postgres_server
from tests.support.servers import Collector

ENGINES = ("sqlite", "postgresql")
LONG_TIMES = 16

# Time limits for an example measure the machine, not the code.
hypothesis.settings.register_profile(
    "leadlight", hypothesis.settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None
)
hypothesis.settings.register_profile("leadlight-long", hypothesis.settings.get_profile("leadlight"), max_examples=5_000)
hypothesis.settings.load_profile("leadlight")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long profile, for nights: thousands of examples, minutes of load")
    parser.addoption("--engine", choices=[*ENGINES, "both"], default="both", help="which database the tests run on (default: both)")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile before the tests are read, and let everything that they write stay in memory, where there is room.

    Syncing is most of what a commit costs, and where a test cuts the power, it is not the disk's. `TMPDIR` says otherwise.

    A shell lets what it starts in the background ignore Ctrl-C, and so would every program that the tests start and interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    memory = quick_folder()
    if memory and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = memory
        tempfile.tempdir = None  # looked for anew
    if config.getoption("--long"):
        hypothesis.settings.load_profile("leadlight-long")
    compile_once()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the browser tests last, and leave out what runs on the engine that was not asked for.

    Playwright keeps an event loop running in the main thread from its first use on: no test after it could call `asyncio.run`.
    """
    browser = Path(__file__).parent / "browser"
    items.sort(key=lambda item: browser in item.path.parents)
    wanted = config.getoption("engine")
    if wanted == "both":
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        engine = callspec.params.get("engine") if callspec else None
        (kept if engine in (None, wanted) else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show with a failed test what the programs it used have printed."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            program = getattr(value, "program", None)
            if program is not None:
                report.sections.append((f"Program {program.name}", program.report()))
    return report


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this run has the time of a night (`--long`)."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def often(long: bool) -> Callable[[int], int]:
    """Says how often something is done again that may go wrong at any moment: in the time of a night LONG_TIMES as often."""
    return lambda times: times * LONG_TIMES if long else times


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until it is turned."""
    return FakeClock()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine; whatever uses it runs once on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a PostgreSQL server for this run, without the name of a database."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def new_database_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Makes one more empty database of the test's engine with each call, gone after the test."""
    with ExitStack() as stack:
        made = 0

        def make() -> str:
            nonlocal made
            made += 1
            if engine == "sqlite":
                return f"sqlite:///{tmp_path / f'leadlight-{made}.db'}"
            return stack.enter_context(new_database(request.getfixturevalue("postgres_url")))

        yield make


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """The address of an empty database, on each engine in turn."""
    return new_database_url()


@pytest.fixture
def start_collector(tmp_path: Path, new_database_url: Callable[[], str]) -> Iterator[Callable[..., Collector]]:
    """Starts real collectors, each by default on a database of its own; all are ended after the test.

    Keyword arguments are those of `tests.support.servers.Collector`: `database_url`, `origins`, `site`, `settings` (environment),
    `changes`, `folder`.
    """
    with ExitStack() as stack:
        started = 0

        def start(database_url: str | None = None, folder: Path | None = None, **options: Any) -> Collector:
            nonlocal started
            started += 1
            folder = folder or tmp_path / f"collector-{started}"
            collector = Collector(folder, database_url or new_database_url(), **options)
            stack.callback(collector.kill)
            return collector

        yield start


@pytest.fixture
def collector(start_collector: Callable[..., Collector]) -> Iterator[Collector]:
    """A real collector with one site, in a process of its own, on each engine in turn. It has to end in order."""
    running = start_collector()
    yield running
    if running.program.running:
        running.stop()


@pytest.fixture
def client(collector: Collector) -> Client:
    """Speaks to the collector, REST with the site's access token."""
    return collector.client
