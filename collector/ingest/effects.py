"""What a request waits for, as values. Requests are generators that yield these and are sent the result.

So the path of a request is written once, whether a thread waits for it (WSGI) or an event loop goes on with others (RSGI); who
runs it decides how to wait.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from collector.storage.commits import Work

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True):
    """Waits until a payload is committed with the next bulk; the result is the bulk's."""

    site: int
    payload: Any
    size: int
    """About how many bytes wait in memory until then."""


class Write(msgspec.Struct, frozen=True):
    """Waits until `work(transaction)` is committed; the result is the work's."""

    site: int
    work: Work


class Read(msgspec.Struct, frozen=True):
    """Waits for a call that reads the database; the result is the call's."""

    call: Callable[[], Any]


class Guest(msgspec.Struct, frozen=True):
    """Waits for a call that must not stand in the way of anything else; the result is the call's.

    On an event loop TimeoutError comes after `seconds`, while the call goes on in its thread; without them after a time in which nobody
    waits for an answer any more.
    """

    call: Callable[[], Any]
    seconds: float | None = None


Effect = Record | Write | Read | Guest
Exchange = Generator[Effect, Any, T]
"""A request on its way: yields effects, is sent their results, returns its answer."""
