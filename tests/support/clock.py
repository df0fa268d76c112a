"""A clock that tests turn by hand."""

START = 1_790_000_000_000
"""Where a fake clock starts unless told otherwise: 2026-09-21 14:13:20 UTC, a Monday, in ms."""


class FakeClock:
    """Fits `collector.values.clock.Clock`: called, it gives its time in ms since 1970 UTC, and stands still between calls."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> int:
        """Go on by so many ms (back, where negative) and return the new time."""
        self.now += ms
        return self.now
