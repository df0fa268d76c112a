"""One item of an envelope, cleaned: a wire item becomes an event, a change of attributes or a report, with its time corrected."""

import functools
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from collector.domain import trials
from collector.domain.deliveries import ACTIONS, ANSWERED, Report
from collector.domain.names import PAGE_VIEW
from collector.domain.submissions import AttributeChange, Event
from collector.ingest import wire
from collector.values.attributes import clean_browser_attributes
from collector.values.errors import Reason, Refusal
from collector.values.fields import MAX_NAME, clean_event_name
from collector.values.ids import UUID_LENGTH, uuid7_bytes, uuid7s_bytes
from collector.values.metadata import clean_metadata
from collector.values.page_rules import path_of
from collector.values.questions import MAX_ANSWER
from collector.values.text import replace_unstorable

LATEST_TIME = 253_402_300_800_000
"""The first ms of the year 10000."""
LONGEST_WAY = 60_000
"""No request of the tracker takes this long (ms); it gives up after half of it."""
LONGEST_ADDRESS = 2_048
LONGEST_TITLE = 255

Flags = list[tuple[Reason, str]]


class Times(msgspec.Struct, frozen=True):
    """How a browser's times become the collector's. All in ms.

    `offset` is the one its best round trip gave, `difference` that of this request. They are the same unless the clock was set in between,
    and then nobody knows on which side of that an event lies.
    """

    arrival: int
    sent_at: float
    offset: float
    difference: float
    oldest: int
    time_zone: tzinfo = UTC
    """The site's, of which dates without a time are days."""

    def correct(self, at: float, flags: Flags) -> int:
        """Return the corrected time of something the browser dated `at`.

        Raises:
            Refusal: it is no time, or older than the timeline.
        """
        if not 0 <= at < LATEST_TIME:
            raise Refusal(Reason.TIME_INVALID, "at", "expected milliseconds between 1970 and 9999")
        if at > self.sent_at:
            flags.append((Reason.TIME_CLAMPED, "at"))
            at = self.sent_at
        corrected = int(at + self.offset)
        if self.difference != self.offset:
            # Of the two the later one that can be: nothing is from the future, and most is from a moment ago.
            other = int(at + self.difference)
            if corrected > self.arrival + LONGEST_WAY or corrected < other <= self.arrival:
                corrected = other
        if corrected > self.arrival:
            return self.arrival
        if corrected < self.oldest:
            raise Refusal(Reason.TOO_OLD, "at")
        return corrected


def times(sender: wire.Sender, now_ms: int, retention_ms: int, time_zone: tzinfo) -> Times:
    """Return the correction for one request: the browser's best round trip, else this request's own difference."""
    sent_at = sender.sent_at if 0 <= sender.sent_at < LATEST_TIME else now_ms
    difference = now_ms - sent_at
    offset = sender.offset if sender.offset is not None and abs(sender.offset) < LATEST_TIME else difference
    if abs(offset - difference) < LONGEST_WAY:
        difference = offset
    return Times(now_ms, sent_at, offset, difference, now_ms - retention_ms, time_zone)


def shown_url(page: wire.Page) -> str:
    """Return the address of the page now shown, as rules about pages ask it."""
    return replace_unstorable(trials.without(page.url))[:LONGEST_ADDRESS]


class Events:
    """Cleans the events of one envelope. Most are of one visit and of few pages, one after the other, so the last ones are kept at hand."""

    def __init__(self, found: Sequence[object], when: Times) -> None:
        self._when = when
        self._ids = _event_ids(found)
        self._visit: tuple[str | None, bytes | None] = (None, None)
        self._page: wire.Page | None = None
        self._described: tuple[str | None, str | None] = (None, _EMPTY_VIEW)

    def clean(self, item: wire.EventItem, flags: Flags) -> Event:
        """Return an event, or raise the Refusal that says what is wrong with it."""
        event_id = self._ids.get(item.id) or uuid7_bytes(item.id)
        if event_id is None:
            raise Refusal(Reason.ID_INVALID, "id", "expected a UUIDv7")
        name = _name(item.name)
        if item.repeat and name != PAGE_VIEW:
            raise Refusal(Reason.FIELD_INVALID, "repeat", f"only a {PAGE_VIEW} is one")
        at = self._when.correct(item.at, flags)
        if item.visit != self._visit[0]:
            self._visit = (item.visit, None if item.visit is None else view_bytes(item.visit))
        if self._visit[1] is None and item.visit is not None:  # whatever stood in the browser's storage costs the visit, not the event
            flags.append((Reason.ID_INVALID, "visit"))
        if item.page != self._page:
            self._page, self._described = item.page, (None, _EMPTY_VIEW) if item.page is None else _page(item.page)
        page, metadata = self._described
        if name != PAGE_VIEW:
            metadata = None
            if item.metadata is not None:
                cleaned, found = clean_metadata(item.metadata, self._when.time_zone, lenient=True)
                flags += found
                metadata = _json(cleaned)
        return Event(event_id, name, at, self._visit[1], page, metadata, item.repeat)


