"""How quickly the collector takes events, as ratios to what is bare, side by side in one run.

    make bench                     or     python -m tests.benchmarks.ingest [--scale 0.01] [--seconds 3] [--rounds 1] ...

Needs wrk (Debian: apt-get install wrk). Each round measures everything once, bare and ours in turn, because the machine's speed
drifts; what is told are medians over the rounds of the rounds' ratios.

  (a)  durable posts of one event / a bare Flask view that answers 204 on the same server
  (b)  durable posts of 50 events, in events / a bare loop that writes the same rows and totals in transactions of 1,000
  (c)  both with 20 million events and 10 million totals stored / with none
  (d)  two collectors / one, on PostgreSQL

Databases are kept in a folder between runs (about 25 GB at full size for both engines and their copies). The table is printed and,
at full size, written to RESULTS.md beside this file.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from collector.storage.database import Database
from collector.storage.slices import WEEK
from tests.benchmarks import bare, report, traffic
from tests.benchmarks.engines import Engine, default_folder, open_engine
from tests.benchmarks.load import check_wrk, cpu_seconds, run_wrk
from tests.benchmarks.population import RETENTION_DAYS, Population, Size
from tests.benchmarks.report import Figure, Figures
from tests.benchmarks.stores import Store, Stores
from tests.support.processes import Program, free_port

BATCH = 50
TRANSACTION = 1_000
WARM_SECONDS = 2
SETTINGS = {
    "LEADLIGHT_RETENTION_DAYS": str(RETENTION_DAYS),
    "LEADLIGHT_UPKEEP_DELAY_SECONDS": "86400",  # nothing is pruned while something is measured
}
RESULTS = Path(__file__).with_name("RESULTS.md")


class Bench:
    """One engine's runs. `full` is None where nothing stored is to be measured."""

    def __init__(self, folder: Path, engine: Engine, given: argparse.Namespace, figures: Figures) -> None:
        self._folder = folder
        self._engine = engine
        self._given = given
        self._figures = figures
        stores = Stores(folder, engine, Size.of(given.scale), say)
        self._people = Population(stores.size())
        # More than the quickest machine sends in a run; where it is not, the same leads come again, with new events.
        self._posts = {
            1: traffic.posts(self._people, 1, 12_000 * given.seconds),
            BATCH: traffic.posts(self._people, BATCH, 1_500 * given.seconds),
        }
        self._bodies = {each: folder / f"bodies-{each}.txt" for each in self._posts}
        for each, posts in self._posts.items():
            traffic.write_bodies(self._bodies[each], self._people, posts)
        self._empty = stores.empty(self._people, {post.lead for posts in self._posts.values() for post in posts})
        self._full: Store | None = None
        if "c" in given.parts:
            full = stores.full(self._people)
            say(f"{engine.name}: copying the full database")
            engine.copy(full.database, "work_full")
            self._full = Store("work_full", full.site_key)

    def round(self) -> None:
        """Measure everything once."""
        parts, two = self._given.parts, "d" in self._given.parts and self._engine.name == "postgresql"
        for connections in self._given.connections:
            if "a" in parts:
                self._flask(connections)
            for each, what in ((1, "single"), (BATCH, "batch")):
                if (each == 1 and not {"a", "c", "d"} & parts) or (each == BATCH and not {"b", "c", "d"} & parts):
                    continue
                self._collectors(each, self._fresh(), f"{what}/empty", connections)
                if self._full is not None:
                    self._collectors(each, self._full, f"{what}/full", connections)
                if two:
                    self._collectors(each, self._fresh(), f"{what}/two", connections, collectors=2)
        if "b" in parts or "c" in parts:
            self._loop(self._fresh(), "loop/empty")
            if self._full is not None:
                self._loop(self._full, "loop/full")

    def _fresh(self) -> Store:
        """Return an empty database that nobody has written to."""
        self._engine.copy(self._empty.database, "work_empty")
        return Store("work_empty", self._empty.site_key)

    def _flask(self, connections: int) -> None:
        port = free_port()
        program = Program("flask", [*bare.FLASK_COMMAND, "--host", "127.0.0.1", "--port", str(port)], self._folder, {})
        try:
            program.wait_for(f"http://127.0.0.1:{port}", "/")
            run_wrk([port], self._bodies[1], "x", connections, WARM_SECONDS)
            before = cpu_seconds(program.process.pid)
            load = run_wrk([port], self._bodies[1], "x", connections, self._given.seconds)
            spent = cpu_seconds(program.process.pid) - before
        finally:
            program.stop()
        seconds = load.answers / load.rate
        figure = Figure(load.rate, seconds, load.answers, spent, 0.0, load.client_cpu, load.p50, load.p99)
        self._note("flask", connections, figure)

    def _collectors(self, each: int, store: Store, what: str, connections: int, collectors: int = 1) -> None:
        """Measure collectors that share a database, and check that all they acknowledged is stored."""
        url, began = self._engine.url(store.database), time.time_ns() // 1_000_000
        stored_before = stored(url, began)
        with ExitStack() as stack:
            programs = [stack.enter_context(self._collector(url, number)) for number in range(collectors)]
            ports = [port for port, _ in programs]
            pids = [program.process.pid for _, program in programs]
            warm = run_wrk(ports, self._bodies[each], store.site_key, connections, WARM_SECONDS)
            ours, theirs = cpu_seconds(*pids), self._engine.cpu()
            load = run_wrk(ports, self._bodies[each], store.site_key, connections, self._given.seconds)
            ours, theirs = cpu_seconds(*pids) - ours, self._engine.cpu() - theirs
        answered = (warm.answers + load.answers) * each
        found = stored(url, began) - stored_before
        if found < answered:
            sys.exit(f"{self._engine.name}, {what}: {answered:,} events were acknowledged, {found:,} are stored")
        if store.database == "work_empty" and (counted := in_totals(url)) != found:
            sys.exit(f"{self._engine.name}, {what}: {found:,} events are stored, {counted:,} are counted")
        seconds = load.answers / load.rate
        figure = Figure(
            load.rate * each, seconds, load.answers * each, ours, theirs, load.client_cpu, load.p50, load.p99, answered, found - answered
        )
        self._note(what, connections, figure)

    @contextmanager
    def _collector(self, url: str, number: int) -> Iterator[tuple[int, Program]]:
        port = free_port()
        arguments = ["collector", "serve", "--host", "127.0.0.1", "--port", str(port)]
        workers = self._given.workers if self._engine.name == "postgresql" else 1
        environ = {"DATABASE_URL": url, **SETTINGS, "LEADLIGHT_WORKERS": str(workers)}
        program = Program(f"collector-{number}", arguments, self._folder, environ)
        program.wait_for(f"http://127.0.0.1:{port}", "/readyz")
        try:
            yield port, program
        finally:
            program.stop()

    def _loop(self, store: Store, what: str) -> None:
        url = self._engine.url(store.database)
        site = site_of(url)
        batches = traffic.batches(self._people, site, self._posts[BATCH], TRANSACTION)
        before = self._engine.cpu()
        written = bare.write(url, batches, self._given.seconds)
        figure = Figure(
            written.rate, written.events / written.rate, written.events, written.cpu, self._engine.cpu() - before, 0.0, 0.0, 0.0
        )
        self._note(what, 0, figure)

    def _note(self, what: str, connections: int, figure: Figure) -> None:
        self._figures.add(self._engine.name, what, connections, figure)
        latency = f"   p50 {figure.p50:.2f} ms, p99 {figure.p99:.2f} ms" if figure.p99 else ""
        say(f"{self._engine.name:<11}{what:<13}{connections or '':<4} {figure.rate:>9,.0f}/s{latency}")


