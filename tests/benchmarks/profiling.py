"""Where the time of one durable event goes, and what the entries for it differ in: what stands behind ratio (a).

    python -m tests.benchmarks.profiling [--engine postgresql] [--connections 32 128] [--seconds 10] [--rounds 3] [--scale 0.02]

Needs wrk, and py-spy (`pip install py-spy`), which looks at processes from outside and stops them for a moment each time. Two tables are
printed:

  - The process that serves: its CPU as the system counts it, and of that what Python did while it held the interpreter's lock; the rest is
    granian's loop, which reads and answers HTTP outside of Python. The processes that write, each of one thread: their wall time, waiting
    for the database, for the disk and for a group included.
  - The same posts by RSGI and by WSGI, each in one process that serves and writes, in turn.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.benchmarks import traffic
from tests.benchmarks.engines import Engine, default_folder, open_engine
from tests.benchmarks.ingest import SETTINGS, WARM_SECONDS, say
from tests.benchmarks.load import Load, check_wrk, cpu_of, run_wrk
from tests.benchmarks.population import Population, Size
from tests.benchmarks.stores import Store, Stores
from tests.support.processes import Program, children, free_port

LOOKS = 100
"""Looks a second at each process."""
PARTS = (
    ("waits for a group", r"\breceive \([^;]*$"),
    ("commit", r"\bcommit \(peewee|;__exit__ \(peewee|\bwrite \(collector/storage/database"),
    ("statements", r" \(collector/storage/(database|arrays|packing)\.py| \(psycopg/"),
    ("who is who, visits, totals, events", r" \(collector/(domain|storage/slices)"),
    ("the group, from and to the other process", r" \(collector/(writer_process|writing|storage/writer|storage/commits)\.py"),
    ("reading, decoding, cleaning", r" \(collector/(ingest|values)/| \(collector/web/(bodies|browser)"),
    ("the entry: tasks, headers, the answer", r" \(collector/web/| \(asyncio/| \(granian/"),
)
"""What a look counts as: the first of these whose pattern its stack holds."""
WSGI = (
    "granian", "--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", "128", "--backlog", "2048", "--no-access-log",
    "--log-level", "warning", "collector.serving:wsgi_application",
)  # fmt: skip
"""As WSGI with a thread for each connection, since each waits for its commit."""
TOGETHER = {"LEADLIGHT_WRITER_PROCESS": "off"}


class Profile:
    """One engine's runs, on copies of a database that knows the leads and nothing more."""

    def __init__(self, folder: Path, engine: Engine, given: argparse.Namespace) -> None:
        self._folder = folder
        self._engine = engine
        self._seconds = given.seconds
        stores = Stores(folder, engine, Size.of(given.scale), say)
        people = Population(stores.size())
        posts = traffic.posts(people, 1, 12_000 * given.seconds)
        self._bodies = folder / "bodies-1.txt"
        traffic.write_bodies(self._bodies, people, posts)
        self._empty = stores.empty(people, {post.lead for post in posts})

    @contextmanager
    def _warm(self, command: Sequence[str], environ: Mapping[str, str], connections: int) -> Iterator[tuple[Program, int, Store]]:
        """Serve a fresh copy, and send for a moment before anything is measured."""
        self._engine.copy(self._empty.database, "work_empty")
        store = Store("work_empty", self._empty.site_key)
        port = free_port()
        settings = {"DATABASE_URL": self._engine.url(store.database), **SETTINGS, **environ}
        program = Program("profiled", [*command, "--host", "127.0.0.1", "--port", str(port)], self._folder, settings)
        try:
            program.wait_for(f"http://127.0.0.1:{port}", "/readyz")
            run_wrk([port], self._bodies, store.site_key, connections, WARM_SECONDS)
            yield program, port, store
        finally:
            program.stop()

    def _load(self, port: int, store: Store, connections: int) -> Load:
        return run_wrk([port], self._bodies, store.site_key, connections, self._seconds)

    def parts(self, connections: int) -> None:
        """Print the CPU of an event by process and part."""
        with self._warm(("collector", "serve"), {}, connections) as (program, port, store):
            (serving,) = children(program.process.pid)
            writing = children(serving)
            looks = [Look(serving, self._seconds, self._folder, "--gil"), *(Look(one, self._seconds, self._folder) for one in writing)]
            before, server = cpu_of(serving), self._engine.cpu()
            load = self._load(port, store, connections)
            spent, server = cpu_of(serving) - before, self._engine.cpu() - server
            served, *written = [look.parts() for look in looks]
        each = 1_000_000 / load.answers
        say(f"\n{self._engine.name}, {connections} connections: {load.rate:,.0f} events/s, p50 {load.p50:.1f} ms, p99 {load.p99:.1f} ms\n")
        say("| where | part | us an event |\n|---|---|---:|")
        served["outside of Python: HTTP"] = max(0, round(spent * LOOKS) - served.total())
        _say_parts("serves, CPU", served, spent * each)
        _say_parts(f"writes ({len(written)}), wall", sum(written, Counter()), len(written) * load.answers / load.rate * each)
        say(f"| database server, CPU | all | {server * each:.0f} |\n| client, CPU | all | {load.client_cpu * each:.0f} |")

    def entries(self, connections: int, rounds: int) -> None:
        """Print how many events RSGI and WSGI take, in turn."""
        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for name, command in (("RSGI", ("collector", "serve")), ("WSGI", WSGI)):
                with self._warm(command, TOGETHER, connections) as (_, port, store):
                    rates[name].append(self._load(port, store, connections).rate)
        ratio = median(one / other for one, other in zip(rates["RSGI"], rates["WSGI"], strict=True))
        told = ", ".join(f"{name} {median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f})" for name, found in rates.items())
        say(f"\n{self._engine.name}, {connections} connections, one process, events/s: {told}; RSGI / WSGI **{ratio:.2f}**")


class Look:
    """Looks at a process for a while."""

    def __init__(self, process: int, seconds: int, folder: Path, *more: str) -> None:
        self._output = folder / f"looks-{process}.txt"
        command = ["py-spy", "record", "--pid", str(process), "--rate", str(LOOKS), "--duration", str(seconds), "--format", "raw", *more]
        self._spy = subprocess.Popen([*command, "--output", str(self._output)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def parts(self) -> Counter[str]:
        """Return how many looks met each part.

        Raises:
            RuntimeError: it could not look; the message holds what py-spy said.
        """
        said = self._spy.communicate()[0].decode()
        if self._spy.returncode:
            raise RuntimeError(f"py-spy failed:\n{said}")
        found: Counter[str] = Counter()
        for line in self._output.read_text("utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            if "Voice._live" not in stack:  # a thread that only says that the process lives
                found[next((name for name, pattern in PARTS if re.search(pattern, stack)), "other Python")] += int(count)
        return found


def _say_parts(where: str, found: Counter[str], whole: float) -> None:
    say(f"| {where} | all | **{whole:.0f}** |")
    for part, count in found.most_common():
        say(f"| | {part} | {count / found.total() * whole:.0f} |")


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profiling", description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--connections", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--folder", type=Path, default=default_folder())
    given = parser.parse_args()
    try:
        check_wrk()
    except RuntimeError as error:
        sys.exit(str(error))
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sqlite", "postgresql") if given.engine == "both" else (given.engine,):
        with open_engine(name, folder) as engine:
            profile = Profile(folder, engine, given)
            for connections in given.connections:
                profile.parts(connections)
                profile.entries(connections, given.rounds)


if __name__ == "__main__":
    main()
