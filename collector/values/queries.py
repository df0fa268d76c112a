"""The query language: from JSON to the typed tree of `query_tree`, or a refusal that names the place.

The grammar is Intercom's contact search (`{"field", "operator", "value"}`, groups with AND, OR, NOT) with rules about events and
messages. Every refusal says what stood there and what is allowed.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, timedelta, tzinfo
from typing import Any

from collector.values.attributes import STANDARD_FIELDS
from collector.values.errors import Reason, Refusal
from collector.values.fields import EPOCH, clean_event_name, exact, is_day, math_finite, parse_time, shown
from collector.values.metadata import clean_key, clean_money, is_date_key
from collector.values.query_tree import (
    DAYS,
    EQUALITY,
    EVENT_FIELDS,
    MESSAGE_FIELDS,
    OPERATORS,
    ORDER,
    PRESENCE,
    SETS,
    SPANS,
    TEXT,
    AttributeRule,
    EventMeasure,
    EventRule,
    Group,
    Kind,
    Measure,
    MessageMeasure,
    MessageRule,
    Money,
    Node,
    Test,
    WhereRule,
    measure_key,
    typed,
)
from collector.values.text import fold, storable
from collector.values.visit_context import VISIT_FIELDS

MAX_NODES = 200
MAX_LIST = 1_000
MAX_LISTED = 20_000
"""Values in all lists of a query together."""
MAX_VALUE = 2_048  # code points of a text to compare with
MAX_SPAN = 10_000_000  # days, hours or minutes

GROUPS = frozenset({"AND", "OR", "NOT"})
PERSON_FIELDS = STANDARD_FIELDS | VISIT_FIELDS | {
    "id", "role", "external_id", "owner_id", "email_domain", "formatted_phone", "created_at", "updated_at", "last_seen_at",
    "last_active_at", "last_contacted_at", "last_replied_at", "last_email_opened_at", "last_email_clicked_at", "location.country",
    "location.region", "location.city", "marked_email_as_spam", "has_hard_bounced", "segment_id", "tag_id", "session_count",
    "page_view_count", "internal",
    "android_app_name", "android_app_version", "android_device", "android_last_seen_at", "android_os_version", "android_sdk_version",
    "ios_app_name", "ios_app_version", "ios_device", "ios_last_seen_at", "ios_os_version", "ios_sdk_version",
}  # fmt: skip
"""The standard fields a query may name, beside `company.NAME` and `custom_attributes.NAME`."""

_SECONDS = re.compile("-?[0-9]{1,11}")
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse(raw: object, *, retention_days: int, field: str = "query", time_zone: tzinfo = UTC) -> Node:
    """Return the tree of a query.

    `retention_days` bounds `within_days`; `field` is the name of the query itself in the paths of refusals. Where an instant is
    compared with a date, that is the beginning of the day in `time_zone`, the site's; the tree says so in full, and means the same
    wherever it is read again. Raises Refusal (QUERY_INVALID), such as for `query.value[1].operator`.
    """
    return _Parser(retention_days, time_zone).node(raw, field)


def parse_where(raw: object, *, field: str, time_zone: tzinfo = UTC) -> tuple[WhereRule, ...]:
    """Return conditions on an event's metadata, all of which must hold; none for null. Raises Refusal (QUERY_INVALID)."""
    return _Parser(0, time_zone).where(raw, field)


def attribute_name(raw: object, field: str) -> str:
    """Return the canonical name of a field of people. Raises Refusal (QUERY_INVALID)."""
    if isinstance(raw, str):
        if raw in PERSON_FIELDS:
            return raw
        group, dot, name = raw.partition(".")
        if dot and group in {"custom_attributes", "company"}:
            try:
                return f"{group}.{clean_key(name)}"
            except Refusal as refusal:
                raise _why(refusal, field, raw) from refusal
    raise _refusal(field, raw, "a standard field such as email, custom_attributes.NAME or company.NAME")


