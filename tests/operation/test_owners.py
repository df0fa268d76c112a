"""What root makes belongs to the service that is to use it, whoever owns the rest of the machine."""

import os
from pathlib import Path

import pytest

from collector import operating
from collector.settings import Settings
from collector.storage.drafts import draft, working_name
from tests.support.clock import FakeClock
from tests.support.processes import run_command
from tests.support.servers import ORIGIN
from tests.support.world import lead, world

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SERVICE = (12_345, 12_346)
KEY = "a key that is long enough for tests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an installation, which is its service's."""
    made = tmp_path / "installation"
    made.mkdir()
    os.chown(made, *SERVICE)
    return made


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}


def test_what_a_restore_brings(folder: Path, clock: FakeClock, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with world(f"sqlite:///{tmp_path / 'other.db'}", clock, secret_key=(KEY,)) as shop:
        shop.send(lead(), shop.event())
        operating.backup(shop.services.settings, backup)
    settings = Settings(database_url=f"sqlite:///{folder / 'leadlight.db'}", secret_key=(KEY,))
    for _ in range(2):  # into an empty folder, and in the place of a file
        operating.restore(settings, backup, replace=True)
        assert owners(folder) == {"leadlight.db": SERVICE, "leadlight.db.lock": SERVICE}
    os.chown(folder, 0, 0)
    operating.restore(settings, backup, replace=True)
    assert owners(folder)["leadlight.db"] == SERVICE


def test_what_init_makes(folder: Path) -> None:
    done = run_command(["collector", "init", "--site", "Shop", "--origin", ORIGIN], folder, {})
    assert done.returncode == 0, done.stderr
    assert set(owners(folder)) == {"leadlight.toml", "leadlight.db", "leadlight.db.lock"}
    assert set(owners(folder).values()) == {SERVICE}


def test_nothing_is_given_away_by_a_link_that_the_service_laid(folder: Path, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.write_text("root's own")
    working_name(folder / "backup.db").symlink_to(roots)
    with pytest.raises(OSError, match="symbolic links"), draft(folder / "backup.db", overwrite=True):
        pass
    assert (roots.stat().st_uid, roots.read_text()) == (0, "root's own")
