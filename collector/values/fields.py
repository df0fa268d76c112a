"""Single values that many callers clean alike: names, user ids, times and addresses."""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import urlsplit

from collector.values.days import day_bounds
from collector.values.errors import Reason, Refusal
from collector.values.text import normalise, storable

MAX_NAME = 120
MAX_USER_ID = 255
MAX_TEXT = 255
MAX_LINK = 2_048
MAX_DIGITS = 1_000  # of a whole number: Python itself refuses to write out more than 4,300

LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ISO_8601 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_EXPECTED = "Expected unix seconds or an ISO 8601 time such as 2026-03-01T09:30:00Z."
_LAST_MS = LAST_SECOND * 1_000 + 999
_TOO_EARLY = "The time is before the year 1."
_MILLISECONDS_HINT = "The time is too large for unix seconds; it looks like milliseconds: divide it by 1000."

# Blanks, control characters and backslashes end or bend an address in one browser or another. Case is ignored for ASCII only:
# otherwise the long s of old prints would pass for the one in https.
_LINK = re.compile(r"(?:(?ai:https?)://[^\s/?#\\\x00-\x1f\x7f]|(?ai:mailto|tel):[^\s\\\x00-\x1f\x7f])[^\s\\\x00-\x1f\x7f]*")
_NOBODY = frozenset({"null", "undefined", "NaN", "None", "[object Object]"})
"""What languages write where a variable is empty: as a user id it would join all who are signed in."""


def clean_event_name(raw: object, *, field: str = "name") -> str:
    """Return an event name of 1 to 120 code points in NFC, without white space around it.

    Raises Refusal (NAME_INVALID) at `field`.
    """
    if not isinstance(raw, str) or not storable(raw):
        raise Refusal(Reason.NAME_INVALID, field)
    name = normalise(raw)
    if not 1 <= len(name) <= MAX_NAME:
        raise Refusal(Reason.NAME_INVALID, field)
    return name


def clean_user_id(raw: object, *, field: str = "user_id") -> str:
    """Return a user id exactly as given, because hashes are computed over it; a whole number becomes its digits.

    Raises Refusal (USER_ID_INVALID) for anything else, for blanks alone, and for what languages write where a variable is empty: it must
    never join two people.
    """
    if isinstance(raw, int) and not isinstance(raw, bool) and exact(raw):
        raw = str(raw)
    if not isinstance(raw, str) or not 1 <= len(raw) <= MAX_USER_ID or not storable(raw) or not raw.strip() or raw in _NOBODY:
        raise Refusal(Reason.USER_ID_INVALID, field)
    return raw


def clean_created_at(raw: object, *, field: str, time_zone: tzinfo = UTC) -> int:
    """Return the milliseconds since 1970 UTC of a time as `parse_time` reads it.

    Raises Refusal (TIME_INVALID) for other types, times before 1970 or after 9999, and milliseconds (with a hint).
    """
    at_ms = parse_time(raw, field=field, time_zone=time_zone)
    if at_ms < 0:
        raise Refusal(Reason.TIME_INVALID, field, "The time is before 1970.")
    return at_ms


def parse_time(raw: object, *, field: str, code: Reason = Reason.TIME_INVALID, time_zone: tzinfo = UTC) -> int:
    """Return the milliseconds since 1970 UTC, negative before it, of unix seconds or an ISO 8601 time (without a zone: UTC).

    A date without a time is the beginning of that day in `time_zone`, the site's, so that `on` that day finds it. The years 1 to
    9999 are allowed, so that a date of birth is. Raises Refusal (`code`).
    """
    if isinstance(raw, str):
        if is_day(raw):
            return _in_range(day_bounds(parse_iso(raw, field=field, code=code).date(), time_zone)[0], field, code)
        moment = parse_iso(raw, field=field, code=code)
        return ms_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC), field=field, code=code)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math_finite(raw):
        raise Refusal(code, field, _TIME_EXPECTED)
    if raw >= LAST_SECOND + 1 or raw < FIRST_SECOND:
        raise Refusal(code, field, _MILLISECONDS_HINT if raw > 0 else _TOO_EARLY)
    return min(round(raw * 1_000), _LAST_MS)


def ms_of(moment: datetime, *, field: str, code: Reason = Reason.TIME_INVALID) -> int:
    """Return the milliseconds since 1970 UTC of an aware time.

    Raises Refusal (`code`) where it lies outside of the years 1 to 9999 in UTC: written as seconds, it would not be read again.
    """
    return _in_range(to_ms(moment), field, code)


def _in_range(at_ms: int, field: str, code: Reason) -> int:
    if not FIRST_SECOND * 1_000 <= at_ms <= _LAST_MS:
        raise Refusal(code, field, "The time is after the year 9999." if at_ms > 0 else _TOO_EARLY)
    return at_ms


def parse_iso(raw: str, *, field: str, code: Reason = Reason.TIME_INVALID) -> datetime:
    """Return an ISO 8601 date or time; naive where no zone is given. Raises Refusal (`code`)."""
    if not _ISO_8601.fullmatch(raw):
        if raw.isascii() and raw.isdigit() and len(raw) >= 12:
            raise Refusal(code, field, _MILLISECONDS_HINT)
        raise Refusal(code, field, _TIME_EXPECTED)
    try:
        return datetime.fromisoformat(raw.upper().replace(",", "."))
    except ValueError as error:
        raise Refusal(code, field, _TIME_EXPECTED) from error


def is_day(raw: object) -> bool:
    """Say whether this is written as a date without a time, `YYYY-MM-DD`."""
    return isinstance(raw, str) and _DAY.fullmatch(raw) is not None


def to_ms(moment: datetime) -> int:
    """Return the milliseconds since 1970 UTC of an aware time."""
    return (moment - EPOCH) // _MILLISECOND


def seconds(at_ms: int) -> int | float:
    """Return milliseconds as unix seconds: a whole number where they are whole."""
    return at_ms // 1_000 if at_ms % 1_000 == 0 else at_ms / 1_000


def math_finite(number: int | float) -> bool:
    """Say whether a number is finite; unlike math.isfinite, for whole numbers of any size."""
    return isinstance(number, int) or math.isfinite(number)


def exact(number: int) -> bool:
    """Say whether a whole number is small enough to be written out (a thousand digits)."""
    return number.bit_length() <= MAX_DIGITS * 3.32


def is_link(text: str, *, web_only: bool = False) -> bool:
    """Say whether the whole text is an address that may become a link: http, https, mailto or tel (`web_only`: the first two)."""
    if _LINK.fullmatch(text) is None:
        return False
    if text[:4].lower() != "http":
        return not web_only
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != -1
    except ValueError:  # an unclosed [ of IPv6, a port that is none
        return False


def shown(raw: object) -> str:
    """Return a short text that says what stood there, fit for an error message."""
    if isinstance(raw, str):
        text = raw if len(raw) <= 40 else raw[:40] + "…"
        return '"' + text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd") + '"'
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    if isinstance(raw, int):
        return str(raw) if raw.bit_length() < 130 else "a very large number"
    if isinstance(raw, float):
        return repr(raw)
    return "a list" if isinstance(raw, list | tuple) else "an object"
