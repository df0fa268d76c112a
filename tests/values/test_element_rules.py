from typing import Any

import pytest
from hypothesis import given

from collector.values.element_rules import MAX_SELECTOR, clean_element_rule
from collector.values.errors import Problem, Refusal
from tests.values.strategies import JSON, objects

RULE = {
    "source": "submit",
    "selector": "form#contact",
    "page": {"field": "path", "operator": "starts", "value": "/"},
    "metadata": [
        {"key": "title", "from": "text"},
        {"key": "Plan", "from": "attribute", "attribute": "data-plan", "selector": ".plan"},
    ],
}


def fields(**changed: Any) -> list[str | None]:
    """The fields that are refused of a rule."""
    with pytest.raises(Problem) as caught:
        clean_element_rule({**RULE, **changed})
    assert caught.value.status == 400
    return [error.field for error in caught.value.errors]


def reading(**changed: Any) -> Any:
    return [{"key": "k", "from": "attribute", "attribute": "data-plan", **changed}]


def test_a_rule_is_written_as_it_was_read() -> None:
    assert clean_element_rule(RULE).as_json() == RULE


def test_what_browsers_get_is_the_page_rule_taken_apart_and_no_text_as_a_key() -> None:
    page = {"operator": "NOT", "value": [{"field": "host", "operator": "is", "value": "BÜCHER.example"}]}
    rule = {**RULE, "page": page, "metadata": [{"key": "__proto__", "from": "text"}]}
    assert clean_element_rule(rule).for_browser("sent") == {
        "event": "sent",
        "on": "submit",
        "selector": "form#contact",
        "page": ["NOT", [["is", "host", "xn--bcher-kva.example", None]]],
        "read": [["__proto__", None, None]],
    }


@pytest.mark.parametrize(
    "selector",
    [
        "a",
        "*",
        "#a\\:b .c > d ~ e + f, g",
        "[data-a='}{;)::'] b",
        '[title="it\'s \\" so"]',
        "a:not([href^=http]):nth-child(2n + 1)",
        ":is(a, b):has(> img)",
        "ns|svg",
        ".größe",
        "x" * MAX_SELECTOR,
    ],
)
def test_selectors_of_every_kind_are_taken(selector: str) -> None:
    assert clean_element_rule({**RULE, "selector": f" {selector}\n"}).selector == selector


@pytest.mark.parametrize(
    "selector",
    [
        *(None, "", "  ", 7, ["a"], "a\x00", "x" * (MAX_SELECTOR + 1)),
        *("a[", "a]", "a(]", ":not(a", "a)", "a{color:red}", "a;b", "a'b", 'a[b="c]', "a\\"),
        *("a::before", ", a", "a,", "a >", "> a", "a,,b", "a, ,b"),
    ],
)
def test_what_no_browser_takes_for_a_selector_is_refused(selector: Any) -> None:
    assert fields(selector=selector) == ["selector"]
    if selector is not None:
        assert fields(metadata=reading(selector=selector)) == ["metadata[0].selector"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": "page_view"}, "source"),
        ({"source": None}, "source"),
        ({"page": "/"}, "page"),
        ({"page": {"operator": "AND", "value": [{"field": "path", "operator": "is", "value": 1}]}}, "page.value[0].value"),
        ({"metadata": {}}, "metadata"),
        ({"metadata": [{"key": f"k{number}", "from": "text"} for number in range(21)]}, "metadata"),
        ({"metadata": ["title"]}, "metadata[0]"),
        ({"metadata": [None]}, "metadata[0]"),
        ({"metadata": reading(key=None)}, "metadata[0].key"),
        ({"metadata": reading(key="a.b")}, "metadata[0].key"),
        ({"metadata": reading(key="seen_at")}, "metadata[0].key"),
        ({"metadata": [{"key": "a", "from": "text"}, {"key": "A", "from": "text"}]}, "metadata[1].key"),
        ({"metadata": reading(**{"from": "html"})}, "metadata[0].from"),
        ({"metadata": [{"key": "k", "attribute": "title"}]}, "metadata[0].from"),
        ({"metadata": reading(attribute=None)}, "metadata[0].attribute"),
        ({"metadata": reading(attribute="a b")}, "metadata[0].attribute"),
        ({"metadata": reading(attribute="a" * 101)}, "metadata[0].attribute"),
        ({"metadata": reading(**{"from": "text"})}, "metadata[0].attribute"),
        ({"metadata": reading(text=True)}, "metadata[0].text"),
    ],
)
def test_an_error_names_its_place(changed: Any, field: str) -> None:
    assert set(fields(**changed)) == {field}


@pytest.mark.parametrize("attribute", ["value", "VALUE", "aria-checked", "aria-valuenow", "aria-valuetext"])
def test_attributes_that_mirror_what_was_entered_are_refused(attribute: str) -> None:
    assert fields(metadata=reading(attribute=attribute)) == ["metadata[0].attribute"]


def test_every_error_is_told_at_once() -> None:
    assert fields(source="x", selector="", metadata=reading(key="", attribute="value")) == [
        *("source", "selector", "metadata[0].key", "metadata[0].attribute")
    ]


@given(objects("key", "from", "attribute", "selector") | JSON)
def test_any_json_is_taken_or_refused_with_a_place(raw: Any) -> None:
    try:
        definition = clean_element_rule({**RULE, "metadata": [raw] if isinstance(raw, dict) else raw})
    except Problem as error:
        for one in error.errors:
            assert isinstance(one, Refusal)
            assert str(one.field).startswith("metadata")
            one.message.encode()
        return
    assert clean_element_rule(definition.as_json()) == definition
