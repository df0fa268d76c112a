"""The clock is an argument, so that tests and replays can turn it. Times are milliseconds since 1970 UTC."""

import time
from collections.abc import Callable

Clock = Callable[[], int]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EARLIEST = 1_577_836_800_000
"""2020: no clock says less (ms) that anybody has set since this program was made."""

REST_AHEAD = HOUR
"""How far ahead of the collector's clock REST may say that something happened (ms)."""


def system_clock() -> int:
    """Return the machine's time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
