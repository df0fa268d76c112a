"""Page rules of messages: on which addresses a message may show.

`{"operator": "AND"|"OR"|"NOT", "value": [...]}` over `{"field", "operator", "value"}`; a single rule alone is taken too. Fields are
`host` (with or without the port), `path`, `query.NAME` and `url`; operators `is`, `starts`, `contains` and `wildcard`, where `*` is
one or more characters within one segment and `**` any characters or none. Hosts compare without case, everything else with it. Paths
compare percent-decoded, and a slash at their end counts.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.text import replace_unstorable, storable

MAX_NODES = 200
MAX_PATTERN = 2_048
MAX_URL = 8_192

OPERATORS = ("is", "starts", "contains", "wildcard")
_GROUPS = ("AND", "OR", "NOT")
_WILDCARDS = re.compile(r"(\*+)")
_SEGMENTS = {"host": "[^.]", "path": "[^/]", "query": "[^/]", "url": "[^/?#]"}  # what one character of a segment may be


class Page(msgspec.Struct, frozen=True):
    """An address taken apart for matching: each field's texts, of which any may match."""

    host: tuple[str, ...]
    path: str
    query: tuple[tuple[str, str], ...]
    url: tuple[str, ...]


class FieldRule(msgspec.Struct, frozen=True):
    """One rule; `name` is the parameter's where `field` is `query`, `pattern` what is really compared with."""

    field: str
    name: str | None
    operator: str
    value: str
    pattern: str


class RuleGroup(msgspec.Struct, frozen=True):
    """AND: all hold; OR: one holds; NOT: none holds."""

    operator: str
    value: "tuple[PageRule, ...]"


PageRule = FieldRule | RuleGroup


def parse_page_rule(raw: object, *, field: str = "page") -> PageRule:
    """Return the rule. Raises Refusal (QUERY_INVALID) with the path, such as `page.value[0].operator`."""
    return _Parser().rule(raw, field)


def page_of(url: str) -> Page | None:
    """Return an address taken apart; None where it is no http or https address."""
    try:
        parts = urlsplit(url[:MAX_URL])
        host, port = parts.hostname, parts.port
        if parts.scheme not in {"http", "https"} or not host:
            return None
        names = (_host(host), f"{_host(host)}:{port}") if port else (_host(host),)
        whole = parts._replace(netloc=parts.netloc.lower())
        return Page(
            names,
            decoded_path(parts.path or "/"),
            tuple(parse_qsl(parts.query, keep_blank_values=True)),
            (whole.geturl(), whole._replace(fragment="").geturl()),
        )
    except ValueError:  # an unclosed [ of IPv6, a port that is none
        return None


_cached_page = lru_cache(maxsize=64)(page_of)  # one page is asked about by every live message


def page_matches(rule: PageRule, url: str) -> bool:
    """Say whether an address meets the rule. What is no web address meets none, not even a NOT."""
    page = _cached_page(url)
    return page is not None and _matches(rule, page)


def query_names(rule: PageRule | None) -> frozenset[str]:
    """Return the query parameters a rule asks for; the tracker may send these."""
    if rule is None:
        return frozenset()
    if isinstance(rule, FieldRule):
        return frozenset() if rule.name is None else frozenset({rule.name})
    return frozenset().union(*(query_names(child) for child in rule.value))


def rule_json(rule: PageRule) -> dict[str, Any]:
    """Return a rule as JSON; parsing it again gives an equal one."""
    if isinstance(rule, RuleGroup):
        return {"operator": rule.operator, "value": [rule_json(child) for child in rule.value]}
    name = rule.field if rule.name is None else f"{rule.field}.{rule.name}"
    return {"field": name, "operator": rule.operator, "value": rule.value}


class _Parser:
    def __init__(self) -> None:
        self.nodes = 0

    def rule(self, raw: object, field: str) -> PageRule:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Refusal(Reason.QUERY_INVALID, field, f"A page rule has at most {MAX_NODES} rules and groups.")
        if not isinstance(raw, dict):
            raise _refusal(field, raw, "a rule or a group")
        allowed = ("field", "operator", "value") if "field" in raw else ("operator", "value")
        for key in raw:
            if key not in allowed:
                raise Refusal(Reason.QUERY_INVALID, field, f"There is a key {shown(key)}; allowed here: {', '.join(allowed)}.")
        operator, value = raw.get("operator"), raw.get("value")
        if "field" in raw:
            return _field_rule(raw["field"], operator, value, field)
        if not isinstance(operator, str) or operator not in _GROUPS:
            raise _refusal(f"{field}.operator", operator, "AND, OR or NOT; a single rule has a field")
        if not isinstance(value, list) or not value:
            raise _refusal(f"{field}.value", value, "a list of at least one rule")
        children: list[PageRule] = []
        for place, child in enumerate(value):
            children.append(self.rule(child, f"{field}.value[{place}]"))
        return RuleGroup(operator, tuple(children))


