"""Who works with a database file: many at once, or one who replaces it. A lock beside the file says so, and dies with its process.

Nobody who replaces the file by hand asks for that lock, so whoever works with it also looks whether it is still there (`Place`).
"""

import fcntl
import os
from pathlib import Path

from collector.storage.drafts import give_to_owner
from collector.storage.faults import Replaced

_PREFIX = "sqlite:///"


class Occupied(OSError):
    """Others work with the file, or it is being replaced; the message says which."""


def file_of(url: str) -> Path | None:
    """Return the file that a database's address names, links followed; None for PostgreSQL and for a database in memory."""
    name = url.removeprefix(_PREFIX)
    return None if name == url or name in ("", ":memory:") else Path(name).resolve()


def lock_of(path: Path) -> Path:
    """Return the file beside a database file that is locked by those who work with it."""
    return path.with_name(f"{path.name}.lock")


class Occupancy:
    """Held from its making until `close`, or until the process ends. PostgreSQL needs none: replacing is a transaction there."""

    def __init__(self, url: str, *, alone: bool = False) -> None:
        """Take part in working with the database, or be the only one who does.

        Raises:
            Occupied: it is being replaced; or, where this is to be the only one, others are there.
        """
        self._descriptor: int | None = None
        path = file_of(url)
        if path is None:
            return
        # SQLite keeps its log beside the name: by another name, a second process would write past the first one.
        if not alone and path.exists() and path.stat().st_nlink > 1:
            raise Occupied(f"{path} has other names as well (hard links), by which others could write into it unseen: copy it instead")
        self._descriptor = os.open(lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        give_to_owner(self._descriptor, path)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            what = "is in use: stop the collector that serves from it" if alone else "is being replaced by `leadlight restore`"
            raise Occupied(f"{path} {what}") from None

    def descriptors(self) -> tuple[int, ...]:
        """Return what a process that is started has to keep open to take part too, for as long as it lives."""
        return () if self._descriptor is None else (self._descriptor,)

    def close(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Place:
    """Where a file is that a process has open: there, what is written is found again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._file = self._found()

    @classmethod
    def of(cls, url: str) -> "Place | None":
        """Return the place of a database's file; None for PostgreSQL and for a database in memory."""
        path = file_of(url)
        return None if path is None else cls(path)

    def check(self) -> None:
        """Make sure that the name still stands for the same file.

        Raises:
            Replaced: it stands for another one, or for none; the message says what to do.
        """
        if self._found() != self._file:
            raise Replaced(
                f"{self._path} was replaced or taken away under this process: put it back (its log is here), or stop the process and "
                "bring the other one by `leadlight restore`"
            )

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._name)  # noqa: PTH116 (asked before every read, and a Path is made a text each time)
        except OSError:  # gone, or out of reach: either way it is not what this process has open
            return None
        return found.st_dev, found.st_ino
