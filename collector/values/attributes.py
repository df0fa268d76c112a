"""Attributes of a person as browsers and REST send them, under canonical names.

A canonical name is a standard one (`email`, `utm_source`), `company.NAME` or `custom_attributes.NAME`: the names that queries use.
Values are text, numbers, booleans or None (unset). Names ending in `_at` are dates, kept as unix seconds.
"""

import re
from datetime import UTC, tzinfo
from typing import Any

from collector.values.errors import Reason, Refusal
from collector.values.fields import MAX_LINK, MAX_TEXT, is_link, parse_time, seconds, shown
from collector.values.metadata import Flag, clean_key, clean_number, clean_text
from collector.values.text import normalise, replace_unstorable, storable
from collector.values.visit_context import VISIT_FIELDS

Value = str | int | float | bool | None

MAX_ATTRIBUTES = 250  # of one call

TEXT_FIELDS = frozenset(
    {"name", "phone", "language_override", "utm_campaign", "utm_content", "utm_medium", "utm_source", "utm_term"},
)
STANDARD_FIELDS = TEXT_FIELDS | {"email", "avatar", "unsubscribed_from_emails", "signed_up_at"}
"""What both browsers and REST may set."""

FALSE_UNTIL_SET = frozenset({"unsubscribed_from_emails", "internal", "has_hard_bounced", "marked_email_as_spam"})
"""What is false, and not unknown, of whoever it was not set of."""

COMPUTED_FIELDS = frozenset(
    {
        "id", "role", "user_id", "external_id", "user_hash", "jwt", "intercom_user_jwt", "updated_at", "last_seen_at", "last_active_at",
        "last_request_at", "session_count", "page_view_count", "first_referrer",
    }
)  # fmt: skip
"""What the collector works out, or what says who somebody is: no attribute, wherever it comes from.

VISIT_FIELDS that are no standard fields to be set are REST's to read; a page's own `browser` or `device` is a custom attribute.
"""

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")


def clean_browser_attributes(raw: object, time_zone: tzinfo = UTC) -> tuple[dict[str, Value], list[Refusal], list[Flag]]:
    """Return the good attributes by canonical name, a refusal for each bad one, and what was changed. Never raises.

    Takes what a page passes to `identify`, `boot` or `update`: standard fields, `company` (or the first of `companies`) and
    anything else as custom attributes. `created_at` means `signed_up_at`, which wins where both are given. Dates without a time
    are days of `time_zone`, the site's.
    """
    if raw is None:
        return {}, [], []
    if not isinstance(raw, dict):
        return {}, [Refusal(Reason.ATTRIBUTE_INVALID, "attributes", f"Expected an object, not {shown(raw)}.")], []
    cleaned: dict[str, Value] = {}
    refusals: list[Refusal] = []
    flags: list[Flag] = []
    for count, (key, value) in enumerate(_flat(raw, refusals)):
        if count >= MAX_ATTRIBUTES:
            refusals.append(Refusal(Reason.TOO_MANY_ITEMS, "attributes", f"One call carries at most {MAX_ATTRIBUTES} attributes."))
            break
        own_flags: list[Flag] = []
        try:
            name, clean = _browser_attribute(key, value, own_flags, time_zone)
        except Refusal as refusal:
            refusals.append(refusal.bare())
            continue
        if name not in cleaned or key != ("created_at",):
            cleaned[name] = clean
            flags += own_flags
    return cleaned, refusals, flags


def clean_rest_contact(raw: object, time_zone: tzinfo = UTC) -> tuple[dict[str, Value], list[Flag]]:
    """Return the attributes of a contact's REST body by canonical name, and what was changed.

    The caller takes out what names the contact (`role`, `external_id`) beforehand; here these are computed fields. REST alone may
    set `internal`. Dates without a time are days of `time_zone`, the site's. Raises Refusal at the first place that is not allowed:
    FIELD_UNKNOWN for a top-level key that is none, ATTRIBUTE_PROTECTED for a computed one, ATTRIBUTE_INVALID or TIME_INVALID for a value.
    """
    if not isinstance(raw, dict):
        raise Refusal(Reason.BODY_INVALID, None, "The body is a JSON object.")
    cleaned: dict[str, Value] = {}
    flags: list[Flag] = []
    for key, value in raw.items():
        if key in {"custom_attributes", "company"}:
            continue
        if key in COMPUTED_FIELDS or key == "created_at" or (key in VISIT_FIELDS and key not in STANDARD_FIELDS):
            raise Refusal(Reason.ATTRIBUTE_PROTECTED, key, "The collector works this field out itself.")
        if key not in STANDARD_FIELDS and key != "internal":
            label = replace_unstorable(key)[:MAX_TEXT] if isinstance(key, str) else ""
            raise Refusal(Reason.FIELD_UNKNOWN, label, "There is no such field; attributes of your own stand in custom_attributes.")
        cleaned[key] = _standard(key, value, key, flags, time_zone)
    for group in ("custom_attributes", "company"):
        members = raw.get(group)
        if members is None:
            continue
        if not isinstance(members, dict):
            raise Refusal(Reason.ATTRIBUTE_INVALID, group, f"Expected an object, not {shown(members)}.")
        if len(members) > MAX_ATTRIBUTES:
            raise Refusal(Reason.TOO_MANY_ITEMS, group, f"One call carries at most {MAX_ATTRIBUTES} attributes.")
        for key, value in members.items():
            name = _member_name(group, key, group)
            if name in cleaned:
                raise Refusal(Reason.ATTRIBUTE_INVALID, name, "The name stands here twice.")
            cleaned[name] = _custom(name, value, name, flags, time_zone)
    return cleaned, flags


