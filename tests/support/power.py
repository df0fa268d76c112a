"""A disk under SQLite that forgets, when the power fails, what nobody had it write for good.

SQLite reaches its files through a table of functions (its VFS). Those that write and sync are wrapped here, for every file this
process opens meanwhile, so that it is known at each moment which bytes a sync has made durable and which were only written.
"""

import ctypes
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

_SECTOR = 512  # bytes; the most that a disk writes whole or not at all
_METHODS = 18  # functions in version 3 of sqlite3_io_methods

_File = ctypes.c_void_p
_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, _File, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _File, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, _File, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _File, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
    ]


class _Methods(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int), ("functions", ctypes.c_void_p * _METHODS)]


_WRITE, _TRUNCATE, _SYNC = 2, 3, 4  # places in _Methods.functions


class ForgetfulDisk:
    """What would be left of SQLite's files if the power failed now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durable: dict[str, bytearray] = {}
        self._pending: dict[str, list[tuple[int, bytes | None]]] = {}
        self.syncs = 0

    def cut(self, database: Path, folder: Path, chance: random.Random) -> Path:
        """Write the database and its log as the power cut leaves them into a folder, and return the database's path.

        Each sector that was written and not synced may have reached the disk or not, as `chance` has it.
        """
        folder.mkdir()
        with self._lock:
            for path in (str(database), f"{database}-wal"):
                content = bytearray(self._durable.get(path, b""))
                for offset, data in self._pending.get(path, []):
                    pieces = [(offset, data)] if data is None else _sectors(offset, data)
                    for place, piece in pieces:
                        if chance.random() < 0.5:
                            _apply(content, place, piece)
                (folder / Path(path).name).write_bytes(content)
        return folder / database.name

    def written(self, path: str, offset: int, data: bytes | None) -> None:
        """Note a write, or without data that the file was cut at this length."""
        with self._lock:
            self._pending.setdefault(path, []).append((offset, data))

    def synced(self, path: str, pending: int) -> None:
        """Note that the first so many pending writes of a file are durable."""
        with self._lock:
            content = self._durable.setdefault(path, bytearray())
            for offset, data in self._pending.get(path, [])[:pending]:
                _apply(content, offset, data)
            del self._pending.setdefault(path, [])[:pending]
            self.syncs += 1

    def pending(self, path: str) -> int:
        """Return how many writes of a file are not durable yet."""
        with self._lock:
            return len(self._pending.get(path, []))


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    first = _SECTOR - offset % _SECTOR
    bounds = [0, *range(first, len(data), _SECTOR), len(data)]
    return [(offset + start, data[start:end]) for start, end in pairwise(bounds) if start < end]


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    else:
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data


@contextmanager
def forgetful_disk(disk: ForgetfulDisk | None = None) -> Iterator[ForgetfulDisk]:
    """Watch every file that SQLite opens in this process meanwhile. The files have to be new, if it is to be known what is left of them.

    Raises:
        RuntimeError: this Python's SQLite cannot be reached.
    """
    vfs = _default_vfs()
    disk = disk or ForgetfulDisk()
    opened: dict[int, str] = {}
    tables: dict[int, Any] = {}  # kept: SQLite goes on calling them until the files are closed
    real_open = _Open(vfs.open)

    def table(original: int) -> Any:
        methods = _Methods.from_buffer_copy(_Methods.from_address(original))
        write, truncate, sync = _Write(methods.functions[_WRITE]), _Truncate(methods.functions[_TRUNCATE]), _Sync(methods.functions[_SYNC])

        def watched_write(file: int, data: int, size: int, offset: int) -> int:
            disk.written(opened[file], offset, ctypes.string_at(data, size))
            return int(write(file, data, size, offset))

        def watched_truncate(file: int, size: int) -> int:
            disk.written(opened[file], size, None)
            return int(truncate(file, size))

        def watched_sync(file: int, flags: int) -> int:
            pending = disk.pending(opened[file])
            code = int(sync(file, flags))
            if code == sqlite3.SQLITE_OK:
                disk.synced(opened[file], pending)
            return code

        wrapped = (_Write(watched_write), _Truncate(watched_truncate), _Sync(watched_sync))
        for place, function in zip((_WRITE, _TRUNCATE, _SYNC), wrapped, strict=True):
            methods.functions[place] = ctypes.cast(function, ctypes.c_void_p).value
        return methods, wrapped

    def watched_open(own: int, name: int | None, file: int, flags: int, out: Any) -> int:
        code = int(real_open(own, name, file, flags, out))
        original = ctypes.c_void_p.from_address(file).value
        if code == sqlite3.SQLITE_OK and original is not None:
            opened[file] = "" if name is None else ctypes.string_at(name).decode()
            if original not in tables:
                tables[original] = table(original)
            ctypes.c_void_p.from_address(file).value = ctypes.addressof(tables[original][0])
        return code

    before, replacement = vfs.open, _Open(watched_open)
    vfs.open = ctypes.cast(replacement, ctypes.c_void_p).value
    try:
        yield disk
    finally:
        vfs.open = before


def _default_vfs() -> _Vfs:
    import _sqlite3

    try:
        find = ctypes.CDLL(_sqlite3.__file__).sqlite3_vfs_find
    except (AttributeError, OSError):
        raise RuntimeError("this test needs a Python whose SQLite is a shared library, as Debian's is") from None
    find.restype = ctypes.POINTER(_Vfs)
    found: _Vfs = find(None).contents
    return found
