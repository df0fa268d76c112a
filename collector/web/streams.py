"""Long answers, sent part by part as fast as whoever asked takes them, and given up where nobody takes anything for a while.

granian keeps every part that it is handed until the client takes it: of a slow one, the whole answer. What it reads from a file it reads
no faster than it sends. So it is given a pipe for a file, and writing into that waits for the client.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from collector.values.errors import Problem

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

MOST = 16
"""Long answers on their way at once: each keeps a part or two in memory."""

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
    """What an application has to say: `beginning` first, then what `read` gives."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._iterator = iter(parts)
        try:
            self.beginning = self._gathered(WHOLE)
            self._next = self._gathered(PART)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """Return the next part, nothing at the end."""
        part, self._next = self._next, self._gathered(PART) if self._next else b""
        return part

    def ended(self) -> bool:
        """Say whether nothing follows."""
        return not self._next

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


async def send(
    protocol: "HTTPProtocol", status: int, headers: list[tuple[str, str]], beginning: bytes, read: Callable[[], Awaitable[bytes]]
) -> None:
    """Send a beginning (of more than a pipe holds) and what `read` gives, until it gives nothing.

    Raises:
        OSError: the client left, or took nothing for SECONDS (TimeoutError). What was sent by then breaks off.
    """
    theirs, ours = os.pipe()
    sent, part, opened = 0, beginning, False
    try:
        os.set_blocking(ours, False)
        protocol.response_file(status, headers, f"/dev/fd/{theirs}")
        while part:
            await _write(ours, part)
            sent += len(part)
            if not opened and sent > WHOLE:  # they read from one of their own, and once this is closed it is seen that they left
                opened = True
                os.close(theirs)
            part = await read()
    finally:
        os.close(ours)
        if not opened:  # under this number nothing else may be found by whoever opens it late
            asyncio.get_running_loop().call_later(SECONDS, os.close, theirs)


async def _write(pipe: int, part: bytes) -> None:
    rest = memoryview(part)
    while rest:
        try:
            rest = rest[os.write(pipe, rest[:PART]) :]
        except BlockingIOError:
            await asyncio.wait_for(_room(pipe), SECONDS)


async def _room(pipe: int) -> None:
    """Wait until something can be written, or nobody reads any more."""
    loop = asyncio.get_running_loop()
    found = asyncio.Event()
    loop.add_writer(pipe, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_writer(pipe)
