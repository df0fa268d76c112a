"""What an operator does beside serving: examine, back up, restore. Whatever stands in the way is said in one line."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec

from collector.domain import deletion, restoring
from collector.domain.checks.findings import Finding
from collector.domain.doctor import Counts, examine
from collector.domain.secrets import Keyring
from collector.domain.sites import Sites, are_made, site_ids
from collector.settings import Settings, SettingsError, config_path, require_secret_key
from collector.setup import OneLine, check_file, check_schema, said, shown
from collector.storage import copying, migrations, time_limits
from collector.storage.database import Connection, Database
from collector.storage.drafts import beside, check_log, draft, remove_beside, working_name
from collector.storage.migrations import SchemaError, migrate, pending
from collector.storage.occupancy import Occupancy, file_of, lock_of
from collector.storage.rewriting import rewrite
from collector.storage.slices import Slices
from collector.storage.snapshots import number_of_events, others, snapshot
from collector.values.clock import system_clock
from collector.values.ids import RowIds


def doctor(settings: Settings, counts: Counts) -> Iterator[Finding]:
    """Yield what the doctor finds and fill `counts`.

    Raises:
        SettingsError: the secret key does not fit, or the database cannot be examined.
    """
    keyring = Keyring(require_secret_key(settings).secret_key)
    with opened(settings) as database:
        Sites(database, keyring, RowIds()).all()  # a key that does not fit makes every tombstone a stranger's
        yield from examine(database, keyring, counts)


def rekey(settings: Settings) -> int:
    """Store what is encrypted in the database with the newest secret key, and return how many sites there are. Safe while serving.

    Raises:
        SettingsError: the ring lacks a key, or the database cannot be written.
    """
    keyring = Keyring(require_secret_key(settings).secret_key)
    with opened(settings):
        pass
    url = settings.database_url
    with in_one_line(url), closing(Occupancy(url)), closing(Database(url)) as database:
        return database.transact(Sites(database, keyring, RowIds()).encrypt_anew)


class Copied(msgspec.Struct, frozen=True):
    """What a backup or a restored database holds."""

    people: int
    events: int
    size: int
    """In bytes."""
    deleted: int = 0
    """People who were deleted again."""
    unread: bool = False
    """Whether the database that was replaced could not be asked who was deleted in it."""


def backup(settings: Settings, path: Path, *, overwrite: bool = False) -> Copied:
    """Write everything, as it stands at one moment, into a file of SQLite. Safe while serving.

    A file of SQLite is copied as it is, also one that an older version wrote.

    Raises:
        SettingsError: it cannot be read or written; there is no file then, or the one that was there.
    """
    as_it_is = file_of(settings.database_url) is not None
    with ExitStack() as stack:
        database = stack.enter_context(opened(settings, of_any_version=as_it_is))
        stack.enter_context(in_one_line(str(path)))
        stack.enter_context(_apart(settings, path))
        working = stack.enter_context(draft(path, overwrite=overwrite))
        copying.save(database, working, system_clock())
        with copying.reading(working) as connection:
            return _holds(connection, working.stat().st_size)


def backup_deletions(settings: Settings, path: Path) -> int:
    """Write the tombstones alone, a JSON object a line, and return how many there are. Safe while serving.

    Those that the file holds already stay: it may be the only one that knows of them, where the database was lost or is an older one now.

    Raises:
        SettingsError: they cannot be read or written, or the file holds something else.
    """
    with opened(settings, of_any_version=True) as database, in_one_line(str(path)), ExitStack() as stack:
        stack.enter_context(_apart(settings, path))
        working = stack.enter_context(draft(path, overwrite=True))
        before = _check_deletions(path) if path.exists() else iter(())
        connection = stack.enter_context(snapshot(database))
        file = stack.enter_context(working.open("w", encoding="ascii"))
        return sum(1 for _ in map(file.write, map(restoring.to_line, restoring.united(before, restoring.written(connection)))))


def _check_deletions(path: Path) -> Iterator[restoring.Tombstone]:
    """Return the tombstones of a file of which every line is one.

    Raises:
        SettingsError: one is none.
    """
    try:
        for _ in _deletions(path):
            pass
    except ValueError as error:
        raise SettingsError(f"it exists already, and holds no deletions that could be kept: {error}") from None
    return _deletions(path)


def _deletions(path: Path) -> Iterator[restoring.Tombstone]:
    with path.open(encoding="ascii") as lines:
        yield from restoring.from_lines(lines)


@contextmanager
def _apart(settings: Settings, path: Path) -> Iterator[None]:
    """Keep a backup from taking the place of what is in use: a collector would go on writing to a file that has no name any more.

    Raises:
        SettingsError: the file is a part of this installation.
        Occupied: it is the database of another one, and somebody works with it.
    """
    file, own = path.resolve(), file_of(settings.database_url)
    written = {file, working_name(file)}
    parts = set() if own is None else {own, lock_of(own), working_name(own), *beside(own)}
    if written & {config_path().resolve(), *parts}:
        raise SettingsError("it belongs to the installation itself: name another file")
    with ExitStack() as stack:
        for each in written:
            if lock_of(each).exists():
                stack.enter_context(closing(Occupancy(f"sqlite:///{each}", alone=True)))
        yield


def restore(settings: Settings, path: Path, *, replace: bool = False, deletions: Sequence[Path] = ()) -> Copied:
    """Put a backup in the place of the database, whole or not at all, and delete again whoever was deleted since.

    Raises:
        SettingsError: the backup is none, or damaged, or of a newer version; the secret key is another installation's; the database
            holds data and is not to be replaced, or is in use. Nothing has changed then.
    """
    keyring = Keyring(require_secret_key(settings).secret_key)
    with in_one_line(str(path)):
        _check_backup(path, keyring)
    for file in deletions:
        with in_one_line(str(file)):
            for _ in _deletions(file):
                pass
    target = file_of(settings.database_url)
    if target is not None:
        for file in (path, *deletions):
            with in_one_line(str(file)):
                if file.resolve() in (target, working_name(target), *beside(target)):
                    raise SettingsError("it stands where the database is written: give it another name")
    with in_one_line(settings.database_url):
        if target is None:
            return _into_postgresql(settings.database_url, path, keyring, replace, deletions)
        occupancy = Occupancy(settings.database_url, alone=True)
        try:
            return _into_file(target, path, keyring, replace, deletions)
        finally:
            occupancy.close()


def _check_backup(path: Path, keyring: Keyring) -> None:
    if not path.is_file():
        raise SettingsError("there is no such file")
    if damage := copying.damage_of(path):
        raise SettingsError(f"it is no whole backup: {damage}")
    with copying.reading(path) as connection:
        if not migrations.are_begun(connection):
            raise SettingsError("it is no backup of Leadlight")
        restoring.check_key(connection, keyring)


def _into_file(target: Path, path: Path, keyring: Keyring, replace: bool, deletions: Sequence[Path]) -> Copied:
    """Build the database beside its place, then rename it."""
    holds_data, unread = _look_at(target)
    if holds_data and not replace:
        raise SettingsError("it holds data: --replace puts the backup in its place")
    with draft(target, overwrite=True) as working:
        copying.load_file(path, working)
        database = Database(f"sqlite:///{working}")
        try:
            migrate(database, system_clock())
            if holds_data and not unread:
                with copying.reading(target) as old:
                    unread = database.transact(lambda tx: _remember_old(tx, old))
            deleted = database.transact(lambda tx: _delete_again(tx, keyring, deletions))
            _wipe(database)
            rewrite(database)
            with database.read() as connection:
                held = _holds(connection, 0)
        finally:
            database.close()
        copying.settle(working)
        remove_beside(target)  # nothing of it is needed any more, and a log would be taken for the new database's
        return msgspec.structs.replace(held, size=working.stat().st_size, deleted=deleted, unread=unread)


def _look_at(target: Path) -> tuple[bool, bool]:
    """Say whether a database that nobody uses holds data, and whether it cannot be read; everything of it is in its one file then.

    Raises:
        SettingsError: it is another program's.
    """
    check_log(target)
    if not target.exists():
        return False, False
    try:
        copying.settle(target)
        with copying.whole(), copying.reading(target) as connection:
            if not migrations.are_begun(connection) and connection.row("SELECT 1 FROM sqlite_master"):
                raise SettingsError("it is another program's database: name a file of its own in DATABASE_URL")
            return are_made(connection), False
    except SchemaError:
        return True, False
    except copying.Damaged:
        return True, True


def _remember_old(tx: Connection, old: Connection) -> bool:
    """Take over the tombstones of the database that is replaced, as far as they can be read; say whether not all could be."""
    try:
        with copying.whole():
            restoring.remember(tx, restoring.written(old))
    except copying.Damaged:
        return True
    return False


def _into_postgresql(url: str, path: Path, keyring: Keyring, replace: bool, deletions: Sequence[Path]) -> Copied:
    """Ask whether it is free before the backup is prepared, which may take minutes, after that, and when nobody can come any more.

    What a collector took that came and went in between is a part of what is replaced.
    """
    database = Database(url)
    try:
        with database.read() as connection:  # it stays the same, so that whoever loads knows it
            time_limits.lift_between_transactions(connection)
            own = connection.value("SELECT pg_backend_pid()")
            _check_free(connection, own, replace)
            with _of_this_schema(path) as file:
                _check_free(connection, own, replace)
                migrate(database, system_clock())
                with copying.loading(url, file, lambda tx: _check_free(tx, own, replace)) as tx:
                    restoring.remember(tx, restoring.written(tx, copying.KEPT))
                    deleted = _delete_again(tx, keyring, deletions)
        _wipe(database)
        with snapshot(database) as connection:  # which may take its time: everything is counted, and all of it is done by now
            size = connection.value("SELECT pg_database_size(current_database())")
            return msgspec.structs.replace(_holds(connection, size), deleted=deleted)
    finally:
        database.close()


def _check_free(connection: Connection, own: int, replace: bool) -> None:
    """Make sure that nobody else is connected to a database of PostgreSQL, and that it holds nothing that is to stay."""
    if found := others(connection, own):
        told = ", ".join(f"{number} of {role}" for role, number in found.items())
        raise SettingsError(f"it is in use by other connections ({told}): stop the collectors that serve from it, and whoever else")
    if not replace and are_made(connection):
        raise SettingsError("it holds data: --replace puts the backup in its place")


@contextmanager
def _of_this_schema(path: Path) -> Iterator[Path]:
    """Lend a backup, or where its schema is older a copy beside it that was brought up to date."""
    with copying.reading(path) as connection:
        older = bool(pending(connection))
    if not older:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        working = Path(folder) / path.name
        copying.load_file(path, working)
        database = Database(f"sqlite:///{working}")
        try:
            migrate(database, system_clock())
        finally:
            database.close()
        yield working


def _delete_again(tx: Connection, keyring: Keyring, deletions: Sequence[Path]) -> int:
    for path in deletions:
        restoring.remember(tx, _deletions(path))
    return restoring.delete_again(tx, keyring)


def _wipe(database: Database) -> None:
    """Wipe the events of whoever was deleted again."""
    with database.read() as connection:
        sites = site_ids(connection)
    for site in sites:
        for _ in deletion.wipe(database, Slices(database, 0), database.transact, site):
            pass


def _holds(connection: Connection, size: int) -> Copied:
    people = connection.value("SELECT count(*) FROM identities WHERE principal_id = id")
    return Copied(people, number_of_events(connection), size)


@contextmanager
def opened(settings: Settings, *, of_any_version: bool = False) -> Iterator[Database]:
    """Open a database that exists, of this version's schema or of any before it, and change nothing.

    Raises:
        SettingsError: there is none, or something inside went wrong; the message is one line.
    """
    check_file(settings)
    with in_one_line(settings.database_url):
        database = Database(settings.database_url, as_it_is=True)
        try:
            with database.read() as connection:
                check_schema(settings, connection)
                if not of_any_version and pending(connection):
                    raise SettingsError(
                        "its schema is of an older version: `leadlight upgrade` brings it up to date. Back it up before, on PostgreSQL "
                        "with the version that made it"
                    )
            yield database
        finally:
            database.close()


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Say in one line why something cannot be done: the drivers' classes are many, and an operator wants the reason.

    Raises:
        OneLine: whatever was raised inside.
    """
    try:
        yield
    except OneLine:
        raise
    except Exception as error:
        raise OneLine(f"{shown(what)}: {said(error)}") from error
