import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Reason, Refusal
from collector.values.page_rules import page_matches, parse_page_rule, query_names, rule_json
from tests.values.strategies import ANY_TEXT, JSON, objects

PAGE = "https://Shop.Example.com:8443/docs/intro/start?plan=pro&ref=a%20b&ref=c&empty=#top"


def rule(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def holds(raw, url=PAGE):
    return page_matches(parse_page_rule(raw), url)


def refused(raw):
    with pytest.raises(Refusal) as caught:
        parse_page_rule(raw)
    assert caught.value.code == Reason.QUERY_INVALID
    return caught.value.field


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("host", "is", "shop.example.com", True),
        ("host", "is", "SHOP.example.com:8443", True),
        ("host", "is", "example.com", False),
        ("host", "contains", "example", True),
        ("host", "wildcard", "*.example.com", True),
        ("host", "wildcard", "*.com", False),
        ("host", "wildcard", "**.com", True),
        ("path", "is", "/docs/intro/start", True),
        ("path", "is", "/docs/intro/start/", False),
        ("path", "is", "/Docs/intro/start", False),
        ("path", "starts", "/docs", True),
        ("path", "contains", "intro", True),
        ("path", "wildcard", "/docs/*", False),
        ("path", "wildcard", "/docs/*/start", True),
        ("path", "wildcard", "/*/*/*", True),
        ("path", "wildcard", "/docs/in*o/st*", True),
        ("path", "wildcard", "/docs/**", True),
        ("path", "wildcard", "**/start", True),
        ("path", "wildcard", "/**/intro/**", True),
        ("path", "wildcard", "/docs/***", True),
        ("path", "wildcard", "/docs/intro/start", True),
        ("query.plan", "is", "pro", True),
        ("query.plan", "is", "Pro", False),
        ("query.ref", "is", "a b", True),
        ("query.ref", "is", "c", True),
        ("query.empty", "is", "", True),
        ("query.missing", "is", "", False),
        ("query.plan", "wildcard", "p*", True),
        ("url", "is", "https://shop.example.com:8443/docs/intro/start?plan=pro&ref=a%20b&ref=c&empty=", True),
        ("url", "contains", "#top", True),
        ("url", "starts", "https://shop.example.com", True),
        ("url", "wildcard", "https://*/docs/**", True),
        ("url", "wildcard", "https://*/docs/*/start", False),
    ],
)
def test_each_field_and_operator(field, operator, value, expected):
    assert holds(rule(field, operator, value)) is expected


def test_a_star_is_at_least_one_character_and_two_may_be_none():
    assert not holds(rule("path", "wildcard", "/a/*"), "https://x.y/a/")
    assert holds(rule("path", "wildcard", "/a/**"), "https://x.y/a/")


def test_signs_of_regular_expressions_are_text():
    assert holds(rule("path", "wildcard", "/a.(b)+/*"), "https://x.y/a.(b)+/c")
    assert not holds(rule("path", "wildcard", "/a.b*"), "https://x.y/axbc")


def test_paths_compare_decoded():
    assert holds(rule("path", "is", "/über"), "https://x.y/%C3%BCber")
    assert holds(rule("path", "is", "/%C3%BCber"), "https://x.y/über")


def test_an_encoded_slash_separates_nothing():
    assert not holds(rule("path", "wildcard", "/*/*"), "https://x.y/a%2Fb")


def test_hosts_of_other_scripts_compare_as_browsers_send_them():
    assert holds(rule("host", "is", "bücher.example"), "https://xn--bcher-kva.example/")


def test_a_missing_path_is_the_root():
    assert holds(rule("path", "is", "/"), "https://x.y")


@pytest.mark.parametrize("url", ["", "about:blank", "http://[", "javascript:alert(1)", "//x.y/z", "https://x:99999/"])
def test_what_is_no_web_address_meets_not_even_a_not(url):
    assert not holds({"operator": "NOT", "value": [rule("path", "is", "/nowhere")]}, url)


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [("AND", "tt", True), ("AND", "tf", False), ("OR", "ft", True), ("OR", "ff", False), ("NOT", "ff", True), ("NOT", "ft", False)],
)
def test_groups(operator, values, expected):
    rules = {"t": rule("path", "starts", "/docs"), "f": rule("path", "is", "/x")}
    assert holds({"operator": operator, "value": [rules[value] for value in values]}) is expected


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (None, "page"),
        ({}, "page.operator"),
        ({"operator": "AND", "value": []}, "page.value"),
        ({"operator": "AND", "value": [rule("path", "is", "/"), rule("path", "equals", "/")]}, "page.value[1].operator"),
        (rule("hash", "is", "x"), "page.field"),
        (rule("query.", "is", "x"), "page.field"),
        (rule("path.x", "is", "x"), "page.field"),
        (rule("path", "is", ""), "page.value"),
        (rule("path", "is", 5), "page.value"),
        (rule("path", "is", "x" * 2049), "page.value"),
        (rule("path", "is", "a\x00"), "page.value"),
        (rule("path", "is", "/") | {"flags": "i"}, "page"),
        ({"operator": "OR", "value": [rule("path", "is", "/")] * 200}, "page.value[199]"),
    ],
)
def test_an_error_names_its_place(raw, field):
    assert refused(raw) == field


def test_the_parameters_it_asks_for_are_known():
    raw = {
        "operator": "OR",
        "value": [rule("query.plan", "is", "x"), {"operator": "NOT", "value": [rule("query.ref", "is", "y")]}, rule("path", "is", "/")],
    }
    assert query_names(parse_page_rule(raw)) == {"plan", "ref"}


def test_a_rule_is_written_as_it_was_read():
    raw = {"operator": "NOT", "value": [rule("query.plan", "is", "x"), rule("host", "is", "BÜCHER.example")]}
    assert rule_json(parse_page_rule(raw)) == raw


def test_no_pattern_makes_matching_slow():
    """With backtracking these would not end in our lifetime."""
    for pattern in ("**a" * 500 + "b", "*a" * 500 + "b", "/**/*a**" * 100 + "b", "**" + "*a" * 300 + "**b"):
        assert not holds(rule("path", "wildcard", pattern), "https://x.y/" + "a" * 4_000)


def plain(pattern, text):
    """The meaning of wildcards, written as plainly as it can be."""
    parts = [".*" if part.startswith("**") else "[^/]+" if part == "*" else re.escape(part) for part in re.split(r"(\*+)", pattern)]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


@given(st.text("ab/*", min_size=1, max_size=9), st.text("ab/", max_size=9))
def test_wildcards_mean_what_the_plain_expression_means(pattern, text):
    assert holds(rule("path", "wildcard", "/" + pattern), "https://x.y/" + text) is plain("/" + pattern, "/" + text)


@given(
    objects("field", "operator", "value")
    | st.builds(rule, st.sampled_from(["host", "path", "url", "query.a"]), st.just("wildcard"), ANY_TEXT)
    | JSON,
    ANY_TEXT,
)
def test_any_json_is_parsed_or_refused_and_any_address_is_judged(raw, tail):
    try:
        parsed = parse_page_rule(raw)
    except Refusal as refusal:
        assert refusal.field.startswith("page")
        refusal.message.encode()
        return
    assert parse_page_rule(rule_json(parsed)) == parsed
    page_matches(parsed, tail)
    page_matches(parsed, f"https://{tail}")
    page_matches(parsed, f"https://x.y/{tail}")
