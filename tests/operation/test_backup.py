"""Backups are whole though events arrive; restored, they are the installation again, without whoever was deleted since."""

import json
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from collector import operating
from collector.domain import pruning, restoring
from collector.domain.doctor import examine
from collector.domain.pruning import prune
from collector.settings import Settings
from collector.storage.database import Database
from collector.storage.drafts import working_name
from collector.storage.slices import CLOSED, OPEN, OVERFLOW, PRUNED, WEEK, Slices, note_overflow
from collector.values.clock import DAY
from collector.values.ids import event_id_text
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.postgres import alone, new_database
from tests.support.processes import Program, run_command
from tests.support.servers import Collector
from tests.support.world import World, lead
from tests.support.world import world as start

WRITERS = 4
TRIES = 40
"""How often a moment that may be over before it is seen is waited for."""


@pytest.fixture
def empty(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Makes an empty database of an engine with each call and returns its address."""
    with ExitStack() as stack:
        made = 0

        def make(engine: str) -> str:
            nonlocal made
            made += 1
            if engine == "sqlite":
                return f"sqlite:///{tmp_path / f'restored-{made}.db'}"
            return stack.enter_context(new_database(request.getfixturevalue("postgres_url")))

        yield make


def leadlight(collector: Collector, *arguments: str, url: str | None = None, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as the collector's operator does, on its database or on another one."""
    return run_command(
        ["collector", *arguments], collector.folder, {**collector.environ, "DATABASE_URL": url or collector.database_url, **environ}
    )


def done(collector: Collector, *arguments: str, **options: str) -> str:
    """Run a command that has to do what it is asked, and return what it printed."""
    ended = leadlight(collector, *arguments, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def refused(collector: Collector, *arguments: str, **options: str) -> str:
    """Run a command that has to refuse in one line, and return that."""
    ended = leadlight(collector, *arguments, **options)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    return ended.stderr


def send(collector: Collector, name: str, *events: dict[str, Any]) -> None:
    """Record events of a browser that has the lead of this name."""
    body = envelope(collector.site_key, f"{name:a>22}.{name:a>22}", *events)
    assert collector.client.post_json("/collect", body).status == 202


def ids_in(url: str) -> set[str]:
    database = Database(url, as_it_is=True)
    try:
        with database.read() as connection:
            return {event_id_text(bytes(row[0])) for row in connection.rows("SELECT id FROM events")}
    finally:
        database.close()


@pytest.fixture
def filled(start_collector: Callable[..., Collector]) -> Collector:
    """A collector with two users, each with a lead of its own, and a lead of nobody; stopped."""
    collector = start_collector()
    for name in ("u-1", "u-2"):
        collector.client.api("POST", "/contacts", {"external_id": name, "email": f"{name}@example.com", "name": f"Person {name}"})
        send(collector, name, new_event(), new_event("saved"))
        body = envelope(collector.site_key, f"{name:a>22}.{name:a>22}", new_event("signed-in"), user={"id": name})
        assert collector.client.post_json("/collect", body).status == 202
    send(collector, "alone", new_event())
    collector.stop()
    return collector


def test_a_backup_made_while_events_arrive_is_whole_and_holds_every_event_acknowledged_before(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector()
    acknowledged: list[str] = []
    enough, stop = threading.Event(), threading.Event()

    def write(number: int) -> None:
        while not stop.is_set():
            events = [new_event("saved"), new_event()]
            send(collector, f"{number}", *events)
            acknowledged.extend(event["id"] for event in events)
            if len(acknowledged) > 300:
                enough.set()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        assert enough.wait(60)
        before = set(acknowledged)
        told = done(collector, "backup", str(tmp_path / "backup.db"))
        during = len(acknowledged)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert during > len(before), "nothing was written meanwhile"
    url = f"sqlite:///{tmp_path / 'backup.db'}"
    assert before <= ids_in(url)
    assert "all of it adds up" in done(collector, "doctor", url=url)
    assert f"{len(ids_in(url)):,} events" in told
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("backup")] == ["backup.db"]


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_backup_restores_into_either_engine(filled: Collector, empty: Callable[[str], str], into: str, tmp_path: Path) -> None:
    backup, url = str(tmp_path / "backup.db"), empty(into)
    done(filled, "backup", backup)
    assert done(filled, "restore", backup, url=url).startswith("restored 3 people, 7 events")
    assert "all of it adds up" in done(filled, "doctor", url=url)
    assert ids_in(url) == ids_in(filled.database_url)
    filled.environ["DATABASE_URL"] = url
    filled.start()
    contact = filled.client.api("GET", "/contacts/find_by_external_id/u-1").json
    assert (contact["name"], contact["email"]) == ("Person u-1", "u-1@example.com")
    summary = filled.client.api("GET", "/events?type=user&user_id=u-1&summary=true").json
    assert sorted((event["name"], event["count"]) for event in summary["events"]) == [("page-view", 1), ("saved", 1), ("signed-in", 1)]
    send(filled, "u-1", new_event())
    assert "all of it adds up" in done(filled, "doctor", url=url)


def test_a_backup_of_a_backup_is_the_same(filled: Collector, empty: Callable[[str], str], tmp_path: Path) -> None:
    """Through the other engine and back: every row of every table."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    between = empty("postgresql")
    done(filled, "backup", str(first))
    done(filled, "restore", str(first), url=between)
    done(filled, "backup", str(second), url=between)
    assert rows_of(first) == rows_of(second)
    assert planned(first) == planned(second)


def planned(path: Path) -> set[str]:
    """What the planner is told of: without it, a restored file would read a whole site for each person."""
    with closing(sqlite3.connect(path)) as file:
        return {row[0] for row in file.execute("SELECT idx FROM sqlite_stat1 WHERE tbl <> 'sites'")}


def rows_of(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as file:
        names = {row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names -= {"schema_migrations", "changes", "changes_purged", "sqlite_stat1"}  # the engine's own
        return {name: sorted(file.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def test_whoever_was_deleted_since_is_deleted_again(filled: Collector, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup.db")
    done(filled, "backup", backup)
    filled.start()
    known = filled.client.api("GET", "/contacts/find_by_external_id/u-1").json["id"]
    assert filled.client.api("DELETE", f"/contacts/{known}").status == 200
    filled.stop()
    assert "; 1 people were deleted" in done(filled, "restore", backup, "--replace")
    assert "all of it adds up" in done(filled, "doctor")
    assert len(ids_in(filled.database_url)) == 4
    if filled.database_url.startswith("sqlite"):
        for path in filled_files(filled):
            assert b"Person u-1" not in path.read_bytes()
    filled.start()
    assert filled.client.api("GET", f"/contacts/{known}").status == 404
    assert filled.client.api("GET", "/contacts/find_by_external_id/u-2").status == 200


def filled_files(collector: Collector) -> list[Path]:
    path = Path(collector.database_url.removeprefix("sqlite:///"))
    return [found for found in path.parent.iterdir() if found.name.startswith(path.name)]


def test_deletions_are_known_from_their_files_too(filled: Collector, empty: Callable[[str], str], engine: str, tmp_path: Path) -> None:
    backup, since = str(tmp_path / "backup.db"), tmp_path / "deletions.ndjson"
    done(filled, "backup", backup)
    filled.start()
    known = filled.client.api("GET", "/contacts/find_by_external_id/u-2").json["id"]
    assert filled.client.api("DELETE", f"/contacts/{known}").status == 200
    told = done(filled, "backup", "--deletions", str(since))
    assert "4 tombstones" in told  # of the user, the lead, the address, and its mark
    filled.stop()
    assert stat.S_IMODE(since.stat().st_mode) == 0o600
    assert "u-2" not in since.read_text()
    at = {json.loads(line)["at"] for line in since.read_text().splitlines()}
    url = empty(engine)
    assert "; 1 people were deleted" in done(filled, "restore", backup, "--deletions", str(since), url=url)
    assert "all of it adds up" in done(filled, "doctor", url=url)
    database = Database(url)
    with database.read() as connection:
        assert {row[0] for row in connection.rows("SELECT at FROM tombstones")} == at
        assert connection.rows("SELECT value FROM identities WHERE kind = 'user'") == [("u-1",)]
    database.close()


def test_a_file_of_deletions_forgets_none_whatever_database_writes_it(
    filled: Collector, empty: Callable[[str], str], engine: str, tmp_path: Path
) -> None:
    """Written by the hour, it is the only record of them once the database is lost, or replaced by an older one."""
    backup, since = str(tmp_path / "backup.db"), tmp_path / "deletions.ndjson"
    done(filled, "backup", backup)
    filled.start()
    for name in ("u-1", "u-2"):
        known = filled.client.api("GET", f"/contacts/find_by_external_id/{name}").json["id"]
        assert filled.client.api("DELETE", f"/contacts/{known}").status == 200
        done(filled, "backup", "--deletions", str(since), "--force")
    filled.stop()
    told = since.read_text()
    older = empty(engine)
    done(filled, "restore", backup, url=older)
    assert "8 tombstones" in done(filled, "backup", "--deletions", str(since), "--force", url=older)
    assert since.read_text() == told
    assert "; 2 people were deleted" in done(filled, "restore", backup, "--replace", "--deletions", str(since), url=older)
    assert "8 tombstones" in done(filled, "backup", "--deletions", str(since), url=older)
    assert since.read_text() == told


def test_of_two_times_the_latest_counts_in_whatever_order_a_file_is() -> None:
    one, other = b"1" * 32, b"2" * 32
    assert list(restoring.united([(1, one, 5), (2, one, 3)], [(1, one, 7), (1, other, 1)])) == [(1, one, 7), (1, other, 1), (2, one, 3)]
    assert {(1, one, 5), (1, other, 1), (2, one, 3)} <= set(restoring.united([(2, one, 3), (1, one, 5)], [(1, other, 1)]))


def test_who_came_anew_after_a_deletion_stays(filled: Collector, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup.db")
    filled.start()
    known = filled.client.api("GET", "/contacts/find_by_external_id/u-1").json["id"]
    filled.client.api("DELETE", f"/contacts/{known}")
    filled.client.api("POST", "/contacts", {"external_id": "u-1"})
    filled.stop()
    done(filled, "backup", backup)
    assert "; 0 people were deleted" in done(filled, "restore", backup, "--replace")
    filled.start()
    assert filled.client.api("GET", "/contacts/find_by_external_id/u-1").status == 200


def test_slices_that_are_closed_half_moved_or_gone_stay_so(
    database_url: str, empty: Callable[[str], str], clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEP", {"sqlite": 1, "postgresql": 1})
    with start(database_url, clock) as world:
        for name in ("a", "b"):
            for week in (12, 11):
                world.send(lead(name), world.event(at=clock() - week * WEEK))
        clock.advance(4 * WEEK)
        services = world.services
        for step in prune(services.database, services.slices, services.written.transact, clock(), services.settings.retention):
            if step.what == "dropped":
                break
        half = prune(services.database, services.slices, services.written.transact, clock(), services.settings.retention)
        next(step for step in half if step.what == "moved")
        half.close()
        services.written.transact(lambda tx: note_overflow(tx, clock()))
        operating.backup(services.settings, tmp_path / "backup.db")
        for into in ("sqlite", "postgresql"):
            check_slices(world, services.settings, empty(into), tmp_path / "backup.db")


def check_slices(world: World, settings: Settings, url: str, backup: Path) -> None:
    there = Settings(database_url=url, secret_key=settings.secret_key)
    operating.restore(there, backup)
    database = Database(url)
    try:
        assert list(examine(database, world.services.keyring)) == []
        with database.read() as connection:
            slices = connection.rows("SELECT slice, state, moved FROM slices ORDER BY slice")
        assert slices == world.rows("SELECT slice, state, moved FROM slices ORDER BY slice")
        assert slices[0] == (OVERFLOW, OPEN, world.clock())
        assert {CLOSED, PRUNED} <= {state for _, state, _ in slices}
        for _ in prune(database, Slices(database, settings.retention), database.transact, world.clock(), settings.retention):
            assert list(examine(database, world.services.keyring)) == []
        with database.read() as connection:
            assert connection.rows("SELECT own_count FROM totals ORDER BY identity") == [(2,), (2,)]
    finally:
        database.close()


def test_a_killed_restore_leaves_the_old_or_the_new_whole(
    engine: str, empty: Callable[[str], str], clock: FakeClock, tmp_path: Path
) -> None:
    url, backup = empty(engine), tmp_path / "backup.db"
    with start(url, clock) as world:
        key = world.services.settings.secret_key[0]
        for number in range(40):
            world.send(lead(f"lead-{number}"), *(world.event(f"event-{event % 50}") for event in range(500)))
        operating.backup(world.services.settings, backup)
        world.send(lead("later"), world.event())
    environ = {"DATABASE_URL": url, "SECRET_KEY": key}

    def is_killed_at(reached: Callable[[], bool]) -> bool:
        """Restore, kill it at a moment, look at what is left, and say whether it was still at work then."""
        restoring = Program("restore", ["collector", "restore", str(backup), "--replace"], tmp_path, environ)
        while restoring.running and not reached():
            pass
        hit = restoring.running
        restoring.kill()
        alone(url)
        told = run_command(["collector", "doctor", "--json"], tmp_path, environ)
        assert told.returncode == 0, told.stdout + told.stderr
        assert json.loads(told.stdout)["counted"]["events"] in (20_000, 20_001)
        return hit

    missed = [name for name, reached in moments(url, backup) if not any(is_killed_at(reached) for _ in range(TRIES))]
    assert missed == []
    assert run_command(["collector", "restore", str(backup), "--replace"], tmp_path, environ).stdout.startswith(
        "restored 40 people, 20,000"
    )


def size_of(path: Path) -> int:
    """The size of a file that may come and go meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def moments(url: str, backup: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield names of moments, and ways to see that a restore is there: what it has written beside the database, what its server does."""
    if url.startswith("sqlite"):
        draft = working_name(Path(url.removeprefix("sqlite:///")))
        size = backup.stat().st_size
        yield "begun", draft.exists
        for part in (0.3, 1.0):
            yield f"{part} written", lambda part=part: size_of(draft) >= part * size  # type: ignore[misc]  # of a default no type is inferred
        yield "written", draft.with_name(draft.name + "-wal").exists
        return
    server, _, name = url.rpartition("/")
    database = Database(f"{server}/postgres")  # from outside: a restore wants to be alone
    with database.read() as connection:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = ? AND state <> 'idle' AND query LIKE ?"
        for doing in ("CREATE TEMPORARY TABLE%", "TRUNCATE%", 'COPY "events%', 'COPY "totals%', "ANALYZE%"):
            yield doing, lambda doing=doing: connection.value(sql, (name, doing)) > 0  # type: ignore[misc]
    database.close()


def test_a_restored_database_takes_nothing_from_the_log_of_the_old_one(filled: Collector, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup.db")
    done(filled, "backup", backup)
    kept = ids_in(filled.database_url)
    filled.start()
    send(filled, "later", new_event())
    filled.kill()  # what was written last stands in the log only
    alone(filled.database_url)
    done(filled, "restore", backup, "--replace")
    assert ids_in(filled.database_url) == kept
    assert "all of it adds up" in done(filled, "doctor")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_log_of_a_database_that_was_moved_away_without_it_is_not_removed(filled: Collector, tmp_path: Path) -> None:
    """What was acknowledged last may stand there alone."""
    backup = str(tmp_path / "backup.db")
    done(filled, "backup", backup)
    filled.start()
    send(filled, "later", new_event())
    filled.kill()
    alone(filled.database_url)
    file = Path(filled.database_url.removeprefix("sqlite:///"))
    log = file.with_name(f"{file.name}-wal")
    moved = file.rename(file.with_name("moved.db"))
    for words in (("restore", backup), ("restore", backup, "--replace"), ("init", "--site", "Shop", "--origin", "https://shop.example")):
        assert f"{log} stands there without its database" in refused(filled, *words)
        assert log.stat().st_size > 0
        assert not file.exists()
    log.rename(moved.with_name("moved.db-wal"))
    done(filled, "restore", backup)
    assert len(ids_in(f"sqlite:///{moved}")) == len(ids_in(filled.database_url)) + 1


def test_a_running_collector_is_not_restored_under(collector: Collector, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup.db")
    done(collector, "backup", backup)
    assert "stop the collector" in refused(collector, "restore", backup, "--replace")
    send(collector, "alone", new_event())


def test_a_damaged_database_can_be_replaced(filled: Collector, empty: Callable[[str], str], tmp_path: Path) -> None:
    backup, url = str(tmp_path / "backup.db"), empty("sqlite")
    done(filled, "backup", backup)
    shutil.copy(backup, url.removeprefix("sqlite:///"))
    with Path(url.removeprefix("sqlite:///")).open("r+b") as file:
        file.write(b"damage" * 100)
    assert "--replace" in refused(filled, "restore", backup, url=url)
    ended = leadlight(filled, "restore", backup, "--replace", url=url)
    assert ended.returncode == 0
    assert "could not be read" in ended.stderr
    assert "all of it adds up" in done(filled, "doctor", url=url)


def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(filled: Collector, tmp_path: Path) -> None:
    backup, other = tmp_path / "backup.db", tmp_path / "other.db"
    done(filled, "backup", str(backup))
    whole = backup.read_bytes()
    before = ids_in(filled.database_url)
    assert "exists" in refused(filled, "backup", str(backup))
    assert "exists" in refused(filled, "backup", "--deletions", str(backup))
    assert backup.read_bytes() == whole
    assert "No such file" in refused(filled, "backup", str(tmp_path / "nowhere" / "backup.db"))
    assert "--replace" in refused(filled, "restore", str(backup))
    assert "no such file" in refused(filled, "restore", str(other))
    for content in (b"", b"no database at all", whole[: len(whole) // 2], whole[:100]):
        other.write_bytes(content)
        assert "backup" in refused(filled, "restore", str(other), "--replace")
    assert "SECRET_KEY" in refused(filled, "restore", str(backup), "--replace", SECRET_KEY="another key that is long enough")
    assert "holds no deletions" in refused(filled, "backup", "--deletions", str(backup), "--force")
    assert backup.read_bytes() == whole
    other.write_text('{"site": 1}\n')
    assert "line 1" in refused(filled, "restore", str(backup), "--replace", "--deletions", str(other))
    with closing(sqlite3.connect(backup, isolation_level=None)) as raw:
        raw.execute("INSERT INTO schema_migrations (version, applied_at) VALUES (9999, 1)")
    assert "newer version" in refused(filled, "restore", str(backup), "--replace")
    assert ids_in(filled.database_url) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".unfinished")) == []


def test_a_backup_overwrites_on_request_only(filled: Collector, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    backup.write_text("yesterday's")
    refused(filled, "backup", str(backup))
    done(filled, "backup", str(backup), "--force")
    assert ids_in(f"sqlite:///{backup}") == ids_in(filled.database_url)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("kind", [(), ("--deletions",)])
def test_a_backup_takes_the_place_of_no_part_of_an_installation(
    start_collector: Callable[..., Collector], tmp_path: Path, kind: tuple[str, ...]
) -> None:
    file = tmp_path / "leadlight.db"
    collector = start_collector(database_url=f"sqlite:///{file}")
    other = start_collector(database_url=f"sqlite:///{tmp_path / 'other.db'}", folder=tmp_path / "another")
    (collector.folder / "link.db").symlink_to(file)
    send(collector, "before", new_event())
    for name in (file, f"{file}-wal", f"{file}-shm", f"{file}.lock", "link.db", "leadlight.toml"):
        assert "belongs to the installation itself" in refused(collector, "backup", *kind, str(name), "--force")
    assert "in use" in refused(other, "backup", *kind, str(file), "--force")
    send(collector, "after", new_event())
    collector.kill()
    assert len(ids_in(collector.database_url)) == 2
    assert "all of it adds up" in done(collector, "doctor")


def test_a_deletion_is_older_than_a_day_and_still_done_again(database_url: str, clock: FakeClock, tmp_path: Path) -> None:
    """Deleted as of then: what comes later, though before the restore, would count."""
    from collector.domain import deletion

    backup = tmp_path / "backup.db"
    with start(database_url, clock) as world:
        services, site = world.services, world.site.id
        world.send(lead(), world.event())
        operating.backup(services.settings, backup)
        deleted_at = clock.advance(DAY)
        person = world.person(lead().key).id
        services.writer.run(site, lambda tx: deletion.delete_person(tx, site, services.keyring, person, clock))
        settings = services.settings
    clock.advance(5 * DAY)
    operating.restore(settings, backup, replace=True)
    database = Database(database_url)
    with database.read() as connection:
        assert connection.rows("SELECT at FROM tombstones") == [(deleted_at,)]
        assert connection.rows("SELECT count(*) FROM deletions") == [(0,)]
        assert connection.rows("SELECT count(*) FROM identities") == [(0,)]
    database.close()
