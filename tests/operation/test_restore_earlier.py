"""Backups of every earlier schema, of an installation in which every table holds rows, are put back by the present version."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector import operating
from collector.domain import restoring
from collector.domain.doctor import examine
from collector.domain.secrets import Keyring
from collector.settings import Settings
from collector.storage.database import Connection, Database
from collector.storage.migrations import pending
from collector.values.clock import system_clock
from tests.storage.grown import lead_id
from tests.storage.upgrades import STEPS, columns, events, installation, people, rows

Read = Callable[[Connection, int], Any]
PASSING = {"schema_migrations", "changes", "changes_purged", "deletions"}
"""What is a database's own, and what a restore finishes: deletions that were under way."""


class Restored:
    """A backup that an earlier version made, and the database that it is put back into."""

    def __init__(self, folder: Path, url: str, schema: int) -> None:
        original = f"sqlite:///{folder / 'original.db'}"
        self.backup = folder / "backup.db"
        self.grown = installation(original, schema)
        self.settings = Settings(database_url=url, secret_key=(self.grown.secret_key,))
        self.keyring = Keyring(self.settings.secret_key)
        with closing(Database(original)) as database, database.read() as connection:
            connection.run("VACUUM INTO ?", (str(self.backup),))
            self.columns = {name: of for name, of in columns(connection).items() if name not in PASSING and not name.startswith("events_")}
            self.rows = rows(connection, self.columns)
            self.people, self.events = (of(connection, self.grown.site.id) for of in (people, events))

    def restore(self, *deletions: Path) -> operating.Copied:
        return operating.restore(self.settings, self.backup, deletions=deletions)

    def ask(self, of: Read) -> Any:
        with closing(Database(self.settings.database_url)) as database, database.read() as connection:
            return of(connection, self.grown.site.id)

    def findings(self) -> list[str]:
        with closing(Database(self.settings.database_url)) as database:
            return [str(finding) for finding in examine(database, self.keyring)]


@pytest.fixture(params=STEPS[:-1], ids=lambda schema: f"from-{schema}")
def restored(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Restored:
    return Restored(tmp_path, database_url, request.param)


def test_a_backup_of_an_earlier_schema_is_restored_whole_and_brought_up_to_date(restored: Restored) -> None:
    before = restored.backup.read_bytes()
    copied = restored.restore()
    assert restored.backup.read_bytes() == before
    assert restored.ask(lambda connection, _: pending(connection)) == []
    assert restored.ask(lambda connection, _: rows(connection, restored.columns)) == restored.rows
    assert restored.ask(events) == restored.events
    assert (copied.events, copied.deleted) == (len(restored.events), 0)
    assert restored.findings() == []


def test_whoever_was_deleted_since_a_backup_of_an_earlier_schema_is_deleted_again(restored: Restored, tmp_path: Path) -> None:
    site, lone = restored.grown.site.id, lead_id("lone")
    since = tmp_path / "deletions.ndjson"
    since.write_text(restoring.to_line((site, restored.grown.mac(f"lead:{lone}"), system_clock())))
    assert restored.restore(since).deleted == 1
    gone = restored.grown.people["lone"]
    assert restored.ask(people) == [one for one in restored.people if one[0] != gone]
    assert restored.ask(events) == {number: event for number, event in restored.events.items() if event[0] != gone}
    assert restored.findings() == []


@pytest.mark.parametrize("schema", [STEPS[0], STEPS[len(STEPS) // 2], STEPS[-2]])
def test_a_file_of_an_earlier_schema_is_backed_up_as_it_is_before_its_upgrade(schema: int, tmp_path: Path) -> None:
    url, backup = f"sqlite:///{tmp_path / 'original.db'}", tmp_path / "backup.db"
    settings = Settings(database_url=url, secret_key=(installation(url, schema).secret_key,))
    copied = operating.backup(settings, backup)
    assert copied.people > 0
    assert copied.events > 0
    operating.backup_deletions(settings, tmp_path / "deletions")
    held = []
    for each in (url, f"sqlite:///{backup}"):
        with closing(Database(each, as_it_is=True)) as database, database.read() as connection:
            assert pending(connection) == STEPS[STEPS.index(schema) + 1 :]
            held.append(rows(connection, columns(connection)))
    assert held[0] == held[1]
