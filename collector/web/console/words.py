"""Times, numbers and the journal as people read them."""

from datetime import UTC, datetime, tzinfo

import msgspec

from collector.domain.journal import Merge
from collector.domain.people import Person
from collector.values.errors import Reason
from collector.values.wording import ago, counted  # noqa: F401 (templates ask for both here)


class Moment(msgspec.Struct, frozen=True):
    """A time as it is shown: in words, exactly in the site's zone, and for machines."""

    ago: str
    exact: str
    clock: str
    iso: str


class JournalLine(msgspec.Struct, frozen=True):
    """What happened between two people: `name` is the other one, `contact_id` where a profile of its own can be looked at."""

    before: str
    contact_id: str | None
    name: str
    after: str


def moment(at_ms: int, now_ms: int, zone: tzinfo) -> Moment:
    """Return a time as it is shown."""
    local = local_time(at_ms, zone)
    return Moment(
        ago=ago(now_ms - at_ms),
        exact=f"{local:%a} {local.day} {local:%b} {local.year}, {local:%H:%M:%S} {local.tzname() or 'UTC'}",
        clock=f"{local:%H:%M}",
        iso=local.isoformat(timespec="seconds"),
    )


def second(at_ms: int, zone: tzinfo) -> str:
    """Return the time of day to the second in the site's zone."""
    return f"{local_time(at_ms, zone):%H:%M:%S}"


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


def percent(rate: float | None) -> str:
    """Return a rate as a percentage with at most one decimal; a dash where there is none."""
    return "–" if rate is None else f"{rate * 100:.1f}".removesuffix(".0") + "\u202f%"


def short(contact_id: str) -> str:
    """Return what an anonymous person is called."""
    return f"Visitor {contact_id[:6]}"


def journal(merge: Merge, person: Person) -> JournalLine:
    """Return a line of the merge journal as the profile of one of its two sides tells it."""
    visitor, own = short(merge.lead), merge.into == person.contact_id
    if merge.outcome == "refused":
        if merge.reason == Reason.LEADS_LIMIT.value:
            rest = " has as many visitors, visits or attributes of visitors already as join without a proof."
            if own:
                return JournalLine("", merge.lead, visitor, f" was not joined to this person, who{rest}")
            return JournalLine("", merge.into, merge.user, f" signed in here, but{rest}")
        if own:
            rest = " was not joined to this person: it was another user’s already, so the browser was told to begin a new visitor."
            return JournalLine("", merge.lead, visitor, rest)
        which = "this browser" if merge.lead == person.contact_id else f"the browser of {visitor}"
        return JournalLine("", merge.into, merge.user, f" signed in in {which} and was kept apart.")
    how = _HOW.get(merge.reason, f" ({merge.reason})") + by(merge.by)
    how += "" if merge.by != "browser" else ", verified by your server" if merge.verified else ", not verified"
    if own:
        return JournalLine("", merge.lead if merge.undone_at is not None else None, visitor, f" became part of this person{how}.")
    return JournalLine("This visitor became part of ", merge.into, merge.user, f"{how}.")


def by(whom: str | None) -> str:
    """Return where something was asked for, with a blank before it; nothing for a browser, and where it was not written down."""
    return "" if whom is None else _BY.get(whom, f", by {whom}")


_HOW = {
    "identify": " when the page said who was signed in",
    "contacts_merge": " on request",
    "convert": " by a conversion over REST",
}
_BY = {"browser": "", "rest": " over REST", "console": " in the console"}
