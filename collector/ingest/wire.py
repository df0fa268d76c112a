"""Typed decoding of the wire format (static/WIRE.md). An envelope fails as a whole; an item fails alone.

The fast decoder refuses lone surrogates outright, but they may stand in one bad value among good ones: then the standard
library's decoder reads the text, and the rules for text (values/text) decide what becomes of it.
"""

import contextlib
import json
import re
from typing import Any, TypeVar

import msgspec

from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import MAX_DIGITS

MOST_ITEMS = 500
LATEST_VERSION = 1


class Versioned(msgspec.Struct, frozen=True):
    """What every version says of itself."""

    v: int


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user id a page asserts, and what it gave to prove it."""

    id: Any
    hash: Any = None
    jwt: Any = None
    session: str | None = None


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Where an event happened; the address is filtered by the tracker's allow list."""

    url: str = ""
    title: str = ""
    referrer: str = ""


class EventItem(msgspec.Struct, frozen=True, tag="event", tag_field="type", forbid_unknown_fields=True, gc=False):
    """An event; `at` in ms of the browser's clock."""

    id: str
    name: Any
    at: int | float
    visit: str | None = None
    view: str | None = None
    page: Page | None = None
    metadata: Any = None
    repeat: bool = False
    """Says who is here now, in a view that the collector hears of from whoever was: it is never stored."""


class IdentifyItem(msgspec.Struct, frozen=True, tag="identify", tag_field="type", forbid_unknown_fields=True):
    """Attributes of the sender."""

    at: int | float
    attributes: Any = None


class MessageItem(msgspec.Struct, frozen=True, tag="message", tag_field="type", forbid_unknown_fields=True):
    """What became of a shown message."""

    message: str
    delivery: str
    action: str
    at: int | float
    link: str | None = None
    answer: str | int | None = None


Item = EventItem | IdentifyItem | MessageItem


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """What every request of the tracker says of its sender."""

    v: int
    site: str
    lead: str
    sent_at: int | float
    user: User | None = None
    offset: int | float | None = None
    consent: str | None = None
    automation: str | None = None


class Post(Sender, frozen=True, kw_only=True):
    """What stands around the items; `view` and `page`, of the page now shown, with a poll, which has none."""

    dropped: int = 0
    view: str | None = None
    page: Page | None = None


