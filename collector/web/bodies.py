"""Bodies as they arrive on the event loop: bounded each, all together, and in time.

A reverse proxy that holds requests back until they are whole does the same, but nobody has to have one.
"""

import asyncio
from typing import TYPE_CHECKING

from collector.values.errors import Reason, problem

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

MOST_BYTES = 2**28
"""How many bytes of bodies are kept at once, by requests that are not answered yet; beyond them new ones are told to come back."""

SECONDS = 60.0
"""How long a body may take to arrive; the tracker gives up after half of it."""

# A connection that is closed while its client still sends is reset, and the client never reads why. So much of a body that is refused is
# heard out, in times the limit.
_HEARD = 10


class Bodies:
    """The bodies of all requests under way."""

    def __init__(self) -> None:
        self.kept = 0
        """Bytes that are set aside, or held."""


class Body:
    """The body of one request, of at most `limit` bytes; `length` is what its header says."""

    __slots__ = ("_all", "_declared", "_kept", "_limit")

    def __init__(self, bodies: Bodies, length: str, limit: int) -> None:
        self._all = bodies
        self._declared = int(length) if length.isascii() and length.isdigit() else None
        self._limit = limit
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
            if self._declared is not None and self._declared <= self._limit and self._finds_room(self._declared):
                return await protocol()
            return await self._heard(protocol)
        except asyncio.CancelledError:
            if late:
                raise problem(408, Reason.BODY_INVALID, None, f"the body did not arrive within {SECONDS:g} s") from None
            raise
        finally:
            clock.cancel()

    def forget(self) -> None:
        """Free its room: the request is answered."""
        self._all.kept -= self._kept
        self._kept = 0

    def _finds_room(self, size: int) -> bool:
        if self._all.kept + size > MOST_BYTES:
            return False
        self._all.kept += size
        self._kept += size
        return True

    async def _heard(self, protocol: "HTTPProtocol") -> bytes | None:
        """Hear a body out, as far as may be, and return it where nobody said how large it is and it fits."""
        parts: list[bytes] = []
        size, keep, room = 0, self._declared is None, self._declared is None or self._declared > self._limit
        if self._declared is None or self._declared <= self._limit * _HEARD:
            async for part in protocol:
                size += len(part)
                if size > self._limit * _HEARD:
                    break
                if keep and size <= self._limit:
                    keep = room = self._finds_room(len(part))
                    parts.append(part)
                if not keep or size > self._limit:
                    parts.clear()
        if not room:
            raise problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")])
        return b"".join(parts) if keep and size <= self._limit else None
