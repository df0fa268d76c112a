"""Long answers, sent part by part as fast as whoever asked takes them, and given up where nobody takes anything for a while.

granian keeps every part that it is handed until the client takes it: of a slow one, the whole answer. What it reads from a file it reads
no faster than it sends. So it is given a pipe for a file, and writing into that waits for the client.
"""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from collector.values.errors import Problem

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

MOST = 16
"""Long answers on their way at once: each keeps a part or two in memory, of which the first is of WHOLE bytes."""

SECONDS = 30.0
"""How long a client may take nothing before it is given up."""

WHOLE = 2**20
"""Bytes up to which an answer is sent as one: as much as any system's pipe holds, so that whoever took more has opened it."""

PART = 65_536
"""Bytes that are read at once of what comes after that, about."""


class BrokenOff(ConnectionAbortedError):
    """What was being answered cannot be answered to its end, which has been logged under the id of the request.

    `instead` is what to answer where nothing has been sent yet.
    """

    def __init__(self, instead: Problem, request_id: str) -> None:
        super().__init__("the answer broke off")
        self.instead = instead
        self.request_id = request_id


class Rest:
    """What an application has to say, part by part: the first is all of it, or WHOLE bytes and more. No part is kept once it is read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._iterator = iter(parts)
        try:
            self._ready = [self._gathered(WHOLE), self._gathered(PART)]
        except BaseException:
            self.close()
            raise

    def is_long(self) -> bool:
        """Say whether more than one part is left, before any is read."""
        return bool(self._ready[-1])

    def read(self) -> bytes:
        """Return the next part, nothing at the end."""
        return self._ready.pop(0) if self._ready else self._gathered(PART)

    def _gathered(self, least: int) -> bytes:
        gathered: list[bytes] = []
        size = 0
        for part in self._iterator:
            gathered.append(part)
            size += len(part)
            if size >= least:
                break
        return b"".join(gathered)

    def close(self) -> None:
        """Let the application clean up."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


async def send(protocol: "HTTPProtocol", status: int, headers: list[tuple[str, str]], read: Callable[[], Awaitable[bytes]]) -> None:
    """Send what `read` gives, which is more than a pipe holds, until it gives nothing.

    Raises:
        OSError: the client left, or took nothing for SECONDS (TimeoutError). What was sent by then breaks off.
    """
    pipe = _Pipe()
    left = asyncio.create_task(_left(protocol))
    try:
        protocol.response_file(status, headers, pipe.path)
        while part := await read():
            await pipe.write(part, left)
    finally:
        left.cancel()
        pipe.close()


async def _left(protocol: "HTTPProtocol") -> None:
    """Wait until the client leaves. granian says so until it has opened the pipe; after that it closes the pipe instead."""
    await protocol.client_disconnect()


class _Pipe:
    """A pipe that granian opens as a file, by its path. While our own copy of that end is open, it is not seen that it closed its own."""

    def __init__(self) -> None:
        self._theirs, self._ours = os.pipe()
        os.set_blocking(self._ours, False)
        self._opened = False
        self._written = 0
        self.path = f"/dev/fd/{self._theirs}"

    async def write(self, part: bytes, left: asyncio.Future[None]) -> None:
        """Write a part as fast as it is read, unless whoever it is for has `left` before it was opened.

        Raises:
            OSError: they left, or read nothing for SECONDS (TimeoutError).
        """
        rest = memoryview(part)
        while rest:
            try:
                written = os.write(self._ours, rest[:PART])
            except BlockingIOError:
                if not self._opened and self._in_it() < self._written:
                    self._open()  # something was read: the next try tells whether anybody reads on
                else:
                    await self._room(left)
            else:
                rest = rest[written:]
                self._written += written
                if self._written > WHOLE:
                    self._open()

    async def _room(self, left: asyncio.Future[None]) -> None:
        """Wait until something can be written, or nobody reads any more."""
        loop, found = asyncio.get_running_loop(), asyncio.Event()

        def leave(_: object) -> None:
            found.set()

        loop.add_writer(self._ours, found.set)
        if not self._opened:
            left.add_done_callback(leave)
        try:
            await asyncio.wait_for(found.wait(), SECONDS)
        finally:
            loop.remove_writer(self._ours)
            left.remove_done_callback(leave)
        if not self._opened and left.done():
            self._open()  # nobody opens it any more
            raise ConnectionAbortedError("the client left")

    def _in_it(self) -> int:
        """Return how many bytes wait to be read."""
        (size,) = struct.unpack("i", fcntl.ioctl(self._theirs, termios.FIONREAD, bytes(4)))
        return int(size)

    def _open(self) -> None:
        """Close our copy of their end: they have one of their own, or want none."""
        if not self._opened:
            self._opened = True
            os.close(self._theirs)

    def close(self) -> None:
        """End what they read."""
        os.close(self._ours)
        if not self._opened:  # under this number nothing else may be found by whoever opens it late
            asyncio.get_running_loop().call_later(SECONDS, os.close, self._theirs)
