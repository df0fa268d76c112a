"""The table of a run: ratios first, then the figures they come from."""

import argparse
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests.benchmarks import bare

NOTES = "## Reading the figures"
"""Where the part of the file begins that people write; it stays when the file is written anew."""
_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_WHAT = {
    "flask": "bare Flask 204",
    "single/empty": "1 event a post, nothing stored",
    "single/full": "1 event a post, full",
    "single/two": "1 event a post, two collectors",
    "loop/empty": "bare loop, nothing stored",
    "loop/full": "bare loop, full",
    "batch/empty": "50 events a post, nothing stored",
    "batch/full": "50 events a post, full",
    "batch/two": "50 events a post, two collectors",
}
_RATIOS = (
    ("(a) posts of one event / bare Flask 204", "1 (1.5)", "single/empty", "flask"),
    ("(b) events in posts of 50 / bare loop", "0.5 (0.8)", "batch/empty", "loop/empty"),
    ("(c) posts of one event: full / nothing stored", "0.7", "single/full", "single/empty"),
    ("(c) posts of 50: full / nothing stored", "0.7", "batch/full", "batch/empty"),
    ("the bare loop itself: full / nothing stored", "", "loop/full", "loop/empty"),
    ("(a) with the full database", "", "single/full", "flask"),
    ("(b) with the full database, both", "", "batch/full", "loop/full"),
    ("(d) two collectors / one, posts of one event", "1.7", "single/two", "single/empty"),
    ("(d) two collectors / one, posts of 50", "1.7", "batch/two", "batch/empty"),
)


@dataclass(frozen=True)
class Figure:
    """One measurement: events (or answers) a second, how long and how many, CPU seconds by whom, latencies in ms, what was checked."""

    rate: float
    seconds: float
    events: int
    collector_cpu: float
    database_cpu: float
    client_cpu: float
    p50: float
    p99: float
    acknowledged: int = 0
    beyond: int = 0
    """Events stored beyond those acknowledged: their answers were under way when the load ended."""

    @property
    def cores(self) -> float:
        """How many cores were busy."""
        return (self.collector_cpu + self.database_cpu + self.client_cpu) / self.seconds


class Figures:
    """All measurements, by engine, what, and connections; the bare loop has none."""

    def __init__(self, connections: list[int]) -> None:
        self.connections = connections
        self.all: dict[tuple[str, str, int], list[Figure]] = {}

    def add(self, engine: str, what: str, connections: int, figure: Figure) -> None:
        """Keep the measurement of another round."""
        self.all.setdefault((engine, what, connections), []).append(figure)

    def of(self, engine: str, what: str, connections: int) -> list[Figure]:
        """Return the measurements, round by round."""
        return self.all.get((engine, what, connections)) or self.all.get((engine, what, 0), [])

    def engines(self) -> list[str]:
        """Return which there are."""
        return list(dict.fromkeys(engine for engine, _, _ in self.all))


def text(figures: Figures, given: argparse.Namespace, versions: Mapping[str, str]) -> str:
    """Return the whole as Markdown."""
    return "\n\n".join([_head(figures, given, versions), _ratios(figures), _scaling(figures), _table(figures)]) + "\n"


def write(path: Path, new: str) -> None:
    """Write the file, all but what people wrote below NOTES."""
    old = path.read_text("utf-8") if path.exists() else ""
    kept = old[old.index(NOTES) :] if NOTES in old else f"{NOTES}\n"
    path.write_text(f"{new}\n{kept}", "utf-8")


