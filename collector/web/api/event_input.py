"""One event of a REST body, cleaned: as `POST /events` writes it, or as an item of `/events/batch`.

The two differ in names only: Intercom's single event names the contact `id`, so its own id is `event_id`; in a batch `id` is the
event's and `contact_id` the contact.
"""

import json
from datetime import tzinfo
from typing import Any

import msgspec

from collector.domain.identities import Key
from collector.domain.submissions import Event
from collector.values.attributes import clean_email
from collector.values.clock import REST_AHEAD
from collector.values.errors import Reason, Refusal
from collector.values.fields import clean_created_at, clean_event_name, clean_user_id, shown
from collector.values.ids import derived_event_id, event_id_time, uuid7_bytes
from collector.values.metadata import Flag, clean_metadata
from collector.values.text import fold, storable
from collector.web.api.body import unknown_key

LONGEST_ID = 128


class Dialect(msgspec.Struct, frozen=True):
    """What the fields are called."""

    event_id: str
    contact_id: str
    extra: frozenset[str] = frozenset()

    @property
    def fields(self) -> frozenset[str]:
        """Every key an event may have."""
        return frozenset({self.event_id, self.contact_id, "event_name", "created_at", "user_id", "email", "metadata"}) | self.extra


SINGLE = Dialect("event_id", "id", frozenset({"create_contact"}))
ITEM = Dialect("id", "contact_id")


class Address(msgspec.Struct, frozen=True):
    """Whom the client means: `kind` is contact, user or email; emails are folded and compare so."""

    kind: str
    value: str


class Draft(msgspec.Struct, frozen=True):
    """A clean event that waits for its person. `at` in ms; `own_id` is what the client gave, `field` where it named the person."""

    name: str
    at: int
    address: Address
    field: str
    email: str | None
    own_id: str | None
    metadata: dict[str, Any]
    flags: list[Flag]

    def event(self, salt: bytes, same: Key) -> Event:
        """Return the event to store; `same` is the identity that equal events without an id share."""
        if self.own_id is None:
            second = self.at // 1000 * 1000
            canonical = json.dumps(self.metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            number = derived_event_id(salt, second, "rest", *same, self.name, canonical)
        else:
            number = uuid7_bytes(self.own_id) or derived_event_id(salt, self.at, "rest-id", self.own_id)
        metadata = json.dumps(self.metadata, ensure_ascii=False) if self.metadata else None
        return Event(number, self.name, self.at, metadata=metadata)


def clean(raw: dict[str, Any], dialect: Dialect, time_zone: tzinfo, now_ms: int, retention_ms: int) -> Draft:
    """Return a clean event; `time_zone` is the site's.

    Raises:
        Refusal: the first thing that is wrong with it.
    """
    unknown = unknown_key(raw, dialect.fields)
    if unknown is not None:
        raise Refusal(Reason.FIELD_UNKNOWN, unknown)
    if raw.get("event_name") is None:
        raise Refusal(Reason.FIELD_MISSING, "event_name")
    name = clean_event_name(raw["event_name"], field="event_name")
    address, field = _address(raw, dialect)
    own_id = _own_id(raw, dialect)
    at = _time(raw.get("created_at"), time_zone, now_ms, retention_ms)
    if own_id is not None and raw.get("created_at") is None:
        _check_age(own_id, dialect, now_ms, retention_ms)
    metadata, flags = clean_metadata(raw.get("metadata"), time_zone)
    email = clean_email(raw["email"]) if address.kind == "email" else None
    return Draft(name, at, address, field, email, own_id, metadata, flags)


def _address(raw: dict[str, Any], dialect: Dialect) -> tuple[Address, str]:
    """Return whom the event is about, and the field that says so."""
    given = [field for field in (dialect.contact_id, "user_id", "email") if raw.get(field) is not None]
    if len(given) != 1:
        code = Reason.FIELD_INVALID if given else Reason.FIELD_MISSING
        field = given[1] if given else "user_id"
        raise Refusal(code, field, f"expected exactly one of {dialect.contact_id}, user_id and email")
    field = given[0]
    if field == "user_id":
        return Address("user", clean_user_id(raw[field])), field
    if field == "email":
        return Address("email", fold(clean_email(raw[field]))), field
    if not isinstance(raw[field], str) or not storable(raw[field]):
        raise Refusal(Reason.FIELD_INVALID, field, f"expected the id of a contact, not {shown(raw[field])}")
    return Address("contact", raw[field]), field


def _own_id(raw: dict[str, Any], dialect: Dialect) -> str | None:
    """Return the client's own id of the event. Only a UUIDv7 carries a time; any other id needs `created_at` to be found again."""
    own = raw.get(dialect.event_id)
    if own is None:
        return None
    if not isinstance(own, str) or not 1 <= len(own) <= LONGEST_ID or not storable(own):
        raise Refusal(Reason.ID_INVALID, dialect.event_id)
    if raw.get("created_at") is None and uuid7_bytes(own) is None:
        raise Refusal(Reason.FIELD_MISSING, "created_at", f"an {dialect.event_id} that is no UUIDv7 needs created_at, the same each time")
    return own


def _check_age(own_id: str, dialect: Dialect, now_ms: int, retention_ms: int) -> None:
    """Refuse an id that nothing else gives a time and that is older than the timeline: whether it was counted nobody knows any more.

    Nor would anybody know that later of one that lies ahead.
    """
    made = uuid7_bytes(own_id)
    if made is not None and event_id_time(made) > now_ms + REST_AHEAD:
        raise Refusal(Reason.IN_FUTURE, dialect.event_id, "its time lies over an hour ahead; give created_at as well, the same each time")
    if made is not None and event_id_time(made) < now_ms - retention_ms:
        raise Refusal(
            Reason.TOO_OLD,
            dialect.event_id,
            "its time is older than the timeline; give created_at as well, the same each time",
        )


def _time(raw: Any, time_zone: tzinfo, now_ms: int, retention_ms: int) -> int:
    if raw is None:
        return now_ms
    at = clean_created_at(raw, field="created_at", time_zone=time_zone)
    if at < now_ms - retention_ms:
        raise Refusal(Reason.TOO_OLD, "created_at")
    if at > now_ms + REST_AHEAD:
        raise Refusal(Reason.IN_FUTURE, "created_at")
    return at


def field_of(reason: Reason) -> str | None:
    """Return the field of an event that the ledger refused for this reason; None where none is to blame."""
    if reason is Reason.INTERNAL:
        return None
    return "created_at" if reason in (Reason.PERSON_DELETED, Reason.TOO_OLD) else "event_name"
