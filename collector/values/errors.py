"""The closed set of reasons and the one JSON shape in which Leadlight says no.

A `Refusal` is about one value (an event, a field); a `Problem` ends a request. Both carry codes of `Reason` only, so that
callers can rely on them, metrics can count them, and the documentation can list them all (a test compares).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why something was refused, flagged or held back. The text after each member is its documentation."""

    # the request as a whole
    BODY_INVALID = "body_invalid", "The body is not JSON of the expected shape."
    BODY_TOO_LARGE = "body_too_large", "The body is larger than the limit; send it in smaller parts."
    TOO_MANY_ITEMS = "too_many_items", "More items than one request may carry."
    UNAUTHORIZED = "unauthorized", "The access token or sign-in is missing or wrong."
    FORBIDDEN = "forbidden", "The credentials do not allow this."
    NOT_FOUND = "not_found", "There is no such thing on this site."
    METHOD_NOT_ALLOWED = "method_not_allowed", "The address exists, the method does not."
    CONFLICT = "conflict", "It exists already."
    RULE_LIMIT = "rule_limit", "The site has as many event rules by selector as it may have; archive one first."
    NOT_REWINDABLE = "not_rewindable", "The past cannot be told from what is kept; field names the place."
    SIMULATION_RUNNING = "simulation_running", "The site has a simulation under way; wait for its end, or cancel it."
    MERGE_INVALID = "merge_invalid", "Only a lead that belongs to nobody merges, and only into a user."
    CONTACT_MERGED = "contact_merged", "This lead became part of another contact; the Link header names it."
    OVERLOADED = "overloaded", "The collector cannot take more now; try again after Retry-After seconds."
    KEY_MISSING = "key_missing", "This collector lacks a secret key that another one uses; try again after Retry-After seconds."
    INTERNAL = "internal", "An error of the collector's own, which its log names: where the whole request fails, under its id."
    NOT_SUPPORTED = "not_supported", "A part of the contract that this version does not serve yet."
    # the sender
    SITE_UNKNOWN = "site_unknown", "No site has this key."
    WIRE_VERSION_UNKNOWN = "wire_version_unknown", "The tracker speaks a newer version than this collector."
    ORIGIN_NOT_ALLOWED = "origin_not_allowed", "The page's origin is not among the site's allowed origins."
    LEAD_INVALID = "lead_invalid", "The lead is not of the form id.secret."
    LEAD_SECRET_INVALID = "lead_secret_invalid", "The secret does not belong to this lead."
    LEAD_LIMIT = "lead_limit", "More new visitors a minute than the site may bring; try again after Retry-After seconds."
    LEAD_CLAIMED = "lead_claimed", "The lead belongs to another user already."
    LEADS_LIMIT = "leads_limit", "More visitors (1,000), visits or attributes of visitors (10,000) than one user has without a proof."
    USER_ID_INVALID = "user_id_invalid", "A user id is 1 to 255 code points without U+0000 and lone surrogates, and not null or undefined."
    USER_HASH_INVALID = "user_hash_invalid", "The user hash or token does not prove this user id."
    IDENTITY_UNVERIFIED = "identity_unverified", "The site demands a verified user id."
    SESSION_EXPIRED = "session_expired", "The session has ended; identify the user again."
    CONSENT_WITHHELD = "consent_withheld", "The visitor asked not to be tracked (Global Privacy Control)."
    HANDOVER_INVALID = "handover_invalid", "The hand-over was used, is late, another domain's or forged, or the visitor is known already."
    HANDOVER_LIMIT = "handover_limit", "More hand-overs to other domains than wait for one visitor, or come from one site in a minute."
    TEST = "test", "It happened in a page that a test link opened; nothing there is counted."
    BOT = "bot", "Sent by a crawler or an automated browser; not counted."
    # one item
    ITEM_INVALID = "item_invalid", "The item is not of a known type or shape."
    FIELD_MISSING = "field_missing", "A required field is missing."
    FIELD_INVALID = "field_invalid", "The field has the wrong type or a value that is not allowed."
    FIELD_UNKNOWN = "field_unknown", "There is no such field here."
    NAME_INVALID = "name_invalid", "A name is 1 to 120 code points without U+0000 and lone surrogates."
    NAME_LIMIT = "name_limit", "Browsers sent too many new names of events or attributes today."
    ID_INVALID = "id_invalid", "The id is not a UUIDv7, or not text of 1 to 128 code points."
    TIME_INVALID = "time_invalid", "The time is not unix seconds, or is milliseconds, negative or beyond the year 9999."
    TOO_OLD = "too_old", "The event is older than the timeline; only import takes older ones."
    IN_FUTURE = "in_future", "The event lies more than an hour ahead."
    PERSON_UNKNOWN = "person_unknown", "There is no such contact, and the request does not ask to create it."
    PERSON_DELETED = "person_deleted", "The person was deleted on request after this happened."
    METADATA_INVALID = "metadata_invalid", "Metadata is an object of flat, typed values."
    METADATA_TOO_MANY_KEYS = "metadata_too_many_keys", "An event has at most 20 metadata keys."
    METADATA_KEY_INVALID = "metadata_key_invalid", "A key is 1 to 120 code points without . $ and control characters."
    METADATA_KEY_REPEATED = "metadata_key_repeated", "Two keys differ by case only."
    METADATA_VALUE_INVALID = "metadata_value_invalid", "The value is none of the metadata types."
    ATTRIBUTE_INVALID = "attribute_invalid", "The attribute's name or value is not allowed."
    ATTRIBUTE_PROTECTED = "attribute_protected", "An unverified browser may not change this attribute."
    DELIVERY_UNKNOWN = "delivery_unknown", "No such delivery of this message to this person."
    ANSWER_INVALID = "answer_invalid", "The message has no question that takes this answer."
    QUERY_INVALID = "query_invalid", "The query is not of the grammar; field names the place."
    # flags: the value was taken, but changed
    STRING_CUT = "string_cut", "The text was longer than 255 code points (an answer: 2,000) and was cut."
    CHARACTER_REPLACED = "character_replaced", "U+0000 or a lone surrogate became U+FFFD."
    SCHEDULE_OVER = "schedule_over", "Nobody can be shown it: its schedule has ended, or holds no hour before its end."
    CONTENT_IMPOSSIBLE = "content_impossible", "Nobody can be shown it: a variable can have no value, and has no fallback."
    TIME_CLAMPED = "time_clamped", "The time lay after arrival and was set to the arrival."

    meaning: str

    def __new__(cls, code: str, meaning: str) -> "Reason":
        """Make a member that is its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class Refusal(Exception):
    """One value is refused; its good neighbours are not.

    `field` is the path from the item, such as `metadata.price.currency`; `message` says what was expected.
    """

    def __init__(self, code: Reason, field: str | None = None, message: str | None = None) -> None:
        super().__init__(code, field, message)
        self.code = code
        self.field = field
        self.message = message or code.meaning

    def bare(self) -> "Refusal":
        """Return the same to be kept: the one that was raised keeps alive whatever led to it, until Python looks for cycles."""
        return Refusal(self.code, self.field, self.message)

    def as_json(self) -> dict[str, Any]:
        """Return the error object of the one shape."""
        body: dict[str, Any] = {"code": self.code.value, "message": self.message}
        if self.field is not None:
            body["field"] = self.field
        return body


class Problem(Exception):
    """The request ends here with an HTTP status and one or more errors.

    `headers` are added to the answer (`Retry-After`, `Link`).
    """

    def __init__(self, status: int, errors: Sequence[Refusal], headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, list(errors))
        self.status = status
        self.errors = list(errors)
        self.headers = list(headers)

    def as_json(self, request_id: str) -> dict[str, Any]:
        """Return the body of the one error shape."""
        return {"type": "error.list", "request_id": request_id, "errors": [error.as_json() for error in self.errors]}


def problem(
    status: int,
    code: Reason,
    field: str | None = None,
    message: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Problem:
    """Return a Problem with a single error."""
    return Problem(status, [Refusal(code, field, message)], headers)