class Envelope(Post, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST collect."""

    items: list[msgspec.Raw]


class WholeEnvelope(Post, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same with every item of a known shape, as nearly all are."""

    items: list[Item]


class LooseEnvelope(Post, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same where the fast decoder could not read the text."""

    items: list[Any]


AnyEnvelope = WholeEnvelope | Envelope | LooseEnvelope


class ClaimRequest(Sender, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST claim."""

    message: str
    nonce: str
    page: Page
    view: str | None = None
    event: str | None = None
    trigger: str | None = None


class HandoverRequest(Sender, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST handover; `to` is the domain that the link leads to."""

    to: str


class TakeRequest(Sender, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST handover/take; `handover` is the link's parameter, the sender who gives way to the lead it stands for."""

    handover: str


_Request = TypeVar("_Request", bound=Sender)

_whole_envelope = msgspec.json.Decoder(WholeEnvelope)
_envelope = msgspec.json.Decoder(Envelope)
_item = msgspec.json.Decoder(Item)


def decode_envelope(body: bytes) -> AnyEnvelope:
    """Return the envelope. Where all of it is in order it is read at once, else its items stay as they are, for `decode_item`.

    Raises:
        Problem: 400, naming the field.
    """
    try:
        envelope: AnyEnvelope = _whole_envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        envelope = _decode_by_items(body)
    _check(envelope)
    if len(envelope.items) > MOST_ITEMS:
        raise problem(413, Reason.TOO_MANY_ITEMS, "items", f"expected at most {MOST_ITEMS} items, got {len(envelope.items)}")
    return envelope


def _decode_by_items(body: bytes) -> Envelope | LooseEnvelope:
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError as error:
        raise _bad_body(error, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        envelope: LooseEnvelope = _convert(body, LooseEnvelope)
        return envelope


def decode(body: bytes, kind: type[_Request]) -> _Request:
    """Return a request of another kind than an envelope.

    Raises:
        Problem: 400, naming the field.
    """
    try:
        request = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _bad_body(error, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = _convert(body, kind)
    _check(request)
    return request


def decode_item(raw: Any) -> Item:
    """Return one item of an envelope, whether it was decoded with it or not.

    Raises:
        Refusal: it is of no known type or shape.
    """
    if isinstance(raw, EventItem | IdentifyItem | MessageItem):
        return raw
    try:
        item: Item = _decode_raw(raw) if isinstance(raw, msgspec.Raw) else msgspec.convert(raw, Item)
    except msgspec.ValidationError as error:
        code, field, message = explain(error)
        raise Refusal(Reason.ITEM_INVALID if code is Reason.FIELD_INVALID and field is None else code, field, message) from None
    except UnicodeError:
        raise Refusal(Reason.ITEM_INVALID, None, "a lone surrogate stands where none may be") from None
    except (ValueError, RecursionError):
        raise Refusal(Reason.ITEM_INVALID, None, "expected a JSON object, not nested too deeply") from None
    return item


def _decode_raw(raw: msgspec.Raw) -> Item:
    try:
        item: Item = _item.decode(raw)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        item = msgspec.convert(_loads(bytes(raw)), Item)
    return item


def explain(error: msgspec.ValidationError) -> tuple[Reason, str | None, str]:
    """Return code, field path and sentence of a decoder's complaint."""
    text, _, place = str(error).partition(" - at `")
    path = place.rstrip("`").removeprefix("$").lstrip(".").replace("[...]", "")
    named = re.search(r"field `([^`]+)`", text)
    if named is not None:
        path = f"{path}.{named[1]}" if path else named[1]
        unknown = "unknown field" in text
        return (
            (Reason.FIELD_UNKNOWN if unknown else Reason.FIELD_MISSING),
            path,
            ("unknown field" if unknown else "required field is missing"),
        )
    return Reason.FIELD_INVALID, path or None, text[:1].lower() + text[1:]


def loads(body: bytes) -> Any:
    """Return any JSON, lone surrogates and all.

    Raises:
        Problem: 400.
    """
    try:
        return _loads(body)
    except RecursionError:
        raise problem(400, Reason.BODY_INVALID, None, "the JSON is nested too deeply") from None
    except ValueError:
        raise problem(400, Reason.BODY_INVALID, None, "expected JSON in UTF-8") from None


def _loads(body: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse, parse_int=_whole)


def _whole(digits: str) -> int | float:
    """Return a whole number; one too long to be written out again becomes infinite, which costs its own item alone."""
    return int(digits) if len(digits) <= MAX_DIGITS else float("inf")


def _convert(body: bytes, kind: type[Any]) -> Any:
    value = loads(body)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _bad_body(error, body) from None
    except UnicodeError:  # a lone surrogate where the decoder wants to show it
        raise problem(400, Reason.BODY_INVALID, None, "the envelope holds a lone surrogate outside of its items") from None


def _check(sender: Sender | Versioned) -> None:
    if not 1 <= sender.v <= LATEST_VERSION:
        raise problem(400, Reason.WIRE_VERSION_UNKNOWN, "v", f"expected 1 to {LATEST_VERSION}, got {sender.v}")


def _bad_body(error: msgspec.ValidationError, body: bytes) -> Exception:
    # Another version may have other fields: then that is what is wrong, not they.
    with contextlib.suppress(msgspec.ValidationError):
        _check(msgspec.convert(loads(body), Versioned))
    code, field, message = explain(error)
    return problem(400, Reason.BODY_INVALID if field is None else code, field, message)
