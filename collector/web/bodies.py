"""Bodies as they arrive on the event loop: bounded each, all together, and in time.

A reverse proxy that holds requests back until they are whole does the same, but nobody has to have one.
"""

import asyncio
import enum
import gc
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from collector.values.errors import Problem, Reason, problem

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

MOST_BYTES = 2**27
"""How many bytes of bodies are kept at once, by requests that are not answered yet; beyond them new ones are told to come back."""

SECONDS = 30.0
"""How long a body may take to arrive: as long as the tracker waits for its answer, and less than the collector takes to end."""

Room = Callable[[int], bool]
"""Sets so many more bytes aside for what becomes of a body, and says whether there was room."""

ROOM = "leadlight.room"
"""Where a WSGI environment has the `Room` of its body, under a server of ours."""

_CONTAINER, _MEMBER = 192, 64  # bytes that an object or a list of JSON, and each of its members, take once they are decoded, about

_MUCH = 2**20  # bytes from which on it is worth telling texts apart

_GARBAGE = 2**25
"""How many bytes that refused requests held may wait for Python to look for cycles, which it does after so many objects."""

_SMALL = 65_536  # bytes for which room is set aside before they come
_LEAST = 4  # of the largest bodies there is room for

# A connection that is closed while its client still sends is reset, and the client never reads why. So much of a body that is refused is
# heard out, in times the limit.
_HEARD = 10
_LATER = [("Retry-After", "5")]


class Missing(enum.Enum):
    """Why there is no body to be answered. No exception, which would keep alive, wherever it waits to be raised, all that led to it."""

    TOO_LARGE = enum.auto()
    LATE = enum.auto()
    NO_ROOM = enum.auto()

    def problem(self) -> Problem:
        """Return how it is said."""
        if self is Missing.TOO_LARGE:
            return problem(413, Reason.BODY_TOO_LARGE)
        said = f"the body did not arrive within {SECONDS:g} s" if self is Missing.LATE else None
        return problem(503, Reason.OVERLOADED, None, said, _LATER)


def decoded(body: bytes) -> int:
    """Return about how many bytes JSON takes once it is decoded, but for its texts; what stands in these counts where it is not much."""
    size = _estimate(body)
    return size if size <= _MUCH else sum(_estimate(part) for part in _outside_texts(body))


def _estimate(body: bytes) -> int:
    return _CONTAINER * (body.count(b"{") + body.count(b"[")) + _MEMBER * body.count(b",")


def _outside_texts(body: bytes) -> Iterator[bytes]:
    """Yield what stands outside of JSON's texts; some at a time, as it is cut into a piece for each of them."""
    body, inside = body.replace(rb"\\", b"").replace(rb"\"", b""), 0
    for start in range(0, len(body), _SMALL):
        pieces = body[start : start + _SMALL].split(b'"')
        yield b"".join(pieces[inside::2])
        inside ^= (len(pieces) - 1) % 2


class Bodies:
    """The bodies of all requests of a kind that are under way, each of at most `limit` bytes. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = max(MOST_BYTES, _LEAST * limit)
        self._kept = 0
        self._refused = 0
        self._lock = threading.Lock()

    def take(self, body: "Body", size: int) -> bool:
        """Set room aside for so many bytes of a body, and say whether there was. Half of all is the most, so that who is alone finds it."""
        size = min(size, self._most // 2)
        with self._lock:
            if body.answered or self._kept + size > self._most:
                return False
            self._kept += size
            body.kept += size
            return True

    def give_back(self, body: "Body", *, answered: bool, refused: bool = False) -> None:
        """Free the room of a body, for good where it is answered.

        The exception by which a request was `refused` may keep it until Python looks for cycles: after so many bytes it is made to look.
        """
        with self._lock:
            self._kept -= body.kept
            self._refused += body.kept if refused else 0
            body.kept = 0
            body.answered = answered
            look = self._refused >= _GARBAGE
            if look:
                self._refused = 0
        if look:
            gc.collect()


class Body:
    """The body of one request; `length` is what its header says, where nothing else says how it ends.

    `kept` are the bytes that room is set aside for, of the body and of what became of it.
    """

    __slots__ = ("_all", "_declared", "answered", "kept")

    def __init__(self, bodies: Bodies, length: str) -> None:
        self._all = bodies
        self._declared = int(length) if length.isascii() and length.isdigit() else None
        self.kept = 0
        self.answered = False

    async def read(self, protocol: "HTTPProtocol") -> bytes | Missing:
        """Return the body, or why there is none; no more than the limit is kept in memory."""
        task, late = asyncio.current_task(), False

        def give_up() -> None:
            nonlocal late
            if task is not None:
                late = task.cancel()

        clock = asyncio.get_running_loop().call_later(SECONDS, give_up)
        try:
            if self._declared is not None and self._declared <= min(_SMALL, self._all.limit) and self.finds_room(self._declared):
                return await protocol()
            return await self._heard(protocol)
        except asyncio.CancelledError:
            if late:
                return Missing.LATE
            raise
        finally:
            clock.cancel()

    def forget(self, *, refused: bool) -> None:
        """Free its room: the request is answered, or `refused`."""
        self._all.give_back(self, answered=True, refused=refused)

    def finds_room(self, size: int) -> bool:
        """Set room aside for so many bytes more, from any thread, and say whether there was."""
        return self._all.take(self, size)

    async def _heard(self, protocol: "HTTPProtocol") -> bytes | Missing:
        """Hear a body out, as far as may be, and return it where it fits and there is room."""
        limit, parts, size = self._all.limit, [], 0
        fits = self._declared is None or self._declared <= limit
        room = True
        if fits or (self._declared or 0) <= limit * _HEARD:
            async for part in protocol:
                size += len(part)
                if size > limit * _HEARD:
                    break
                fits = fits and size <= limit
                room = room and (not fits or self.finds_room(len(part)))
                if fits and room:
                    parts.append(part)
                else:
                    parts.clear()
                    self._all.give_back(self, answered=False)
        if not fits:
            return Missing.TOO_LARGE
        return b"".join(parts) if room else Missing.NO_ROOM
