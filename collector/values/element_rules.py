"""The definition of an event rule by CSS selector: which clicks or submits are a named event, and what of the page goes with them.

`{"source": "click"|"submit", "selector", "page": PAGE RULE or null, "metadata": [{"key", "from": "text"|"attribute", "attribute",
"selector"}]}`. What people enter into forms is never read: that is the browser's to see to, and no attribute that mirrors it may be named.
"""

import re
from typing import Any

import msgspec

from collector.values.checker import Checker
from collector.values.errors import Problem, Reason, Refusal
from collector.values.fields import shown
from collector.values.metadata import MAX_KEYS, clean_key, is_date_key
from collector.values.page_rules import PageRule, RuleGroup, parse_page_rule, rule_json
from collector.values.text import fold, storable

SOURCES = ("click", "submit")
FROM = ("text", "attribute")
MAX_SELECTOR = 500
FIELDS = frozenset({"source", "selector", "page", "metadata"})

_ATTRIBUTE = re.compile("[A-Za-z_:][A-Za-z0-9_:.-]{0,99}")
_MIRRORS = frozenset({"value", "aria-checked", "aria-valuenow", "aria-valuetext"})  # what was entered or chosen, as an attribute
_QUOTED = re.compile(r"\\.|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", re.DOTALL)  # escapes and strings: whatever stands in them is fine
_CLOSING = {")": "(", "]": "["}
_COMBINATORS = ",>+~"


class Reading(msgspec.Struct, frozen=True):
    """One key of metadata: an attribute (None: the text) of the matched element, or of the first that `selector` finds within it."""

    key: str
    attribute: str | None
    selector: str | None