def _field_rule(raw: object, operator: object, value: object, field: str) -> FieldRule:
    subject, dot, name = raw.partition(".") if isinstance(raw, str) and storable(raw) else ("", "", "")
    if not ((subject == "query" and name and len(name) <= 120) or (subject in {"host", "path", "url"} and not dot)):
        raise _refusal(f"{field}.field", raw, "host, path, query.NAME or url")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise _refusal(f"{field}.operator", operator, "one of " + " ".join(OPERATORS))
    if not isinstance(value, str) or len(value) > MAX_PATTERN or not storable(value):
        raise _refusal(f"{field}.value", value, f"text of at most {MAX_PATTERN} code points")
    if not value and not (subject == "query" and operator == "is"):
        raise _refusal(f"{field}.value", value, "some text")
    ready: dict[str, Callable[[str], str]] = {"host": _host, "path": decoded_path}
    pattern = ready[subject](value) if subject in ready else value
    if operator == "wildcard":
        try:
            _compiled(pattern, subject)
        except (re.error, RecursionError, OverflowError) as error:
            raise _refusal(f"{field}.value", value, "a simpler pattern") from error
    return FieldRule(subject, name or None, operator, value, pattern)


def _matches(rule: PageRule, page: Page) -> bool:
    if isinstance(rule, RuleGroup):
        for child in rule.value:
            if _matches(child, page) is not (rule.operator == "AND"):
                return rule.operator == "OR"
        return rule.operator != "OR"
    texts: tuple[str, ...]
    if rule.field == "query":
        texts = tuple([value for name, value in page.query if name == rule.name])
    elif rule.field == "path":
        texts = (page.path,)
    else:
        texts = page.host if rule.field == "host" else page.url
    return any(_text_matches(rule, text) for text in texts)


def _text_matches(rule: FieldRule, text: str) -> bool:
    if rule.operator == "is":
        return text == rule.pattern
    if rule.operator == "starts":
        return text.startswith(rule.pattern)
    if rule.operator == "contains":
        return rule.pattern in text
    return _compiled(rule.pattern, rule.field).fullmatch(text) is not None


@lru_cache(maxsize=1_024)
def _compiled(pattern: str, field: str) -> re.Pattern[str]:
    """Return the expression of a wildcard pattern.

    No pattern may make matching slow, so nothing that matched is tried again: everything between two `**` is one atomic group,
    and so is each `*` with the text behind it. For wildcards the first place that fits is as good as any later one.
    """
    texts = _WILDCARDS.split(pattern)[0::2]
    wildcards = _WILDCARDS.split(pattern)[1::2]
    chunks = [re.escape(texts[0])]
    for place, (wildcard, text) in enumerate(zip(wildcards, texts[1:], strict=True), start=1):
        if len(wildcard) > 1:
            chunks.append(".*?" + re.escape(text))
        else:
            end = r"\Z" if place == len(wildcards) else ""
            chunks[-1] += f"(?>{_SEGMENTS[field]}+?{re.escape(text)}{end})"
    middle = "".join(f"(?>{chunk})" for chunk in chunks[1:-1])
    return re.compile(chunks[0] + middle + "".join(chunks[1:][-1:]) + r"\Z", re.DOTALL)


def _host(text: str) -> str:
    """Return a host as browsers send it: lower case, other scripts in their ASCII form."""
    lowered = text.lower()
    if lowered.isascii():
        return lowered
    try:
        return lowered.encode("idna").decode()
    except UnicodeError:  # a part of a host, as `contains` may have, or none at all
        return lowered


def path_of(url: str) -> str:
    """Return the path of an address as rules compare it and people read it; `/` where it has none."""
    try:
        return replace_unstorable(decoded_path(urlsplit(url).path)) or "/"
    except ValueError:
        return "/"


def decoded_path(text: str) -> str:
    """Return a path percent-decoded, but for encoded slashes, which separate nothing."""
    if "%" not in text:
        return text
    return "/".join(unquote(segment, errors="replace").replace("/", "%2F") for segment in text.split("/"))


def _refusal(field: str, found: object, allowed: str) -> Refusal:
    return Refusal(Reason.QUERY_INVALID, field, f"There is {shown(found)}; expected {allowed}.")