def stored(url: str, since_ms: int) -> int:
    """Return the number of events in the slices of the present."""
    weeks = range(since_ms // WEEK, time.time_ns() // 1_000_000 // WEEK + 1)
    return sum(_value(url, f"SELECT count(*) FROM events_{week}") for week in weeks)


def in_totals(url: str) -> int:
    """Return the number of events that the totals of a small site have counted."""
    return _value(url, "SELECT coalesce(sum(own_count), 0) FROM totals")


def site_of(url: str) -> int:
    """Return the only site."""
    return _value(url, "SELECT id FROM sites")


def _value(url: str, statement: str) -> int:
    database = Database(url)
    try:
        with database.read() as connection:
            return int(connection.value(statement))
    finally:
        database.close()


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, flush=True)


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--parts", type=set, default=set("abcd"), help="which of a, b, c, d (default: abcd)")
    parser.add_argument("--connections", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--workers", type=int, default=1, help="processes of a collector on PostgreSQL (LEADLIGHT_WORKERS)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="length of each measurement")
    parser.add_argument("--scale", type=float, default=1.0, help="part of a million people, 20 million events and 10 million totals")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where databases are kept, on a real disk (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=None, help="file for the table (default at full size: RESULTS.md)")
    return parser


def main() -> None:
    """Measure and report."""
    given = options().parse_args()
    try:
        check_wrk()
    except RuntimeError as error:
        sys.exit(str(error))
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    figures = Figures(given.connections)
    versions = {}
    for name in ("sqlite", "postgresql") if given.engine == "both" else (given.engine,):
        with open_engine(name, folder) as engine:
            versions[engine.version()] = engine.settings()
            bench = Bench(folder, engine, given, figures)
            for number in range(given.rounds):
                say(f"{name}: round {number + 1} of {given.rounds}")
                bench.round()
    text = report.text(figures, given, versions)
    print(f"\n{text}")
    output = given.output or (RESULTS if given.scale == 1 else None)
    if output is not None:
        report.write(output, text)


if __name__ == "__main__":
    main()
