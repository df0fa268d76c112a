"""Numbers and ages as people read them."""

from collector.values.clock import DAY, HOUR, MINUTE, SECOND

_MONTH = 30 * DAY
_YEAR = 365 * DAY
_STEPS = ((_YEAR, "year"), (_MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"))


def ago(age_ms: int) -> str:
    """Return an age in the largest unit it fills: `3 hours ago`; the future is `in 3 hours`."""
    for unit, name in _STEPS:
        if abs(age_ms) >= unit:
            text = counted(abs(age_ms) // unit, name)
            return f"{text} ago" if age_ms > 0 else f"in {text}"
    return "just now" if abs(age_ms) < 10 * SECOND else "less than a minute ago" if age_ms > 0 else "in less than a minute"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 visit`, `1,204 visits`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
