"""The two databases that are compared, made once and kept: `full`, a grown site, and `empty`, a site that knows its leads and no more.

They are never written to. What is measured works on copies.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from collector.storage import migrations
from collector.values.clock import DAY
from tests.benchmarks.engines import Engine
from tests.benchmarks.population import Population, Size
from tests.benchmarks.traffic import ORIGIN
from tests.support.processes import run_command

KEPT = 25 * DAY
"""How old a history may be (ms): after that its oldest weeks would be pruned while something is measured."""


@dataclass(frozen=True)
class Store:
    """A database that is complete."""

    database: str
    site_key: str


class Stores:
    """The databases of one engine in one folder."""

    def __init__(self, folder: Path, engine: Engine, size: Size, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._engine = engine
        self._size = size
        self._say = say

    def size(self) -> Size:
        """Return the size to work with: that of the full database, where one is kept that is fit, so that leads are the same."""
        known = self._known(self._name("full"))
        return self._size if known is None else Size(**known["size"])

    def full(self, population: Population) -> Store:
        """Return the grown site, made where there is none that is fit."""
        return self._kept("full", population, lambda url: population.fill(url, self._say))

    def empty(self, population: Population, leads: Iterable[int]) -> Store:
        """Return the site that knows these leads, made anew: which leads there are depends on how long the run is."""
        name = self._name("empty")
        self._note(name).unlink(missing_ok=True)
        return self._kept("empty", population, lambda url: population.introduce(url, leads))

    def _kept(self, name: str, population: Population, fill: Callable[[str], None]) -> Store:
        database = self._name(name)
        known = self._known(database)
        if known is None:
            began = time.monotonic()
            self._say(f"{self._engine.name}: making the {name} database")
            self._engine.make(database)
            with self._engine.loading():
                url = self._engine.url(database)
                site = init(self._folder, url)
                fill(url)
            known = {"size": asdict(population.size), "schema": _schema(), "site_key": site}
            self._note(database).write_text(json.dumps(known), "utf-8")
            self._say(f"{self._engine.name}: made the {name} database in {time.monotonic() - began:.0f} s")
        return Store(database, known["site_key"])

    def _known(self, database: str) -> dict[str, Any] | None:
        """Return the note of a database that is complete, of this size, of the present schema and not too old."""
        if not self._note(database).exists() or not self._engine.has(database):
            return None
        note = json.loads(self._note(database).read_text("utf-8"))
        wanted = {**asdict(self._size), "until": note["size"]["until"]}
        fit = note["size"] == wanted and note["schema"] == _schema() and time.time() * 1000 - note["size"]["until"] < KEPT
        return note if fit else None

    def _name(self, what: str) -> str:
        return f"{what}_{self._size.events}"

    def _note(self, database: str) -> Path:
        return self._folder / f"{self._engine.name}-{database}.json"


def init(folder: Path, database_url: str) -> str:
    """Make the schema and a site, as an operator would, and return the site's key."""
    arguments = ["collector", "init", "--site", "Benchmark", "--origin", ORIGIN, "--json"]
    done = run_command(arguments, folder, {"DATABASE_URL": database_url})
    if done.returncode:
        raise RuntimeError(f"init failed:\n{done.stderr}")
    return str(json.loads(done.stdout)["site_key"])


def _schema() -> list[int]:
    return [number for number, _ in migrations.steps()]
