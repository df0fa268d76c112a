"""Times, numbers and the journal as people read them."""

from datetime import UTC, datetime, tzinfo

import msgspec

from collector.domain.people import Merge, Person
from collector.values.clock import DAY, HOUR, MINUTE, SECOND

_MONTH = 30 * DAY
_YEAR = 365 * DAY
_STEPS = ((_YEAR, "year"), (_MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"))


class Moment(msgspec.Struct, frozen=True):
    """A time as it is shown: in words, exactly in the site's zone, and for machines."""

    ago: str
    exact: str
    clock: str
    iso: str


def moment(at_ms: int, now_ms: int, zone: tzinfo) -> Moment:
    """Return a time as it is shown."""
    local = local_time(at_ms, zone)
    return Moment(
        ago=ago(now_ms - at_ms),
        exact=f"{local:%a} {local.day} {local:%b} {local.year}, {local:%H:%M:%S} {local.tzname() or 'UTC'}",
        clock=f"{local:%H:%M}",
        iso=local.isoformat(timespec="seconds"),
    )


def ago(age_ms: int) -> str:
    """Return an age in the largest unit it fills: `3 hours ago`; the future is `in 3 hours`."""
    for unit, name in _STEPS:
        if abs(age_ms) >= unit:
            text = counted(abs(age_ms) // unit, name)
            return f"{text} ago" if age_ms > 0 else f"in {text}"
    return "just now" if abs(age_ms) < 10 * SECOND else "less than a minute ago" if age_ms > 0 else "in less than a minute"


def day(at_ms: int, now_ms: int, zone: tzinfo) -> str:
    """Return the day of a time in the site's zone: `Today`, `Yesterday`, `Monday 21 September 2026`."""
    date, today = local_time(at_ms, zone).date(), local_time(now_ms, zone).date()
    near = {0: "Today", 1: "Yesterday"}.get((today - date).days)
    return near or f"{date:%A} {date.day} {date:%B} {date.year}"


def local_time(at_ms: int, zone: tzinfo) -> datetime:
    """Return a time in a zone; what no calendar holds becomes its nearest end."""
    try:
        utc = datetime.fromtimestamp(at_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return (datetime.max if at_ms > 0 else datetime.min).replace(tzinfo=UTC)
    try:
        return utc.astimezone(zone)
    except OverflowError:
        return utc


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 visit`, `1,204 visits`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(rate: float | None) -> str:
    """Return a rate as a percentage with at most one decimal; a dash where there is none."""
    return "–" if rate is None else f"{rate * 100:.1f}".removesuffix(".0") + "\u202f%"


def short(contact_id: str) -> str:
    """Return what an anonymous person is called."""
    return f"Visitor {contact_id[:6]}"


def journal(merge: Merge, person: Person) -> str:
    """Return a line of the merge journal in words."""
    lead = short(merge.lead)
    whom = "This person" if merge.into == person.contact_id else short(merge.into)
    if merge.outcome == "refused":
        if merge.into == person.contact_id:
            return f"{lead} was not joined to this person: another user was there first, so the browser was given a new visitor."
        return "Another user signed in in this person's browser, and was kept apart."
    how = {
        "identify": "when the page said who was signed in",
        "contacts_merge": "on request",
        "convert": "by a conversion over REST",
    }.get(merge.reason, f"({merge.reason})")
    by = {"browser": "", "rest": " over REST", "console": " in the console"}.get(merge.by, f", by {merge.by}")
    proof = "" if merge.by != "browser" else ", verified by a user hash" if merge.verified else ", not verified"
    undone = ". Undone since" if merge.undone_at is not None else ""
    return f"{lead} became part of {whom.replace('This person', 'this person')} {how}{by}{proof}{undone}."
