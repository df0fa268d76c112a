"""Disks that cost no waiting, disks that fill up, files that refuse writes: real ones, by the kernel's own means."""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NEEDS_MOUNT = (
    "this test mounts a small file system in memory: run it as root of a machine, or of a container that may mount (CAP_SYS_ADMIN)"
)
NEEDS_IMMUTABLE = "this test makes files immutable: run it as root with CAP_LINUX_IMMUTABLE, with /var/tmp on ext4, xfs or btrfs"

MEMORY_NEEDED = 4 * 1024**3

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # <linux/fs.h>
_READ_ONLY, _REMOUNT = 1, 32  # <linux/mount.h>
_DETACH = 2  # umount2: the folder is free at once, whoever still has files open
_libc = ctypes.CDLL(None, use_errno=True)


def quick_folder() -> str | None:
    """Name a file system in memory, where there is one with room: all settings stay as they are, and syncing costs nothing."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_NEEDED
    return str(memory) if roomy else None


class SmallDisk:
    """A file system of its own with little room, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Take all the room that is left, to the last byte."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 20, 4_096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(size))

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def let_nobody_write(self) -> None:
        """Take it for reading only, until it is mounted anew.

        Raises:
            RuntimeError: it is not allowed here, or somebody has a file open for writing.
        """
        if _libc.mount(b"leadlight", os.fsencode(self.folder), b"tmpfs", _READ_ONLY | _REMOUNT, None):
            raise RuntimeError(f"{NEEDS_MOUNT} ({os.strerror(ctypes.get_errno())})")


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mount a file system of so many megabytes, open to every account, until the end.

    Raises:
        RuntimeError: mounting is not allowed here; the message says what it takes.
    """
    folder = Path(tempfile.mkdtemp(prefix="leadlight-disk-"))
    try:
        if _libc.mount(b"leadlight", os.fsencode(folder), b"tmpfs", 0, f"size={megabytes}m,mode=1777".encode()):
            raise RuntimeError(f"{NEEDS_MOUNT} ({os.strerror(ctypes.get_errno())})")
        try:
            yield SmallDisk(folder)
        finally:
            _libc.umount2(os.fsencode(folder), _DETACH)
    finally:
        folder.rmdir()


@contextmanager
def immutable(files: Sequence[Path]) -> Iterator[None]:
    """Let nobody write to these files meanwhile, not even through descriptors that are open already.

    Raises:
        RuntimeError: it is not allowed here, or the file system cannot; the message says what it takes.
    """
    try:
        for file in files:
            _flag(file, on=True)
        yield
    finally:
        for file in files:
            _flag(file, on=False)


def _flag(file: Path, *, on: bool) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        (before,) = struct.unpack("l", flags)
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", before | _IMMUTABLE if on else before & ~_IMMUTABLE))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP):
            raise RuntimeError(f"{NEEDS_IMMUTABLE} ({error.strerror})") from None
        raise
    finally:
        os.close(descriptor)