def _event_ids(found: Sequence[object]) -> dict[str, bytes]:
    """Return the ids of the events among the items of an envelope where all of them are in order, else none of them."""
    texts = [item.id for item in found if isinstance(item, wire.EventItem)]
    made = uuid7s_bytes(texts) if texts else None
    return {} if made is None else dict(zip(texts, made, strict=True))


def clean_change(item: wire.IdentifyItem, when: Times, flags: Flags) -> tuple[AttributeChange, list[Refusal]]:
    """Return the good attributes of an identify item and the refusals of the bad ones."""
    at = when.correct(item.at, flags)
    values, refusals, found = clean_browser_attributes({} if item.attributes is None else item.attributes, when.time_zone)
    flags += found
    return AttributeChange(values, at), refusals


def clean_report(item: wire.MessageItem, when: Times, flags: Flags) -> Report:
    """Return what is said of a shown message."""
    if item.action not in ACTIONS:
        raise Refusal(Reason.FIELD_INVALID, "action", f"expected one of {', '.join(ACTIONS)}")
    if (item.action == ANSWERED) is (item.answer is None):
        code = Reason.FIELD_MISSING if item.answer is None else Reason.FIELD_INVALID
        raise Refusal(code, "answer", f"it goes with the action {ANSWERED}, and only with that")
    link = None if item.link is None else replace_unstorable(item.link)[:LONGEST_ADDRESS]
    answer = _answer(item.answer, flags) if isinstance(item.answer, str) else item.answer
    message, delivery = replace_unstorable(item.message), replace_unstorable(item.delivery)
    return Report(message, delivery, item.action, when.correct(item.at, flags), link, answer)


def _answer(raw: str, flags: Flags) -> str:
    text = replace_unstorable(raw)
    if text != raw:
        flags.append((Reason.CHARACTER_REPLACED, "answer"))
    if len(text.strip()) > MAX_ANSWER:
        flags.append((Reason.STRING_CUT, "answer"))
    return text.strip()[:MAX_ANSWER].rstrip()


def page_metadata(page: dict[str, str]) -> dict[str, str]:
    """Return the metadata of a page view: url, path, title, referrer."""
    metadata = {"url": page.get("url", ""), "path": path_of(page.get("url", ""))}
    for key in ("title", "referrer"):
        if page.get(key):
            metadata[key] = page[key]
    return metadata


_KEPT_PAGE = 512

# The same names, visits and pages come again and again. What is kept of them is bounded in number and in size.


def view_bytes(text: str) -> bytes | None:
    """Return the 16 bytes of the number of a view or a visit, which many events share, or None for what is no UUIDv7."""
    return _visit(text) if len(text) == UUID_LENGTH else None


def _name(raw: object) -> str:
    return _known_name(raw) if isinstance(raw, str) and len(raw) <= MAX_NAME else clean_event_name(raw)


def _page(page: wire.Page) -> tuple[str | None, str | None]:
    """Return a page as it is stored, and the metadata of its view (JSON texts)."""
    size = len(page.url) + len(page.title) + len(page.referrer)
    return _known_page(page) if size <= _KEPT_PAGE else _described(page)


def _described(page: wire.Page) -> tuple[str | None, str | None]:
    longest = {"url": LONGEST_ADDRESS, "referrer": LONGEST_ADDRESS, "title": LONGEST_TITLE}
    cleaned = {key: replace_unstorable(getattr(page, key))[:most] for key, most in longest.items()}
    kept = {key: value for key, value in cleaned.items() if value}
    return _json(kept), _json(page_metadata(kept))


def _json(value: dict[str, Any]) -> str | None:
    return _encode(value).decode() if value else None


_encode = msgspec.json.Encoder().encode
_EMPTY_VIEW = _json(page_metadata({}))
_known_name = functools.lru_cache(maxsize=2_048)(clean_event_name)
_known_page = functools.lru_cache(maxsize=2_048)(_described)
_visit = functools.lru_cache(maxsize=4_096)(uuid7_bytes)
