"""Files in a folder that is closed to whoever runs a command: it could not look, and says so, in one line and by its exit code."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector.cli import main
from tests.support.clock import FakeClock
from tests.support.postgres import NOBODY
from tests.support.world import lead, world

KEY = "a key that is long enough for tests"
LOOKING = [("doctor",), ("upgrade", "--check")]


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Close a folder to everybody, and be one whom that stops."""
    root = os.geteuid() == 0
    folder.chmod(0)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installation, which is the one we are in."""
    folder = tmp_path / "installation"
    folder.mkdir()
    with world(f"sqlite:///{folder / 'leadlight.db'}", clock, secret_key=(KEY,)) as shop:
        shop.send(lead(), shop.event())
    (folder / "leadlight.toml").write_text(f'secret_key = ["{KEY}"]\n')
    monkeypatch.chdir(folder)
    return folder


def run(words: tuple[str, ...], **environ: str) -> Result:
    return CliRunner().invoke(main, words, env=environ)


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_settings(folder: Path, words: tuple[str, ...]) -> None:
    assert run(words).exit_code == 0
    with closed(folder):
        told = run(words)
    assert (told.exit_code, "leadlight.toml" in told.output, "Permission denied" in told.output) == (2, True, True)


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_the_database(folder: Path, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir("/")
    environ = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{folder / 'leadlight.db'}"}
    assert run(words, **environ).exit_code == 0
    with closed(folder):
        told = run(words, **environ)
    assert (told.exit_code, "Permission denied" in told.output, len(told.output.splitlines())) == (2, True, 1)
