"""What the tracker costs a page, beside what others cost it: one command, one file.

    make bench-tracker        or     python -m tests.benchmarks.trackers [--rounds 15]

Installs the peers' npm packages into a cache folder (`XDG_CACHE_HOME`), bundles each with the few lines of `peers/` that set it up, and
opens pages in the Chromium of the tests, each in a visitor's browser of its own. All of them speak to one server on this machine that
takes whatever comes. Prints the table and writes it to TRACKER.md beside this file; what stands there from "Reading the figures" on stays.
"""

import argparse
import gzip
import os
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.benchmarks import report
from tests.benchmarks.peer_server import PeerServer, peer_server
from tests.browser.conftest import ARGUMENTS
from tests.environment import find_chromium, find_node

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "static"
RESULTS = HERE / "TRACKER.md"
OURS = "leadlight"
EMPTY = "empty page"

# A browser that says it is driven by a program is counted by nobody.
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
SETTLED_MS = 800
AFTERWARDS_MS = 1_000
LATE_MS = 8_000


@dataclass(frozen=True)
class Peer:
    """A tracker of npm. `files`, where the package is an application of which these alone are wanted; `attributes` of the script tag."""

    package: str
    version: str
    files: tuple[str, ...] = ()
    attributes: str = ""


PEERS = {
    "openpanel": Peer("@openpanel/web", "1.4.1"),
    "plausible": Peer("@plausible-analytics/tracker", "0.4.6"),
    "umami": Peer(
        "umami", "2.10.0", ("src/tracker/index.js",), 'data-website-id="b0a7d4c8-0000-4000-8000-000000000000" data-host-url="COLLECTOR"'
    ),
    "snowplow": Peer("@snowplow/browser-tracker", "4.10.1"),
    "segment": Peer("@segment/analytics-next", "1.84.3"),
    "mixpanel": Peer("mixpanel-browser", "2.83.0"),
    "posthog": Peer("posthog-js", "1.449.2"),
}


@dataclass
class Costs:
    """What was measured of one tracker: milliseconds by round, and what needs one round only."""

    loading: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    called: list[float] = field(default_factory=list)
    gzip: int = 0
    brotli: int = 0
    posts: int = 0
    preflights: int = 0
    body: int = 0
    kept: int = 0


# ---------------------------------------------------------------- packages