class _Parser:
    """Reads one query; counts its nodes, so that neither size nor depth can do harm."""

    def __init__(self, retention_days: int, time_zone: tzinfo) -> None:
        self.retention_days = retention_days
        self.time_zone = time_zone
        self.nodes = 0
        self.listed = 0

    def node(self, raw: object, field: str) -> Node:
        self.count(field)
        if not isinstance(raw, dict):
            raise _refusal(field, raw, "a rule or a group")
        if "event" in raw:
            measure = self.event(raw, field, ("operator", "value"))
            return EventRule(measure, self.test(raw, EVENT_FIELDS[measure.field], field))
        if "message" in raw:
            message = self.message(raw, field, ("operator", "value"))
            return MessageRule(message, self.test(raw, "time", field))
        if "field" in raw:
            _only_keys(raw, ("field", "operator", "value"), field)
            name = attribute_name(raw["field"], f"{field}.field")
            if name == "segment_id":
                _choice(raw, "operator", EQUALITY | SETS | PRESENCE, field)
            return AttributeRule(name, self.test(raw, "time" if name.endswith("_at") else "any", field))
        if "operator" not in raw:
            keys = ", ".join(shown(key) for key in raw)
            allowed = "a rule with a field, an event or a message, or a group with an operator and a value"
            raise Refusal(Reason.QUERY_INVALID, field, f"There is an object with {keys or 'no keys'}; expected {allowed}.")
        return self.group(raw, field)

    def group(self, raw: dict[str, Any], field: str) -> Group:
        _only_keys(raw, ("operator", "value"), field)
        operator = _choice(raw, "operator", GROUPS, field)
        rules = raw.get("value", _MISSING)
        if not isinstance(rules, list) or not rules:
            raise _refusal(f"{field}.value", rules, "a list of at least one rule")
        # A loop, not a comprehension: each level of nesting costs two frames instead of three.
        children: list[Node] = []
        for place, rule in enumerate(rules):
            children.append(self.node(rule, f"{field}.value[{place}]"))
        return Group(operator, tuple(children))

    def event(self, raw: dict[str, Any], field: str, others: tuple[str, ...] = ()) -> EventMeasure:
        _only_keys(raw, ("event", "field", "where", "within_days", *others), field)
        try:
            name = clean_event_name(raw["event"])
        except Refusal as refusal:
            raise _refusal(f"{field}.event", raw["event"], "the name of an event") from refusal
        what = _choice(raw, "field", EVENT_FIELDS, field)
        where = self.where(raw.get("where"), f"{field}.where")
        within = raw.get("within_days")
        if within is not None and (isinstance(within, bool) or not isinstance(within, int) or not 1 <= within <= self.retention_days):
            raise _refusal(f"{field}.within_days", within, f"whole days from 1 to {self.retention_days}, which the timeline covers")
        return EventMeasure(name, what, where, within, measure_key(name, where, within))

    def message(self, raw: dict[str, Any], field: str, others: tuple[str, ...] = ()) -> MessageMeasure:
        _only_keys(raw, ("message", "field", *others), field)
        message = raw["message"]
        if not isinstance(message, str) or not 1 <= len(message) <= 128 or not storable(message):
            raise _refusal(f"{field}.message", message, "the id of a message")
        return MessageMeasure(message, _choice(raw, "field", MESSAGE_FIELDS, field))

    def where(self, raw: object, field: str) -> tuple[WhereRule, ...]:
        if raw is None:
            return ()
        if not isinstance(raw, list):
            raise _refusal(field, raw, "a list of conditions on metadata")
        return tuple([self.condition(rule, f"{field}[{place}]") for place, rule in enumerate(raw)])

    def condition(self, raw: object, field: str) -> WhereRule:
        self.count(field)
        if not isinstance(raw, dict):
            raise _refusal(field, raw, "a condition with field, operator and value")
        _only_keys(raw, ("field", "operator", "value"), field)
        name = raw.get("field", _MISSING)
        parts = name.split(".") if isinstance(name, str) else []
        part = parts[2] if len(parts) == 3 else None
        if len(parts) not in {2, 3} or parts[0] != "metadata" or part not in {None, "amount", "currency", "url", "value"}:
            raise _refusal(f"{field}.field", name, "metadata.KEY, or its amount, currency, url or value")
        try:
            key = clean_key(parts[1])
        except Refusal as refusal:
            raise _why(refusal, f"{field}.field", name) from refusal
        test = self.test(raw, "time" if part is None and is_date_key(key) else "any", field, stored=True)
        if part == "currency":
            test = _lower_currency(test)
        return WhereRule(key, part, test)

    def test(self, raw: dict[str, Any], kind: Kind, field: str, *, stored: bool = False) -> Test:
        """Read operator and value; `stored` values are compared with plain values only, never with a measure."""
        operator = _choice(raw, "operator", OPERATORS[kind], field)
        value, place = raw.get("value"), f"{field}.value"
        if operator in PRESENCE:
            if value is not None:
                raise _refusal(place, value, f"nothing, because {operator} takes no value")
            return Test(kind, operator)
        if "value" not in raw:
            raise _refusal(place, _MISSING, f"the value that {operator} compares with")
        if value is None and operator in EQUALITY:
            # Intercom asks this way whether anything is known.
            return Test(kind, "is_unknown" if operator == "=" else "has_any_value")
        if isinstance(value, dict) and not stored and operator in EQUALITY | ORDER:
            measure = self.measure(value, kind, place)
            return Test(kind, operator, measure, measure)
        if operator in DAYS:
            return Test(kind, operator, value, _day(value, place))
        if operator in SPANS:
            return Test(kind, operator, value, _span(value, SPANS[operator], place))
        if kind == "time":
            value = self.begun(value, place)
        if operator in SETS:
            self.list(value, place)
            return _set_test(kind, operator, value, place, stored=stored)
        if isinstance(value, dict) and stored and kind == "any" and operator in EQUALITY | ORDER:
            money = _money(value, place)
            return Test(kind, operator, money, money)
        return Test(kind, operator, value, _operand(kind, operator, value, place))

    def begun(self, value: Any, field: str) -> Any:
        """Return when the days begin that an instant is compared with, written in full; anything else as it is."""
        if isinstance(value, list) and len(value) <= MAX_LIST:
            return [one if isinstance(one, list) else self.begun(one, f"{field}[{place}]") for place, one in enumerate(value)]
        if not is_day(value):
            return value
        try:
            at_ms = parse_time(value, field=field, time_zone=self.time_zone)
        except Refusal as refusal:
            raise _why(refusal, field, value) from refusal
        return (EPOCH + timedelta(milliseconds=at_ms)).isoformat()

    def measure(self, raw: dict[str, Any], kind: Kind, field: str) -> Measure:
        self.count(field)
        measure: Measure
        if "event" in raw:
            measure = self.event(raw, field)
            found = EVENT_FIELDS[measure.field]
        elif "message" in raw:
            measure, found = self.message(raw, field), "time"
        else:
            raise _refusal(field, raw, "a plain value, or a measure with an event or a message")
        if found != ("count" if kind == "any" else kind):
            allowed = "first or last of an event, or what was done with a message" if kind == "time" else "the count of an event"
            raise _refusal(f"{field}.field", measure.field, f"{allowed}: nothing else is compared with this")
        return measure

    def list(self, value: object, field: str) -> None:
        self.listed += len(value) if isinstance(value, list) else 0
        if self.listed > MAX_LISTED:
            found = f"There are {self.listed:,} values in lists up to here"
            raise Refusal(Reason.QUERY_INVALID, field, f"{found}; allowed are at most {MAX_LISTED:,} in a query.")

    def count(self, field: str) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            number = f"the rule, condition or group number {self.nodes}"
            raise Refusal(Reason.QUERY_INVALID, field, f"There is {number}; allowed are at most {MAX_NODES} in a query.")


