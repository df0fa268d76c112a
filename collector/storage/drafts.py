"""Files that appear whole or not at all: written under another name beside their own, synced, then renamed."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BESIDE = ("-wal", "-shm", "-journal")


@contextmanager
def draft(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend an empty file, readable by its owner alone, that takes the name `path` when the block ends well, and is gone otherwise.

    What a killed process has left there is overwritten by the next.

    Raises:
        FileExistsError: there is such a file, and it is not to be overwritten, or is none that a file could take the place of (a device,
            a folder); or somebody else writes one now.
    """
    _check_free(path, overwrite)
    working = working_name(path)
    descriptor = os.open(working, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(descriptor), working.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:  # or finished a moment ago, and is no draft any more
            raise FileExistsError("another process is writing it")
        os.fchmod(descriptor, 0o600)
        give_to_owner(descriptor, path)
        os.ftruncate(descriptor, 0)
        remove_beside(working)
        try:
            yield working
            os.fsync(descriptor)
            _check_free(path, overwrite)
            working.replace(path)
        except BaseException:
            working.unlink(missing_ok=True)
            remove_beside(working)
            raise
        sync_folder(path.parent)
    finally:
        os.close(descriptor)


def working_name(path: Path) -> Path:
    """Return the name under which `draft` writes a file: whatever stands there is overwritten, so nobody had better call anything so."""
    return path.with_name(f"{path.name}.unfinished")


def give_to_owner(descriptor: int, path: Path) -> None:
    """Let root give a file that it has made to whom it is for: the owner of the one at `path`, or else of the folder.

    Where root may not, as in some containers and on other machines' disks, it stays root's. What has another name is not given away.
    """
    if os.geteuid() == 0 and os.fstat(descriptor).st_nlink == 1:
        like = (path if path.exists() else path.parent).stat()
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError("it exists already")
    if path.exists() and not path.is_file():
        raise FileExistsError("it is no file")


def beside(path: Path) -> list[Path]:
    """Return the files that SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in _BESIDE]


def check_log(path: Path) -> None:
    """Make sure that no log stands there without its database: SQLite takes it for what is left of nothing, and removes it.

    Raises:
        FileExistsError: one does, of a file that was moved away, and it may hold what was committed last.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        raise FileExistsError(
            f"{log} stands there without its database and may hold what was committed last: move it to where that went, under its name"
        )


def remove_beside(path: Path) -> None:
    """Remove what SQLite left beside a file that is no database any more."""
    for file in beside(path):
        file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems sync no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
