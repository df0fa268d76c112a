"""A collector whose commits stop half-way, so that it can be killed in the midst of one.

PostgreSQL's are held by a proxy between, SQLite's where they reach the disk: whoever writes to the log of a file waits there.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.power import ForgetfulDisk, forgetful_disk
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.servers import Collector

PATIENCE_SECONDS = 30
_FOLDER = "FOLDER_OF_WHO_HOLDS"
_ALONE = {"LEADLIGHT_UPKEEP_DELAY_SECONDS": "86400"}  # no commit is under way but the one that is asked for
_HELD = (
    "from collector import writer_process\nfrom tests.support import held\n"
    "writer_process._MODULE = 'tests.support.held'\nheld.hold_commits_of_files()"
)

StartCollector = Callable[..., Collector]


class HeldCollector:
    """A collector, and what holds its commits. `hold` lets the next one stop, and returns what waits until it has; `start` serves again."""

    def __init__(self, collector: Collector, hold: Callable[[], Callable[[], None]], start: Callable[[], None]) -> None:
        self.collector = collector
        self.hold = hold
        self.start = start


@contextmanager
def held_on_postgresql(start_collector: StartCollector, url: str) -> Iterator[HeldCollector]:
    """Start a collector on this database, the way to which leads by a proxy."""
    server, _, rest = url.rpartition(":")
    port, _, name = rest.partition("/")
    proxy = Proxy(int(port))

    def hold() -> Callable[[], None]:
        proxy.cut()  # a new connection sends COMMIT in words, and only later under a number
        return proxy.hold_at(b"COMMIT\0").wait

    try:
        collector = start_collector(database_url=f"{server}:{proxy.port}/{name}", settings=_ALONE)
        yield HeldCollector(collector, hold, collector.start)
    finally:
        proxy.close()


@contextmanager
def held_on_sqlite(start_collector: StartCollector, url: str, folder: Path) -> Iterator[HeldCollector]:
    """Start a collector on this file; orders and what is said of them are files in the folder."""
    order, held = folder / "hold", folder / "held"

    def hold() -> Callable[[], None]:
        order.touch()
        return wait

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not held.exists():
            assert time.monotonic() < deadline, "nobody commits"
            time.sleep(0.005)

    def start() -> None:
        order.unlink(missing_ok=True)
        held.unlink(missing_ok=True)
        collector.start(_HELD)

    collector = start_collector(database_url=url, settings={**_ALONE, _FOLDER: str(folder), "PYTHONPATH": str(ROOT)})
    collector.stop()
    start()
    yield HeldCollector(collector, hold, start)


class _HoldingDisk(ForgetfulDisk):
    """A disk that takes nothing for SQLite's logs while there is a file `hold`, and says by a file `held` that somebody waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def written(self, path: str, offset: int, data: bytes | None) -> None:
        """Pass a write on, or hold whoever writes until it is killed."""
        if path.endswith("-wal") and (self._folder / "hold").exists():
            (self._folder / "held").touch()
            while True:
                time.sleep(1)


_for_good: list[object] = []


def hold_commits_of_files() -> None:
    """Let this process, until its end, write to the logs of files only when it may."""
    disk = forgetful_disk(_HoldingDisk(Path(os.environ[_FOLDER])))
    disk.__enter__()
    _for_good.append(disk)


if __name__ == "__main__":  # as the process that writes
    from collector.writing import main

    hold_commits_of_files()
    main()