def install(cache: Path) -> Path:
    """Install what is missing of the peers' packages and return the folder they are in."""
    modules = cache / "node_modules"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "package.json").write_text('{"private": true}')
    _, npm = find_node()
    missing = [peer for peer in PEERS.values() if not _has(modules, peer)]
    whole = [f"{peer.package}@{peer.version}" for peer in missing if not peer.files]
    if whole:
        wanted = [f"{peer.package}@{peer.version}" for peer in PEERS.values() if not peer.files]
        subprocess.run([*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", *wanted], cwd=cache, check=True)
    for peer in PEERS.values():
        if peer.files and not _has(modules, peer):
            command = [*npm, "pack", "--silent", f"{peer.package}@{peer.version}"]
            packed = subprocess.run(command, cwd=cache, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            with tarfile.open(cache / packed) as archive:
                for name in (*peer.files, "package.json"):
                    target = modules / peer.package / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    member = archive.extractfile(f"package/{name}")
                    assert member is not None, name
                    target.write_bytes(member.read())
    return modules


def _has(modules: Path, peer: Peer) -> bool:
    about = modules / peer.package / "package.json"
    return about.exists() and f'"version": "{peer.version}"' in about.read_text("utf-8")


def bundle(name: str, modules: Path, collector: str) -> dict[str, bytes]:
    """Return what a site would serve of a peer, minified, with the lines that set it up and call it: `peer.js`, and the parts it loads."""
    with tempfile.TemporaryDirectory() as folder:
        _node(str(HERE / "peers" / f"{name}.js"), str(modules), collector, folder, "iife" if PEERS[name].files else "esm")
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def sizes(script: bytes) -> tuple[int, int]:
    """Return the bytes of a script, compressed with gzip and brotli."""
    return len(gzip.compress(script, 9, mtime=0)), int(_node(given=script))


def _node(*arguments: str, given: bytes = b"") -> bytes:
    node, _ = find_node()
    return subprocess.run([node, str(HERE / "peers" / "bundle.cjs"), *arguments], input=given, check=True, stdout=subprocess.PIPE).stdout


# ---------------------------------------------------------------- one page


@contextmanager
def visitor(browser: Browser) -> Iterator[tuple[Page, CDPSession]]:
    """A visitor who was never here, with nothing cached. Times are those of the processor, spent by the page's main thread."""
    context = browser.new_context(user_agent=AGENT)
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    yield page, devtools
    context.close()


def spent(devtools: CDPSession) -> tuple[float, float]:
    """Return the milliseconds the main thread has spent so far in scripts and in tasks of any kind."""
    found = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    return found["ScriptDuration"] * 1e3, found["TaskDuration"] * 1e3


# In a task of the page's own, as the metrics leave out what a debugger evaluates.
CALLS = """() => new Promise(resolve => setTimeout(() => {
    const began = performance.now();
    bench.view();
    for (let n = 0; n < 10; n++) bench.track(n);
    bench.identify();
    resolve(performance.now() - began);
}))"""


def open_page(page: Page, server: PeerServer, name: str) -> None:
    """Open the page of a tracker, and give it the time to begin. What waiting costs the page, it costs the empty one too."""
    page.goto(server.page(name))
    page.wait_for_function("window.bench")
    page.wait_for_timeout(SETTLED_MS)


def time_one(browser: Browser, server: PeerServer, name: str, costs: Costs) -> None:
    """Time one page load, and the calls in it."""
    with visitor(browser) as (page, devtools):
        open_page(page, server, name)
        scripts, tasks = spent(devtools)
        costs.loading.append(scripts)
        costs.tasks.append(tasks)
        if name != EMPTY:
            costs.calls.append(page.evaluate(CALLS))
            page.wait_for_timeout(AFTERWARDS_MS)
            costs.called.append(spent(devtools)[0] - scripts)


def count(browser: Browser, server: PeerServer, found: Mapping[str, Costs]) -> None:
    """Count what a page load with all calls sends, and what the next page sends of calls that met no collector."""
    with ExitStack() as stack:
        pages = {name: stack.enter_context(visitor(browser))[0] for name in found}
        for name, page in pages.items():
            open_page(page, server, name)
            page.evaluate(CALLS)
        page.wait_for_timeout(LATE_MS)
        for name, costs in found.items():
            log = server.sent(name)
            assert sum(one.events("bench-event") for one in log) >= 10, f"{name} did not send what it was given"
            loaded = [sizes(script) for script in server.loaded(name)]
            costs.gzip, costs.brotli = sum(one for one, _ in loaded), sum(one for _, one in loaded)
            costs.posts = sum(one.method == "POST" for one in log)
            costs.preflights = sum(one.method == "OPTIONS" for one in log)
            costs.body = sum(len(one.body) for one in log if one.method == "POST")
    with ExitStack() as stack:
        pages = {name: stack.enter_context(visitor(browser))[0] for name in found}
        for name, page in pages.items():
            open_page(page, server, name)
        server.down = True
        for page in pages.values():
            page.evaluate(CALLS)
        page.wait_for_timeout(AFTERWARDS_MS)
        for page in pages.values():
            page.goto(server.page(EMPTY))
        server.log.clear()
        server.down = False
        for name, page in pages.items():
            open_page(page, server, name)
        page.wait_for_timeout(LATE_MS)
        for name, costs in found.items():
            costs.kept = min(10, sum(one.events("bench-event") for one in server.sent(name)))


# ---------------------------------------------------------------- the run


def add(server: PeerServer, name: str, modules: Path) -> None:
    """Serve the page of a tracker, the way its makers have it loaded: ours by its tag, the others as a bundle."""
    folder = server.collector(name)
    if name == OURS:
        calls = (HERE / "peers" / "leadlight.js").read_text("utf-8")
        head = f'<script async src="{folder}/tracker.js" data-site="0123456789"></script><script>{calls}</script>'
        server.add(name, head, {"tracker.js": (STATIC / "tracker.js").read_bytes()})
    else:
        peer = PEERS[name]
        kind = peer.attributes.replace("COLLECTOR", folder) if peer.files else 'type="module"'
        server.add(name, f'<script async src="{folder}/peer.js" {kind}></script>', bundle(name, modules, folder))


def measure(rounds: int, cache: Path) -> dict[str, Costs]:
    """Measure them all: what is counted first, then the times, round by round, each round in another order."""
    modules = install(cache)
    names = [OURS, *PEERS]
    found = {name: Costs() for name in (EMPTY, *names)}
    with peer_server() as server, sync_playwright() as playwright:
        server.add(EMPTY, "<script>window.bench = {}</script>")
        for name in names:
            add(server, name, modules)
        path = find_chromium()
        arguments = [*ARGUMENTS, "--disable-blink-features=AutomationControlled"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        count(browser, server, {name: found[name] for name in names})
        order = list(found)
        for _ in range(rounds):
            order.append(order.pop(0))
            for name in order:
                time_one(browser, server, name, found[name])
        browser.close()
    return found


def table(found: dict[str, Costs], rounds: int) -> str:
    """Return what was measured as Markdown."""
    empty = found.pop(EMPTY)
    base, base_tasks = median(empty.loading), median(empty.tasks)
    lines = [
        "# What the tracker costs a page, measured",
        "",
        "Repeat it with `make bench-tracker`; it installs the peers into a cache folder. One run, one Chromium, medians of "
        f"{rounds} rounds in which all took turns; the smallest in brackets.",
        f"{os.cpu_count()} cores, {platform.system()}; an empty page takes {base:.1f} ms of script and {base_tasks:.0f} of all.",
        "",
        "| tracker | gzip B | brotli B | loading: script ms | loading: all ms | 12 calls: until they return, ms | 12 calls: all script ms "
        "| POST/OPTIONS | body B | of 10 events kept for the next page |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in found.items():
        title = f"**{name}**" if name == OURS else f"{name} {PEERS[name].version}"
        loading, tasks = [ms - base for ms in one.loading], [ms - base_tasks for ms in one.tasks]
        times = " | ".join(f"{median(values):.1f} ({min(values):.1f})" for values in (loading, tasks, one.calls, one.called))
        lines.append(f"| {title} | {one.gzip:,} | {one.brotli:,} | {times} | {one.posts}/{one.preflights} | {one.body:,} | {one.kept} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.trackers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leadlight" / "peers"
    parser.add_argument("--cache", type=Path, default=cache)
    given = parser.parse_args()
    text = table(measure(given.rounds, given.cache), given.rounds)
    print(text)
    report.write(RESULTS, text)


if __name__ == "__main__":
    main()
