"""Values that could meet comparisons: few and plain ones, to be tried. What is tried is judged by `audiences`, never here."""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, tzinfo
from itertools import pairwise, product
from typing import Any

from collector.domain.audiences import where_matches
from collector.domain.names import PAGE_VIEW
from collector.values.attributes import STANDARD_FIELDS, clean_rest_contact
from collector.values.clock import HOUR, SECOND
from collector.values.days import day_bounds
from collector.values.errors import Refusal
from collector.values.fields import is_link
from collector.values.metadata import clean_metadata
from collector.values.page_rules import path_of
from collector.values.query_tree import DAYS, SPANS, TEXT, EventMeasure, MessageMeasure, Money, Test, WhereRule
from collector.values.text import fold

OTHER_TEXT = "another"
_HOST = "https://example.com"
_URL = f"{_HOST}/"
_OF_EVERY_PAGE = frozenset({"url", "path"})
_EMAIL = "somebody@example.com"
_MOST_TRIED = 2_000


def settable(name: str) -> bool:
    """Say whether an attribute is one that can be set."""
    return name in STANDARD_FIELDS or name == "internal" or name.partition(".")[0] in {"custom_attributes", "company"}


def attribute_values(name: str, tests: Iterable[Test], measured: Iterable[int], now_ms: int, zone: tzinfo) -> list[Any]:
    """Return values that the attribute could take to meet one of these tests or to fail it; None is none at all.

    `measured` are the counts or instants (ms) that it is compared with.
    """
    tests = list(tests)
    if any(test.kind == "time" for test in tests):
        wanted = [*(at + step for at in measured for step in (-SECOND, 0, SECOND)), *_instants(tests, now_ms, zone)]
        values: list[Any] = [at // SECOND for at in wanted]
    else:
        values = [*_scalars(tests), *_numbers(measured)]
    if name == "email":
        texts = [one for one in values if isinstance(one, str)]
        values += [
            _EMAIL,
            *(made for text in texts for made in (f"somebody{text}", f"{text}@example.com", f"somebody@{text}", f"{text}{_EMAIL}")),
        ]
    elif name == "avatar":
        values += [_URL, *(f"{_URL}{text}" for text in values if isinstance(text, str))]
    return [None, *(one for one in _distinct(values) if _storable(name, one))]


def metadata(measure: EventMeasure, now_ms: int, zone: tzinfo) -> dict[str, Any] | None:
    """Return metadata that meets all conditions of a measure, with no more keys than they need; None where none was found.

    Those of a page view are what a page can have.
    """
    views = measure.event == PAGE_VIEW
    keys: dict[str, list[WhereRule]] = {}
    for rule in measure.where:
        keys.setdefault(fold(rule.key), []).append(rule)
    made: dict[str, Any] = {}
    for folded, rules in keys.items():
        needless = where_matches(rules, {}, now_ms, zone)
        if needless and not (views and folded in _OF_EVERY_PAGE):
            continue
        key = folded if views else rules[0].key
        contents = _of_page(key, _contents(rules, now_ms, zone)) if views else _contents(rules, now_ms, zone)
        fitting = (one for one in contents if _sound(key, one) and where_matches(rules, {key: one}, now_ms, zone))
        content = next(fitting, None)
        if content is None:
            return None
        if not needless:
            made[key] = content
    if views and made.keys() >= _OF_EVERY_PAGE and path_of(made["url"]) != made["path"]:
        return None
    return made if len(made) <= 20 else None


def _of_page(key: str, contents: Iterable[Any]) -> Iterator[str]:
    """Yield what a page view can have under this key."""
    for content in contents:
        if not isinstance(content, str):
            continue
        if key == "path":
            path = content if content.startswith("/") else f"/{content}"
            if path_of(f"{_HOST}{path}") == path:
                yield path
        elif key in {"url", "referrer"}:
            yield content if is_link(content, web_only=True) else f"{_URL}{content}"
        elif key == "title":
            yield content


def counts(test: Test, present: int, against: int | float | None, *, anew: bool = False) -> list[int]:
    """Return how many more of something could turn a test about a count, the fewest first.

    `against` is the other measure's count; `anew` where those that are present may be forgotten by then.
    """
    operands: list[Any] = [against] if against is not None else list(_plain([test]))
    wanted = {1, 2}
    for operand in operands:
        if isinstance(operand, int | float) and not isinstance(operand, bool):
            nearest = math.floor(operand)
            wanted |= {nearest - present, nearest - present + 1}
            wanted |= {nearest, nearest + 1} if anew else set()
    return sorted(one for one in wanted if one >= 1)


def _contents(rules: Sequence[WhereRule], now_ms: int, zone: tzinfo) -> Iterable[Any]:
    """Yield values of one key, of the type that its conditions ask for."""
    of_part = {part: [rule.test for rule in rules if rule.part == part] for part in ("amount", "currency", "url", "value", None)}
    values = [one for test in of_part[None] for one in (test.value if isinstance(test.value, tuple) else [test.operand])]
    money = [one for one in values if isinstance(one, Money)]
    if money or of_part["amount"] or of_part["currency"]:
        currencies = [*(one.currency for one in money), *_scalars(of_part["currency"]), "eur", "usd"]
        amounts = [*_numbers([one.amount for one in money]), *_scalars(of_part["amount"]), 100]
        for currency, amount in _first(product(_distinct(currencies), _distinct(amounts))):
            yield {"amount": amount, "currency": currency}
    if of_part["url"] or of_part["value"]:
        urls = [_URL, *(made for one in _scalars(of_part["url"]) for made in (one, f"{_URL}{one}", f"{_URL}?{one}{one}"))]
        for url, text in _first(product(_distinct(urls), _distinct([*_scalars(of_part["value"]), "more"]))):
            yield {"url": url, "value": text}
    if any(test.kind == "time" for test in of_part[None]):
        yield from (at // SECOND for at in _instants(of_part[None], now_ms, zone))
    else:
        yield from _scalars([test for test in of_part[None] if not isinstance(test.operand, Money)])


def _plain(tests: Iterable[Test]) -> Iterable[Any]:
    """Yield the plain values that tests compare with, as they were written."""
    for test in tests:
        if isinstance(test.operand, EventMeasure | MessageMeasure | Money) or test.operand is None:
            continue
        if isinstance(test.operand, frozenset):
            yield from (one for one in (test.value if test.kind != "time" else sorted(test.operand)) if not isinstance(one, Money))
        else:
            yield test.value if test.kind != "time" else test.operand


def _scalars(tests: Sequence[Test]) -> list[Any]:
    """Return texts, numbers and booleans near what tests compare with."""
    plain = _distinct(_plain(tests))
    texts = {operator: [test.value for test in tests if test.operator == operator] for operator in TEXT}
    joined = "".join(map(str, [*texts["^"], *texts["~"], *texts["$"]]))
    numbers = [one for one in plain if isinstance(one, int | float) and not isinstance(one, bool)]
    booleans = [other for one in plain if isinstance(one, bool) for other in (one, not one)]
    return [*plain, *([joined] if joined else []), *_numbers(numbers), *booleans, OTHER_TEXT, 1, True, False]


def _numbers(near: Iterable[int | float]) -> list[int | float]:
    """Return numbers at, above, below and between these."""
    known = sorted(near)
    found: list[int | float] = []
    for one in known:
        found += [one, one + 1, one - 1]
        if isinstance(one, float):
            found += [math.nextafter(one, math.inf), math.nextafter(one, -math.inf)]
    for low, high in pairwise(known):
        if isinstance(low, int) and isinstance(high, int) and high - low > 1:
            found.append((low + high) // 2)
        elif abs(low) < 1e300 and abs(high) < 1e300:
            found.append((low + high) / 2)
    return [one for one in found if not isinstance(one, float) or math.isfinite(one)]


def _instants(tests: Iterable[Test], now_ms: int, zone: tzinfo) -> list[int]:
    """Return instants (ms) at, before, after and between what tests about time compare with, the nearest to now first."""
    tests = list(tests)
    found = [now_ms]
    for test in tests:
        operand = test.operand
        if test.operator in SPANS:
            step = min(operand, test.unit_ms) // 2
            spans = (operand - HOUR, operand - step, operand, operand + step, operand + HOUR, operand // 2)
            found += [now_ms + sign * span for span in spans for sign in (-1, 1)]
        elif isinstance(operand, date) and test.operator in DAYS:
            begin, end = day_bounds(operand, zone)
            found += [begin - SECOND, begin, (begin + end) // 2, end, end + SECOND]
    marks = sorted(one for one in _plain(test for test in tests if test.operator not in SPANS) if isinstance(one, int))
    found += [at + step for at in marks for step in (-SECOND, 0, SECOND)]
    found += [(low + high) // 2 for low, high in pairwise(marks)]
    return sorted(set(found), key=lambda at: abs(at - now_ms))


def _storable(name: str, value: Any) -> bool:
    """Say whether REST would take the value for this attribute as it is."""
    group, dot, key = name.partition(".")
    try:
        cleaned, flags = clean_rest_contact({group: {key: value}} if dot else {name: value})
    except Refusal:
        return False
    return not flags and repr(cleaned.get(name)) == repr(value)


def _sound(key: str, content: Any) -> bool:
    """Say whether the metadata would be stored as it is."""
    try:
        cleaned, flags = clean_metadata({key: content})
    except Refusal:
        return False
    return not flags and repr(cleaned) == repr({key: content})


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return the values in their order, each once; 1, 1.0 and true are three."""
    return list({repr(one): one for one in values}.values())


def _first(pairs: Iterable[Any]) -> Iterable[Any]:
    for count, pair in enumerate(pairs):
        if count >= _MOST_TRIED:
            return
        yield pair