def clean_attribute(name: str, value: object) -> tuple[str, Value]:
    """Return one attribute that a browser sets, under its canonical name. `name` as pages write it, or as queries do (`company.size`).

    Raises Refusal (ATTRIBUTE_INVALID, ATTRIBUTE_PROTECTED, TIME_INVALID).
    """
    group, dot, member = name.partition(".")
    path = (group, member) if dot and group in {"company", "custom_attributes"} else (name,)
    return _browser_attribute(path, value, [], UTC)


def clean_email(raw: object, field: str = "email") -> str:
    """Return an email address, trimmed, case kept. Raises Refusal (ATTRIBUTE_INVALID)."""
    if isinstance(raw, str) and storable(raw):
        email = normalise(raw)
        if len(email) <= MAX_TEXT and _EMAIL.fullmatch(email):
            return email
    raise Refusal(Reason.ATTRIBUTE_INVALID, field, f"Expected an email address, not {shown(raw)}.")


def _flat(raw: dict[Any, Any], refusals: list[Refusal]) -> list[tuple[tuple[Any, ...], Any]]:
    """Return every attribute as (path of keys, value); objects that hold attributes are opened."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    for key, value in raw.items():
        if key == "companies":
            companies = value if isinstance(value, list) else []
            if not isinstance(value, list) and value is not None:
                refusals.append(Refusal(Reason.ATTRIBUTE_INVALID, "attributes.companies", f"Expected a list, not {shown(value)}."))
            if len(companies) > 1:
                refusals.append(Refusal(Reason.NOT_SUPPORTED, "attributes.companies[1]", "Only the first company is kept."))
            opened, group = companies[0] if companies else None, "company"
        elif key in {"company", "custom_attributes"}:
            opened, group = value, key
        else:
            found.append(((key,), value))
            continue
        if isinstance(opened, dict):
            found += [((group, member), content) for member, content in opened.items()]
        elif opened is not None:
            refusals.append(Refusal(Reason.ATTRIBUTE_INVALID, f"attributes.{key}", f"Expected an object, not {shown(opened)}."))
    return found


def _browser_attribute(path: tuple[Any, ...], value: object, flags: list[Flag], time_zone: tzinfo) -> tuple[str, Value]:
    if len(path) == 2:
        name = _member_name(path[0], path[1], f"attributes.{path[0]}")
        return name, _custom(name, value, f"attributes.{name}", flags, time_zone)
    key = path[0]
    if key in COMPUTED_FIELDS or key == "internal":
        raise Refusal(Reason.ATTRIBUTE_PROTECTED, f"attributes.{key}", "A browser may not set this field.")
    if key == "created_at":
        return "signed_up_at", _standard("signed_up_at", value, "attributes.created_at", flags, time_zone)
    if key in STANDARD_FIELDS:
        return key, _standard(key, value, f"attributes.{key}", flags, time_zone)
    name = clean_key(key, code=Reason.ATTRIBUTE_INVALID, prefix="attributes")
    return f"custom_attributes.{name}", _custom(name, value, f"attributes.{name}", flags, time_zone)


def _member_name(group: str, key: object, prefix: str) -> str:
    name = clean_key(key, code=Reason.ATTRIBUTE_INVALID, prefix=prefix)
    if group == "company" and name == "company_id":
        name = "id"  # Intercom takes both names
    return f"{group}.{name}"


def _standard(name: str, raw: object, field: str, flags: list[Flag], time_zone: tzinfo) -> Value:
    if raw is None:
        return None
    if name == "email":
        return clean_email(raw, field)
    if name == "avatar":
        return _avatar(raw, field)
    if name == "signed_up_at":
        return seconds(parse_time(raw, field=field, time_zone=time_zone))
    if name in {"unsubscribed_from_emails", "internal"}:
        if isinstance(raw, bool):
            return raw
        raise Refusal(Reason.ATTRIBUTE_INVALID, field, f"Expected true or false, not {shown(raw)}.")
    if isinstance(raw, str):
        return clean_text(raw, field, flags, code=Reason.ATTRIBUTE_INVALID)
    raise Refusal(Reason.ATTRIBUTE_INVALID, field, f"Expected text, not {shown(raw)}.")


def _avatar(raw: object, field: str) -> str:
    """Return the address of a picture, given as such or as Intercom's `{"type": "avatar", "image_url"}`."""
    if isinstance(raw, dict):
        raw, field = raw.get("image_url"), f"{field}.image_url"
    if isinstance(raw, str) and len(raw) <= MAX_LINK and storable(raw) and is_link(raw, web_only=True):
        return raw
    raise Refusal(Reason.ATTRIBUTE_INVALID, field, f"Expected the http or https address of a picture, not {shown(raw)}.")


def _custom(name: str, raw: object, field: str, flags: list[Flag], time_zone: tzinfo) -> Value:
    if raw is None:
        return None
    if name.endswith("_at"):
        return seconds(parse_time(raw, field=field, time_zone=time_zone))
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return clean_number(raw, field, code=Reason.ATTRIBUTE_INVALID)
    if isinstance(raw, str):
        return clean_text(raw, field, flags, code=Reason.ATTRIBUTE_INVALID)
    raise Refusal(Reason.ATTRIBUTE_INVALID, field, f"An attribute is text, a number, true, false or null, not {shown(raw)}.")
