"""Where the laws are tried: two collectors on one database, for many short histories."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from collector.domain import deletion, pruning
from tests.laws.play import Play
from tests.laws.stage import collectors
from tests.support.disks import quick_folder
from tests.support.postgres import new_database


@pytest.fixture
def begin(engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Play]]:
    """Begins a play on two collectors that know nothing; on SQLite with the file in memory, since no power will be cut.

    Pruning and deletion go in steps so small that they are interrupted in the middle of something.
    """
    for each in pruning.STEP:
        monkeypatch.setitem(pruning.STEP, each, 2)
    monkeypatch.setattr(deletion, "STEP", 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="leadlight-laws-", dir=quick_folder())))
        if engine == "postgresql":
            url = stack.enter_context(new_database(request.getfixturevalue("postgres_url")))
        else:
            url = f"sqlite:///{folder / 'leadlight.db'}"
        yield stack.enter_context(collectors(url, folder / "backup.db"))