def _set_test(kind: Kind, operator: str, value: object, field: str, *, stored: bool) -> Test:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIST:
        raise _refusal(field, value, f"a list of 1 to {MAX_LIST} values")
    items: list[Any] = []
    operands: list[Any] = []
    for place, item in enumerate(value):
        if isinstance(item, dict) and stored and kind == "any":
            items.append(_money(item, f"{field}[{place}]"))
            operands.append(items[-1])
        else:
            items.append(item)
            operands.append(typed(_operand(kind, "=", item, f"{field}[{place}]")))
    return Test(kind, operator, tuple(items), frozenset(operands))


def _operand(kind: Kind, operator: str, value: object, field: str) -> Any:
    """Return a plain value made ready for comparing."""
    if kind == "time":
        try:
            # Intercom writes unix seconds as text too.
            return parse_time(int(value) if isinstance(value, str) and _SECONDS.fullmatch(value) else value, field=field)
        except Refusal as refusal:
            raise _why(refusal, field, value) from refusal
    if operator in TEXT:
        return fold(_text(value, field))
    if operator in ORDER or kind == "count":
        return _number(value, field)
    if isinstance(value, str):
        return _text(value, field)
    return value if isinstance(value, bool) else _number(value, field, "text, a number, true or false")


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_VALUE or not storable(value):
        raise _refusal(field, value, f"text of at most {MAX_VALUE} code points")
    return value


