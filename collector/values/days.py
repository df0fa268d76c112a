"""Days of a time zone. A date without a time means the instant at which that day begins in the site's zone."""

from datetime import date, datetime, timedelta, tzinfo

from collector.values.clock import DAY


def day_bounds(day: date, time_zone: tzinfo) -> tuple[int, int]:
    """Return the milliseconds at which a day of a time zone begins and at which the next one does."""
    begin = _midnight(datetime(day.year, day.month, day.day), time_zone)
    if day == date.max:
        return begin, begin + DAY
    return begin, _midnight(datetime(day.year, day.month, day.day) + timedelta(days=1), time_zone)


def _midnight(local: datetime, time_zone: tzinfo) -> int:
    # Where the clock is set forward at midnight, the offset from before is taken, which gives the instant of the change; where
    # it is set back, the earlier of the two midnights. Counted without a zone, so that the first and last day do not overflow.
    offset = time_zone.utcoffset(local) or timedelta(0)
    return (local - datetime(1970, 1, 1) - offset) // timedelta(milliseconds=1)