def _head(figures: Figures, given: argparse.Namespace, versions: Mapping[str, str]) -> str:
    checked = [figure for found in figures.all.values() for figure in found if figure.acknowledged]
    sizes = f"{20_000_000 * given.scale:,.0f} events in the slices and {10_000_000 * given.scale:,.0f} totals"
    return f"""# Ingest, measured

Repeat it with `make bench` (wrk is needed: `apt-get install wrk`); `python -m tests.benchmarks.ingest --help` names what can be
chosen. Load generator, collector and database share the machine. {given.rounds} rounds of {given.seconds} s, in each of which everything
is measured once, in turn: cells are medians over the rounds, in brackets the smallest and the largest.

- Machine: {os.cpu_count()} cores, {_memory()} of memory, {platform.system()} {platform.machine()}; Python {platform.python_version()},
  granian {version("granian")}, {", ".join(f"{name} ({settings})" for name, settings in versions.items())}
- Full: {sizes}, {1_000_000 * given.scale:,.0f} people; nothing stored: the same leads are known, no more. People come in visits.
- Bare Flask 204: `{" ".join(bare.FLASK_COMMAND)}`. Bare loop: rows made beforehand, transactions of 1,000 events, one connection;
  SQLite by `executemany`, PostgreSQL by COPY for events and arrays for totals.
- Each event acknowledged was looked for: {sum(figure.acknowledged for figure in checked):,} acknowledged, all stored
  ({sum(figure.beyond for figure in checked):,} more were stored, whose answers were under way when the load ended); no answer but 2xx."""


def _ratios(figures: Figures) -> str:
    columns = [(engine, connections) for engine in figures.engines() for connections in figures.connections]
    lines = [
        "| ratio | at least (goal) | " + " | ".join(f"{_TITLES[engine]}, {connections}" for engine, connections in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for title, goal, ours, other in _RATIOS:
        cells = []
        for engine, connections in columns:
            pairs = zip(figures.of(engine, ours, connections), figures.of(engine, other, connections), strict=False)
            cells.append(_spread([one.rate / two.rate for one, two in pairs], "{:.2f}"))
        if any(cells):
            lines.append(f"| {title} | {goal} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _scaling(figures: Figures) -> str:
    """Say what two collectors could reach here: more than all cores nobody has."""
    cores, lines = os.cpu_count() or 1, []
    for what in ("single", "batch"):
        for connections in figures.connections:
            one, two = figures.of("postgresql", f"{what}/empty", connections), figures.of("postgresql", f"{what}/two", connections)
            if one and two:
                busy, both = median(figure.cores for figure in one), median(figure.cores for figure in two)
                title = _WHAT[f"{what}/empty"].partition(",")[0]
                lines.append(f"| {title} | {connections} | {busy:.2f} | {both:.2f} | {cores / busy:.2f} |")
    if not lines:
        return ""
    return "\n".join(
        [
            f"What {cores} cores allow (d): one collector, its database and the client keep so many of them busy already; were each event",
            "to cost the same, two collectors could reach no more than the last column.",
            "",
            "| PostgreSQL | connections | cores busy, one | cores busy, two | most that two can reach |",
            "|---|---|---|---|---|",
            *lines,
        ]
    )


def _table(figures: Figures) -> str:
    lines = [
        "CPU µs an event: collector (or loop, or Flask) + database server + client.",
        "",
        "| engine | what | connections | events/s | p50 ms | p99 ms | CPU µs | cores busy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine in figures.engines():
        for what, title in _WHAT.items():
            for connections in (0, *figures.connections):
                found = figures.all.get((engine, what, connections), [])
                if found:
                    cpu = [
                        median(getattr(one, f"{who}_cpu") / one.events * 1e6 for one in found)
                        for who in ("collector", "database", "client")
                    ]
                    waits = (
                        [_spread([getattr(one, name) for one in found], "{:.1f}") for name in ("p50", "p99")] if connections else ["", ""]
                    )
                    lines.append(
                        f"| {_TITLES[engine]} | {title} | {connections or ''} | {_spread([one.rate for one in found], '{:,.0f}')} | "
                        f"{' | '.join(waits)} | {' + '.join(f'{one:.0f}' for one in cpu)} | {median(one.cores for one in found):.2f} |"
                    )
    return "\n".join(lines)


def _spread(values: list[float], form: str) -> str:
    if not values:
        return ""
    middle = form.format(median(values))
    return middle if len(values) == 1 else f"**{middle}** ({form.format(min(values))} to {form.format(max(values))})"


def _memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB"