def _number(value: object, field: str, allowed: str = "a number") -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math_finite(value):
        raise _refusal(field, value, allowed)
    if isinstance(value, int) and not exact(value):
        raise _refusal(field, value, "a number of at most 1000 digits")
    return value


def _day(value: object, field: str) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refusal(field, value, "a day as YYYY-MM-DD")


def _span(value: object, unit_ms: int, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SPAN:
        raise _refusal(field, value, f"a number from 0 to {MAX_SPAN}; for the future there are in_less_than_days and in_more_than_days")
    return round(value * unit_ms)


def _lower_currency(test: Test) -> Test:
    """Currencies are stored in lower case, so EUR and eur ask for the same."""
    operand = test.operand
    if isinstance(operand, frozenset):
        operand = frozenset(item.lower() if isinstance(item, str) else item for item in operand)
    elif isinstance(operand, str):
        operand = operand.lower()
    return Test(test.kind, test.operator, test.value, operand)


def _money(raw: dict[str, Any], field: str) -> Money:
    if "url" in raw:
        raise _refusal(field, raw, "a plain value or {amount, currency}; of a rich link metadata.KEY.value and .url are compared")
    try:
        return Money(**clean_money(raw, field))
    except Refusal as refusal:
        place = refusal.field or field
        key = place.removeprefix(f"{field}.")
        raise _why(refusal, place, raw.get(key, _MISSING)) from refusal


def _choice(raw: dict[str, Any], key: str, allowed: Iterable[str], field: str) -> str:
    """Return one of some words, which stands under a key of the object at `field`."""
    word = raw.get(key, _MISSING)
    if isinstance(word, str) and word in allowed:
        return word
    raise _refusal(f"{field}.{key}", word, "one of " + " ".join(sorted(allowed)))


def _only_keys(raw: dict[str, Any], allowed: tuple[str, ...], field: str) -> None:
    for key in raw:
        if key not in allowed:
            raise Refusal(Reason.QUERY_INVALID, field, f"There is a key {shown(key)}; allowed here: {', '.join(allowed)}.")


def _refusal(field: str, found: object, allowed: str) -> Refusal:
    return Refusal(Reason.QUERY_INVALID, field, f"There is {_shown(found)}; expected {allowed}.")


def _why(refusal: Refusal, field: str, found: object) -> Refusal:
    """Return what was refused elsewhere as a refusal of the query: it says what is allowed."""
    return Refusal(Reason.QUERY_INVALID, field, f"There is {_shown(found)}. {refusal.message}")


def _shown(found: object) -> str:
    if isinstance(found, list):
        return f"a list of {len(found)}" if found else "an empty list"
    return "nothing" if found is _MISSING else shown(found)


_MISSING = object()
"""Stands for a key that is not there."""
