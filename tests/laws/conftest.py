"""Many small databases: these tests are about what is stored, and not about whether it survives."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from collector.domain import deletion, pruning
from tests.support.postgres import new_database

MEMORY = Path("/dev/shm")


@pytest.fixture
def passing_database(engine: str, request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[str]]:
    """Makes an empty database of the test's engine with each call; it is gone with the context."""
    if engine == "postgresql":
        server = request.getfixturevalue("postgres_url")
        return lambda: new_database(server)
    return _file_in_memory


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning and deletion go in steps so small that they are interrupted in the middle of something."""
    for engine in pruning.STEP:
        monkeypatch.setitem(pruning.STEP, engine, 2)
    monkeypatch.setattr(deletion, "STEP", 2)


@contextmanager
def _file_in_memory() -> Iterator[str]:
    with TemporaryDirectory(prefix="leadlight-laws-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield f"sqlite:///{folder}/leadlight.db"
