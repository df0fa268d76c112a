"""Event metadata: flat, typed values under at most 20 keys, and how each is shown to people.

What a value is follows from its shape (number, boolean, text, link, `{url, value}`, `{amount, currency}`) and, for dates, from
the key's ending. Cleaned metadata is JSON-ready and cleaning it again changes nothing.
"""

import re
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Any, Literal

from collector.values.errors import Reason, Refusal
from collector.values.fields import EPOCH, MAX_LINK, MAX_NAME, MAX_TEXT, exact, is_link, math_finite, parse_time, seconds, shown
from collector.values.text import fold, normalise, replace_unstorable, storable

MAX_KEYS = 20

Flag = tuple[Reason, str]

# ISO 4217 currencies whose minor unit is not a hundredth.
_CODES_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS = {code: digits for digits, codes in _CODES_BY_DIGITS.items() for code in codes.split()}

_KEY = re.compile(f"[^.$\\x00-\\x1f\\x7f-\\x9f]{{1,{MAX_NAME}}}")
_CURRENCY = re.compile("[A-Za-z]{3}")
_IMAGE = re.compile(r"(?ai:https?)://[^?#]+\.(?ai:avif|gif|jpe?g|png|svg|webp)(?:[?#].*)?")
_STRIPE_ID = re.compile("[A-Za-z]{2,6}_[A-Za-z0-9_]{1,250}")
_STRIPE_PAGES = {"stripe_invoice": "invoices", "stripe_customer": "customers", "stripe_charge": "payments"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def clean_metadata(raw: object, time_zone: tzinfo = UTC, *, lenient: bool = False) -> tuple[dict[str, Any], list[Flag]]:
    """Return the metadata to store and what was changed in it, as (code, field path); `time_zone` is the site's.

    - Keys: NFC, trimmed, case kept, compared without case. Names such as `__proto__` are keys like any other.
    - Text is cut at 255 code points (flagged); addresses keep up to 2,048 and are refused beyond, because half an address is wrong.
    - Dates (`_date`, `_at`) become unix seconds, those without a time the beginning of that day in the site's zone; currencies become
      lower case.
    - A null says nothing and is left out; no metadata at all is an empty object. All keys count towards the 20.

    Raises Refusal with the code and the path of the first place that is not allowed, keys before values. Where it is `lenient` a value
    that is not allowed is left out instead, and flagged by its code and path.
    """
    if raw is None:
        return {}, []
    if not isinstance(raw, dict):
        raise Refusal(Reason.METADATA_INVALID, "metadata")
    if len(raw) > MAX_KEYS:
        raise Refusal(Reason.METADATA_TOO_MANY_KEYS, "metadata")
    cleaned: dict[str, Any] = {}
    flags: list[Flag] = []
    for (key, field, is_date), value in zip(_keys(tuple(raw)), raw.values(), strict=True):
        if value is None:
            continue
        try:
            if is_date:
                cleaned[key] = seconds(parse_time(value, field=field, time_zone=time_zone))
            elif _is_clean(value):
                cleaned[key] = value
            else:
                cleaned[key] = _clean_value(value, field, flags)
        except Refusal as refusal:
            if not lenient:
                raise
            flags.append((refusal.code, refusal.field or field))
    return cleaned, flags


def _is_clean(value: object) -> bool:
    """Say of most values, without going through the rules, that these have nothing to do."""
    kind = type(value)
    if kind is str:
        return len(value) <= MAX_TEXT and value.isascii() and "\x00" not in value  # type: ignore[arg-type,attr-defined,operator]  # it is text
    return kind is bool or (kind is int and -_SMALL < value < _SMALL)  # type: ignore[operator]  # it is a number


_Keys = tuple[tuple[str, str, bool], ...]


def _keys(raw: tuple[object, ...]) -> _Keys:
    """Return each key as it is stored, its path, and whether its value is a date. Events of one name have the same keys."""
    known = _known_keys.get(raw)
    if known is None:
        known = _examined(raw)
        if set(map(type, raw)) == {str} and sum(map(len, raw)) <= _KEPT_KEYS:  # type: ignore[arg-type]  # they are of str
            if len(_known_keys) >= _MOST_KEPT:
                _known_keys.clear()
            _known_keys[raw] = known
    return known


def _examined(raw: tuple[object, ...]) -> _Keys:
    found = []
    seen: set[str] = set()
    for one in raw:
        key = clean_key(one)
        field, folded = f"metadata.{key}", fold(key)
        if folded in seen:
            raise Refusal(Reason.METADATA_KEY_REPEATED, field)
        seen.add(folded)
        found.append((key, field, is_date_key(key)))
    return tuple(found)


_KEPT_KEYS = 512
_SMALL = 2**53
_MOST_KEPT = 2_048
_known_keys: dict[tuple[object, ...], _Keys] = {}


def clean_key(raw: object, *, code: Reason = Reason.METADATA_KEY_INVALID, prefix: str = "metadata") -> str:
    """Return a key in NFC, trimmed: 1 to 120 code points without `.`, `$`, control characters and lone surrogates.

    Raises Refusal (`code`); its field is the prefix and what can be shown of the key.
    """
    if isinstance(raw, str) and storable(raw):
        key = normalise(raw)
        if _KEY.fullmatch(key):
            return key
    label = replace_unstorable(raw)[:MAX_NAME] if isinstance(raw, str) else ""
    raise Refusal(code, f"{prefix}.{label}", "A key is 1 to 120 code points without . $ and control characters.")


def is_date_key(key: str) -> bool:
    """Say whether values under this metadata key are dates."""
    return key.casefold().endswith(("_date", "_at"))


def clean_text(raw: str, field: str, flags: list[Flag], *, code: Reason = Reason.METADATA_VALUE_INVALID) -> str:
    """Return text as it is stored: at most 255 code points, an address whole. Changes are added to `flags`.

    Raises Refusal (`code`) for an address beyond 2,048 code points.
    """
    text = replace_unstorable(raw)
    if text != raw:
        flags.append((Reason.CHARACTER_REPLACED, field))
    if len(text) <= MAX_TEXT:
        return text
    if is_link(text):
        if len(text) > MAX_LINK:
            raise Refusal(code, field, "An address is at most 2048 code points; it is never cut.")
        return text
    flags.append((Reason.STRING_CUT, field))
    return text[:MAX_TEXT]


def clean_number(raw: int | float, field: str, *, code: Reason = Reason.METADATA_VALUE_INVALID) -> int | float:
    """Return a finite number, whole ones exact. Raises Refusal (`code`)."""
    if not math_finite(raw):
        raise Refusal(code, field, "A number is finite.")
    if isinstance(raw, int) and not exact(raw):
        raise Refusal(code, field, "A whole number has at most 1000 digits.")
    return raw


def _clean_value(raw: object, field: str, flags: list[Flag]) -> Any:
    if isinstance(raw, str):
        return clean_text(raw, field, flags)
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return clean_number(raw, field)
    if isinstance(raw, dict):
        if "amount" in raw or "currency" in raw:
            return clean_money(raw, field)
        if "url" in raw:
            return _clean_rich_link(raw, field, flags)
    raise Refusal(
        Reason.METADATA_VALUE_INVALID,
        field,
        f"There is {shown(raw)}; allowed are text, number, boolean, date, {{url, value}} and {{amount, currency}}.",
    )


def clean_money(raw: dict[Any, Any], field: str, *, code: Reason = Reason.METADATA_VALUE_INVALID) -> dict[str, Any]:
    """Return `{amount, currency}`: minor units (negative for a refund) and the ISO 4217 code in lower case. Raises Refusal."""
    _only_keys(raw, ("amount", "currency"), field, code)
    amount, currency = raw.get("amount"), raw.get("currency")
    if isinstance(amount, bool) or not isinstance(amount, int) or not exact(amount):
        raise Refusal(code, f"{field}.amount", "An amount is a whole number of minor units: 34999 for 349.99.")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise Refusal(code, f"{field}.currency", 'A currency is the three letters of ISO 4217, such as "eur".')
    return {"amount": amount, "currency": currency.lower()}


def _clean_rich_link(raw: dict[Any, Any], field: str, flags: list[Flag]) -> dict[str, Any]:
    code = Reason.METADATA_VALUE_INVALID
    _only_keys(raw, ("url", "value"), field, code)
    url, value = raw.get("url"), raw.get("value")
    if not isinstance(url, str) or len(url) > MAX_LINK or not storable(url) or not is_link(url):
        raise Refusal(code, f"{field}.url", "A link is an http, https, mailto or tel address of at most 2048 code points.")
    if not isinstance(value, str) or not value:
        raise Refusal(code, f"{field}.value", "A link's value is the text that is shown.")
    return {"url": url, "value": clean_text(value, f"{field}.value", flags)}


def _only_keys(raw: dict[Any, Any], allowed: tuple[str, ...], field: str, code: Reason) -> None:
    for key in raw:
        if key not in allowed:
            label = replace_unstorable(key)[:MAX_NAME] if isinstance(key, str) else ""
            raise Refusal(code, f"{field}.{label}", f"There is no such key beside {' and '.join(allowed)}.")


@dataclass(frozen=True, slots=True)
class DisplayValue:
    """One value as a person reads it. `text` is plain text; `href`, where there is one, is safe to link or to load."""

    kind: Literal["text", "number", "date", "link", "image", "rich_link", "money", "stripe", "boolean"]
    text: str
    href: str | None = None


def display_value(key: str, value: Any, time_zone: tzinfo) -> DisplayValue:
    """Return how a cleaned value is shown; never fails, whatever older data holds. Dates are shown in the site's zone."""
    if isinstance(value, bool):
        return DisplayValue("boolean", "Yes" if value else "No")
    if isinstance(value, int | float):
        if is_date_key(key) and math_finite(value):
            return DisplayValue("date", date_text(value, time_zone))
        return DisplayValue("number", number_text(value))
    if isinstance(value, dict):
        return _display_object(value)
    text = value if isinstance(value, str) else ""
    page = _STRIPE_PAGES.get(key.casefold())
    if page and _STRIPE_ID.fullmatch(text):
        return DisplayValue("stripe", text, f"https://dashboard.stripe.com/{page}/{text}")
    if is_link(text):
        return DisplayValue("image" if _IMAGE.fullmatch(text) else "link", text, text)
    return DisplayValue("text", text)


def _display_object(value: dict[str, Any]) -> DisplayValue:
    amount, currency = value.get("amount"), value.get("currency")
    if isinstance(amount, int) and isinstance(currency, str):
        return DisplayValue("money", money_text(amount, currency))
    url, text = value.get("url"), value.get("value")
    if isinstance(url, str) and isinstance(text, str):
        return DisplayValue("rich_link", text, url) if is_link(url) else DisplayValue("text", text)
    return DisplayValue("text", "")


def money_text(amount: int, currency: str) -> str:
    """Return minor units as people write them, by the currency's own digits: `EUR 1,349.99`, `JPY 500`, `BHD 1.250`."""
    code = currency.upper()
    digits = _DIGITS.get(code, 2)
    whole, part = divmod(abs(amount), 10**digits)
    sign = "-" if amount < 0 else ""
    return f"{code} {sign}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


def number_text(value: int | float) -> str:
    """Return a number without a needless fraction: 3.0 is `3`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, float) or exact(value) else "a very large number"


def date_text(unix_seconds: int | float, time_zone: tzinfo) -> str:
    """Return unix seconds as `3 Mar 2026, 14:05` in a time zone; what no calendar holds stays a number."""
    try:
        utc = EPOCH + timedelta(seconds=unix_seconds)
    except OverflowError:
        return number_text(unix_seconds)
    try:
        local = utc.astimezone(time_zone)
    except OverflowError:  # the first and the last hours of the calendar
        local = utc.astimezone(UTC)
    return f"{local.day} {_MONTHS[local.month - 1]} {local.year}, {local.hour:02}:{local.minute:02}"
