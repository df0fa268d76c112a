"""Bodies as they arrive on the event loop: bounded each, all together, and in time.

A reverse proxy that holds requests back until they are whole does the same, but nobody has to have one.
"""

import asyncio
from typing import TYPE_CHECKING

from collector.values.errors import Reason, problem

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

MOST_BYTES = 2**27
"""How many bytes of bodies are kept at once, by requests that are not answered yet; beyond them new ones are told to come back."""

SECONDS = 30.0
"""How long a body may take to arrive: as long as the tracker waits for its answer, and less than the collector takes to end."""

_SMALL = 65_536  # bytes for which room is set aside before they come
_LEAST = 4  # of the largest bodies there is room for

# A connection that is closed while its client still sends is reset, and the client never reads why. So much of a body that is refused is
# heard out, in times the limit.
_HEARD = 10
_LATER = [("Retry-After", "5")]


class Bodies:
    """The bodies of all requests of a kind that are under way, each of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = max(MOST_BYTES, _LEAST * limit)
        self._kept = 0

    def take(self, size: int) -> bool:
        """Set room aside for so many bytes, and say whether there was."""
        if self._kept + size > self._most:
            return False
        self._kept += size
        return True

    def give_back(self, size: int) -> None:
        """Free room."""
        self._kept -= size


class Body:
    """The body of one request; `length` is what its header says, where nothing else says how it ends."""

    __slots__ = ("_all", "_declared", "_kept")

    def __init__(self, bodies: Bodies, length: str) -> None:
        self._all = bodies
        self._declared = int(length) if length.isascii() and length.isdigit() else None
        self._kept = 0

    async def read(self, protocol: "HTTPProtocol") -> bytes | None:
        """Return the body, or None where it is larger than the limit; no more than that is kept in memory.

        Raises:
            Problem: it did not arrive in time, or there is no room for it.
        """
        task, late = asyncio.current_task(), False

        def give_up() -> None:
            nonlocal late
            if task is not None:
                late = task.cancel()

        clock = asyncio.get_running_loop().call_later(SECONDS, give_up)
        try:
            if self._declared is not None and self._declared <= min(_SMALL, self._all.limit) and self._finds_room(self._declared):
                return await protocol()
            return await self._heard(protocol)
        except asyncio.CancelledError:
            if late:
                raise problem(503, Reason.OVERLOADED, None, f"the body did not arrive within {SECONDS:g} s", _LATER) from None
            raise
        finally:
            clock.cancel()

    def forget(self) -> None:
        """Free its room: the request is answered."""
        self._all.give_back(self._kept)
        self._kept = 0

    def _finds_room(self, size: int) -> bool:
        found = self._all.take(size)
        if found:
            self._kept += size
        return found

    async def _heard(self, protocol: "HTTPProtocol") -> bytes | None:
        """Hear a body out, as far as may be, and return it where it fits."""
        limit, parts, size = self._all.limit, [], 0
        fits = self._declared is None or self._declared <= limit
        room = True
        if fits or (self._declared or 0) <= limit * _HEARD:
            async for part in protocol:
                size += len(part)
                if size > limit * _HEARD:
                    break
                fits = fits and size <= limit
                room = room and (not fits or self._finds_room(len(part)))
                if fits and room:
                    parts.append(part)
                else:
                    parts.clear()
                    self.forget()
        if fits and not room:
            raise problem(503, Reason.OVERLOADED, headers=_LATER)
        return b"".join(parts) if fits else None
