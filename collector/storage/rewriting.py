"""SQLite's file written anew (VACUUM), so that nothing is left in it of what was deleted; and the room that this takes.

What is deleted is overwritten at once (`secure_delete`), but where a row had moved to another page before, because its own was full, the
unused part of the old page may hold its bytes still, and nothing else is sure to overwrite them. What was deleted may also stand in the
log for as long as somebody reads there.

VACUUM makes a copy in the folder for temporary files, and brings it back by way of the log beside the file. A disk that is filled up by
that keeps everybody from writing, so that the room is asked for before.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from collector.storage.database import SQLITE_PRAGMAS, Connection, Database
from collector.storage.occupancy import file_of

_LOG_ALONE = -1
"""What stands for a debt in the file's header once the file is written anew and its log is still to be cut."""
_MARGIN = 16 * 1024**2
_MEGABYTE = 1_000_000


class NoRoom(Exception):
    """There is too little room to write the file anew; the message says how much it takes where."""


def rewrite(database: Database, finish: Callable[[], bool] = lambda: True) -> bool:
    """Write SQLite's file anew where that is owed (`owe_rewriting`), and cut its log. Writers wait meanwhile.

    `finish` is called before, to delete what is still left of what the debt was made for; where it says that something stays, so does the
    debt.

    Returns False where the log could not be cut, because somebody reads or writes there: it may hold a copy of what was deleted, and
    the next call tries it again, without writing the file once more.

    Raises:
        NoRoom: nothing was tried but to finish and to cut the log.
    """
    if database.engine != "sqlite":
        return True
    database.cut_log()  # what it takes is room too
    owed = _owed(database)
    if not owed:
        return True
    try:
        if owed != _LOG_ALONE:
            finished = finish()  # once it is known what is owed: what is deleted from here on makes a debt of its own
            _write_anew(database)
            if finished:
                _settle(database, owed, _LOG_ALONE)
    finally:  # also of what was written in vain
        cut = database.cut_log()
    if cut:
        _settle(database, _LOG_ALONE, 0)
    return cut


def log_is_owed(database: Database) -> bool:
    """Say whether the file was written anew and nothing but its log is still to be cut."""
    return database.engine == "sqlite" and _owed(database) == _LOG_ALONE


def temporary_folder() -> Path | None:
    """Return where SQLite makes its temporary files: in the first folder that it may write, of those it knows. None where there is none."""
    known = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108 (as SQLite has it)
    return next((Path(name) for name in known if name and Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK)), None)


def _owed(database: Database) -> int:
    with database.read() as connection:
        return int(connection.value("PRAGMA user_version"))


def _settle(database: Database, owed: int, left: int) -> None:
    """Write down what is left of a debt, unless there is another one by now: somebody was deleted meanwhile."""

    def work(tx: Connection) -> None:
        if tx.value("PRAGMA user_version") == owed:
            tx.run(f"PRAGMA user_version = {left}")

    database.transact(work)


def _write_anew(database: Database) -> None:
    with database.read() as connection:
        file = file_of(database.url)
        if file is not None:
            _ask_for_room(connection, file)
        connection.rows("PRAGMA temp_store = 1")  # the copy may not fit into memory
        try:
            connection.run("VACUUM")
        finally:
            connection.rows(f"PRAGMA temp_store = {SQLITE_PRAGMAS['temp_store']}")


def _ask_for_room(connection: Connection, file: Path) -> None:
    """Make sure that what is in use of the file fits once more beside it and where the copy is made, on one disk twice."""
    pages, unused, size = (connection.value(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
    needed = (pages - unused) * size
    needed += needed // 16 + _MARGIN  # the log has more than the pages, and others use the disk too
    temporary = temporary_folder()
    if temporary is None:
        raise NoRoom("no folder for temporary files can be written: name one in SQLITE_TMPDIR")
    wanted: dict[int, tuple[Path, int]] = {}
    for folder in (file.parent, temporary):
        disk = folder.stat().st_dev
        first, already = wanted.get(disk, (folder, 0))
        wanted[disk] = first, already + needed
    short = [
        f"{total // _MEGABYTE:,} MB on the disk of {folder}, where {free // _MEGABYTE:,} MB are free"
        for folder, total in wanted.values()
        if (free := shutil.disk_usage(folder).free) < total
    ]
    if short:
        raise NoRoom(f"too little room to write the file anew: it takes {', and '.join(short)}")