class ElementRuleDefinition(msgspec.Struct, frozen=True):
    """What counts: a click or a submit (`source`) on or within what the selector matches, on pages that meet the rule, if there is one."""

    source: str
    selector: str
    page: PageRule | None
    metadata: tuple[Reading, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the shape of the API; cleaning it again gives an equal definition."""
        return {
            "source": self.source,
            "selector": self.selector,
            "page": None if self.page is None else rule_json(self.page),
            "metadata": [_reading_json(one) for one in self.metadata],
        }

    def for_browser(self, event: str) -> dict[str, Any]:
        """Return what the script in the page needs. No text of anybody's is a key of it: `__proto__` as one would be no key in a script."""
        return {
            "event": event,
            "on": self.source,
            "selector": self.selector,
            "page": None if self.page is None else _page_for_browser(self.page),
            "read": [[one.key, one.attribute, one.selector] for one in self.metadata],
        }


def clean_element_rule(raw: dict[str, Any]) -> ElementRuleDefinition:
    """Return the definition; other keys of `raw` than FIELDS are not looked at.

    Raises:
        Problem: 400 with every error.
    """
    checker = Checker()
    source = checker.choice(raw.get("source"), SOURCES, "source")
    selector = checker.attempt(lambda: _selector(raw.get("selector"), "selector"))
    page = checker.optional(raw, "page", parse_page_rule)
    readings = _metadata(checker, raw.get("metadata"))
    if checker.errors or selector is None:
        raise Problem(400, checker.errors)
    return ElementRuleDefinition(source, selector, page, readings)


def _metadata(checker: Checker, raw: object) -> tuple[Reading, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        checker.error("metadata", f"Expected a list, not {shown(raw)}.")
        return ()
    if len(raw) > MAX_KEYS:
        checker.error("metadata", Reason.METADATA_TOO_MANY_KEYS.meaning, Reason.METADATA_TOO_MANY_KEYS)
        return ()
    found: list[Reading] = []
    for place, one in enumerate(raw):
        reading = _reading(checker, one, f"metadata[{place}]")
        if reading is None:
            continue
        if any(fold(reading.key) == fold(other.key) for other in found):
            checker.error(f"metadata[{place}].key", Reason.METADATA_KEY_REPEATED.meaning, Reason.METADATA_KEY_REPEATED)
        found.append(reading)
    return tuple(found)


def _reading(checker: Checker, raw: object, field: str) -> Reading | None:
    part = checker.part(raw, field, {"key", "from", "attribute", "selector"}, required=True)
    if not isinstance(raw, dict):
        return None
    key = checker.attempt(lambda: _key(part.get("key"), f"{field}.key"))
    origin = checker.choice(part.get("from"), FROM, f"{field}.from")
    attribute = part.get("attribute")
    if origin == "attribute":
        attribute = checker.attempt(lambda: _attribute(attribute, f"{field}.attribute"))
    else:
        if origin and attribute is not None:
            checker.error(f"{field}.attribute", "An attribute is read only where from is attribute.")
        attribute = None
    selector = part.get("selector")
    if selector is not None:
        selector = checker.attempt(lambda: _selector(selector, f"{field}.selector"))
    return None if key is None else Reading(key, attribute, selector)


def _key(raw: object, field: str) -> str:
    try:
        key = clean_key(raw)
    except Refusal as refusal:
        raise Refusal(refusal.code, field, refusal.message) from None
    if is_date_key(key):  # a text that is no time would cost the whole event
        raise Refusal(Reason.METADATA_KEY_INVALID, field, "A key that ends in _at or _date holds a date, and pages hold texts.")
    return key


def _attribute(raw: object, field: str) -> str:
    if not isinstance(raw, str) or not _ATTRIBUTE.fullmatch(raw):
        raise Refusal(Reason.FIELD_INVALID, field, f"There is {shown(raw)}; expected the name of an attribute, such as data-plan.")
    if raw.lower() in _MIRRORS:
        raise Refusal(Reason.FIELD_INVALID, field, f"The attribute {raw} may hold what somebody entered; that is never read.")
    return raw


def _selector(raw: object, field: str) -> str:
    """Return a selector, trimmed. Only what no browser could take for one is refused: what else is wrong, a browser passes over."""
    if raw is None:
        raise Refusal(Reason.FIELD_MISSING, field)
    text = raw.strip() if isinstance(raw, str) and storable(raw) else ""
    if not text or len(text) > MAX_SELECTOR:
        raise Refusal(Reason.FIELD_INVALID, field, f"There is {shown(raw)}; expected a CSS selector of at most {MAX_SELECTOR} code points.")
    complaint = _complaint(_QUOTED.sub("x", text))
    if complaint:
        raise Refusal(Reason.FIELD_INVALID, field, f"There is {shown(text)}; {complaint}.")
    return text


def _complaint(bare: str) -> str | None:
    """Say what is wrong with a selector of which strings and escapes were taken out."""
    opened: list[str] = []
    for sign in bare:
        if sign in "([":
            opened.append(sign)
        elif sign in ")]" and (not opened or opened.pop() != _CLOSING[sign]):
            return f"a {sign} closes nothing"
        elif sign in "{};\"'\\":
            return f"a {sign} has no place in a selector"
    if opened:
        return f"a {opened[-1]} is never closed"
    if "::" in bare:
        return "a pseudo-element is nothing that can be clicked"
    if bare[0] in _COMBINATORS or bare[-1] in _COMBINATORS or re.search(r",\s*,", bare):
        return "something is missing beside a comma or a combinator"
    return None


def _reading_json(one: Reading) -> dict[str, Any]:
    found: dict[str, Any] = {"key": one.key, "from": "text" if one.attribute is None else "attribute"}
    if one.attribute is not None:
        found["attribute"] = one.attribute
    return found if one.selector is None else {**found, "selector": one.selector}


def _page_for_browser(rule: PageRule) -> list[Any]:
    if isinstance(rule, RuleGroup):
        return [rule.operator, [_page_for_browser(child) for child in rule.value]]
    return [rule.operator, rule.field, rule.pattern, rule.name]
