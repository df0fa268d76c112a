"""`leadlight upgrade` and how a database of another version is met."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from collector import operating
from collector.settings import SettingsError
from collector.storage.database import Connection, Database
from collector.storage.migrations import run_steps, steps
from collector.storage.occupancy import file_of
from tests.support.processes import run_command

STEPS = [number for number, _ in steps()]
NEWEST = STEPS[-1]
KEY = "a secret key of the tests"
Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    """Runs a command of the program against the test's database."""
    return lambda *words: run_command(["collector", *words], tmp_path, {"DATABASE_URL": database_url, "SECRET_KEY": KEY})


@contextmanager
def written(database_url: str) -> Iterator[Connection]:
    database = Database(database_url)
    with database.write() as tx:
        yield tx
    database.close()


@pytest.fixture
def earlier(database_url: str) -> None:
    """Only the first step has run."""
    with written(database_url) as tx:
        tx.run("CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)")
        run_steps(tx, [1], 1)


@pytest.mark.usefixtures("earlier")
def test_check_names_the_pending_steps_and_changes_nothing(run: Run) -> None:
    for done in (run("upgrade", "--check"), run("upgrade", "--check")):
        assert done.returncode == 1
        assert [int(line.split()[0]) for line in done.stdout.splitlines()] == STEPS[1:]
        assert "Pruning and deletion" in done.stdout


@pytest.mark.usefixtures("earlier")
def test_upgrade_runs_them_and_then_none_is_pending(run: Run) -> None:
    done = run("upgrade")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(STEPS) - 1)
    for again in (run("upgrade", "--check"), run("upgrade")):
        assert (again.returncode, again.stdout) == (0, "the schema is up to date\n")


@pytest.mark.parametrize("words", ["serve --port 0", "prune", "upgrade", "upgrade --check", "doctor", "rekey", "backup away.db"])
def test_where_there_is_no_installation_none_is_made(words: str, run: Run, database_url: str, tmp_path: Path) -> None:
    """The volume is not mounted, say, or the address leads to another database: trackers must not be told that their site is unknown."""
    done = run(*words.split())
    assert done.returncode == (2 if words in ("doctor", "upgrade --check") else 1)
    assert len(done.stderr.splitlines()) == 1
    assert "leadlight init" in done.stderr
    assert "leadlight restore" in done.stderr
    assert list(tmp_path.iterdir()) == []
    file = file_of(database_url)
    assert file is None or not file.exists()
    with written(database_url) as tx:
        tables = "sqlite_master" if tx.engine == "sqlite" else "pg_tables WHERE schemaname = 'public'"
        assert tx.value(f"SELECT count(*) FROM {tables}") == 0


@pytest.mark.usefixtures("earlier")
def test_nothing_is_served_where_there_is_no_site(run: Run) -> None:
    done = run("serve", "--port", "0")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "holds no site" in done.stderr
    assert run("upgrade", "--check").stdout != "the schema is up to date\n"


def test_nor_by_another_server(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("from collector.serving import wsgi_application\nwsgi_application()\n")
    done = run_command(["server"], tmp_path, {"SECRET_KEY": KEY})
    assert "there is no database" in done.stderr
    assert "DATABASE_URL is not set" in done.stderr
    assert not (tmp_path / "leadlight.db").exists()


@pytest.mark.parametrize("words", ["serve --port 0", "upgrade", "upgrade --check", "prune", "doctor", "backup away.db"])
def test_a_database_of_a_newer_version_is_refused_in_one_line(words: str, run: Run, database_url: str) -> None:
    with written(database_url) as tx:
        tx.run("CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)")
        run_steps(tx, STEPS, 1)
        tx.run("INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)", (NEWEST + 1, 1))
    done = run(*words.split())
    assert done.returncode == (2 if words in ("doctor", "upgrade --check") else 1), "1 would be an answer to what these two are asked"
    assert len(done.stderr.splitlines()) == 1
    assert f"newer version of Leadlight (schema {NEWEST + 1}; this version knows {NEWEST})" in done.stderr


def test_who_runs_a_command_in_another_folder_is_told_where_it_looked(tmp_path: Path) -> None:
    done = run_command(["collector", "doctor"], tmp_path, {"SECRET_KEY": KEY})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"there is no database {tmp_path / 'leadlight.db'} (DATABASE_URL is not set)" in done.stderr
    done = run_command(["collector", "doctor"], tmp_path, {})
    assert f"looked for in {tmp_path / 'leadlight.toml'}" in done.stderr
    assert "go to the installation's folder, or set SECRET_KEY and DATABASE_URL" in done.stderr


def test_a_defect_is_not_told_as_if_it_were_a_reason() -> None:
    with pytest.raises(SettingsError, match=r"^backup\.db: KeyError: 'site'$"), operating.in_one_line("backup.db"):
        {}["site"]
    with pytest.raises(SettingsError, match=r"^backup\.db: it exists already$"), operating.in_one_line("backup.db"):
        raise FileExistsError("it exists already")


def test_a_server_of_this_version_goes_on_beside_a_newer_schema(start_collector, database_url: str) -> None:
    """Collectors are replaced one after the other: those that serve already are not stopped by the first new one."""
    collector = start_collector(database_url=database_url)
    with written(database_url) as tx:
        tx.run("INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)", (NEWEST + 1, 1))
    answer = collector.client.get("/readyz")
    assert (answer.status, json.loads(answer.body)["checks"]["schema"]) == (200, True)
