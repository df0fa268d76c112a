import json
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.body import MissingVariable, parse_body, parse_text, parse_url, render, render_text, render_url, variables
from collector.values.errors import Reason, Refusal
from tests.values.strategies import ANY_TEXT

TAGS = {"p", "strong", "em", "a", "ul", "ol", "li", "br", "h1", "h2", "h3", "code", "pre", "blockquote", "img", "hr"}


def shown(markdown, **values):
    return render(parse_body(markdown), values)


def node(tag, *children, **more):
    return {"tag": tag, "children": list(children), **more}


@pytest.mark.parametrize(
    ("markdown", "nodes"),
    [
        ("Hello **you** and *them*", [node("p", "Hello ", node("strong", "you"), " and ", node("em", "them"))]),
        ("# One\n## Two\n#### Four", [node("h1", "One"), node("h2", "Two"), node("h3", "Four")]),
        ("- a\n- b", [node("ul", node("li", "a"), node("li", "b"))]),
        ("1. a\n\n2. b", [node("ol", node("li", node("p", "a")), node("li", node("p", "b")))]),
        ("a  \nb\nc", [node("p", "a", node("br"), "b\nc")]),
        ("> q", [node("blockquote", node("p", "q"))]),
        ("---", [node("hr")]),
        ("`c`", [node("p", node("code", "c"))]),
        ("```py\nc\n```", [node("pre", node("code", "c\n"))]),
        ("[l](https://a.b/c)", [node("p", node("a", "l", href="https://a.b/c"))]),
        ("<me@a.b>", [node("p", node("a", "me@a.b", href="mailto:me@a.b"))]),
        ("![an *alt*](https://a.b/c.png)", [node("p", node("img", src="https://a.b/c.png", alt="an alt"))]),
        ("", []),
    ],
)
def test_markdown_becomes_nodes_of_the_wire(markdown, nodes):
    assert shown(markdown) == nodes


def test_html_is_text():
    assert shown("<b>x</b> <script>alert(1)</script>") == [node("p", "<b>x</b> <script>alert(1)</script>")]
    assert shown("<script>\nalert(1)\n</script>") == [node("p", "<script>\nalert(1)\n</script>")]


# variables


@pytest.mark.parametrize(
    "variable",
    [
        '{{first_name | fallback: "there"}}',
        '{{first_name|fallback:"there"}}',
        "{{ first_name | fallback: 'there' }}",
        "{{first_name | fallback: “there”}}",
        "{{first_name | fallback: ‘there’}}",
    ],
)
def test_quotes_may_be_straight_or_curly_and_blanks_are_free(variable):
    assert shown(f"Hi {variable}!") == [node("p", "Hi there!")]
    assert shown(f"Hi {variable}!", first_name="Éva") == [node("p", "Hi Éva!")]


def test_names_may_hold_blanks():
    assert shown("{{Custom Plan | fallback: 'basic'}}", **{"Custom Plan": "pro"}) == [node("p", "pro")]


def test_a_missing_value_without_a_fallback_does_not_send():
    with pytest.raises(MissingVariable) as caught:
        shown("Hi {{first_name}}")
    assert caught.value.name == "first_name"


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_value_counts_as_missing(empty):
    assert shown('Hi {{n | fallback: "you"}}', n=empty) == [node("p", "Hi you")]


@pytest.mark.parametrize(
    "value", ["**bold**", "<b>Éva", "[x](javascript:alert(1))", "\n\n# head", "`", "{{other}}", "\u202ertl", "x" * 10_000]
)
def test_a_value_is_text_whatever_it_holds(value):
    assert shown("Hi {{n}} *x*", n=value) == [node("p", f"Hi {value} ", node("em", "x"))]


def test_a_fallback_is_text_too():
    assert shown('{{n | fallback: "**a** <b> [x](y)"}}') == [node("p", "**a** <b> [x](y)")]


def test_variables_work_in_bold_in_code_and_beside_words():
    assert shown("**{{n}}** `{{n}}` a{{n}}b_{{n}}_", n="1") == [node("p", node("strong", "1"), " ", node("code", "1"), " a1b_1_")]


def test_the_same_text_as_the_marker_is_no_variable():
    assert shown("qv0q0z QV1Q0Z {{n}}", n="1") == [node("p", "qv0q0z QV1Q0Z 1")]


def test_a_backslash_keeps_the_braces():
    assert shown("\\{{n}} {{n}}", n="1") == [node("p", "{{n}} 1")]
    assert render_text(parse_text("\\{{n}} {{n}}", field="title"), {"n": "1"}) == "{{n}} 1"


@pytest.mark.parametrize("text", ["{{}}", "{{ }}", "{{n", "{{n | fallback}}", "{{n | upper}}", '{{n | fallback: "a}}', "{{a{b}}"])
def test_braces_that_are_no_variable_are_refused_before_anything_is_sent(text):
    for parse in (parse_body, parse_text):
        with pytest.raises(Refusal) as caught:
            parse(text, field="content.body")
        assert (caught.value.code, caught.value.field) == (Reason.FIELD_INVALID, "content.body")


def test_lone_surrogates_and_nul_never_reach_the_wire():
    json.dumps(shown("a\x00\ud800{{n}}", n="\ud800\x00"), ensure_ascii=False).encode()


def test_all_names_are_known_beforehand():
    body = parse_body('{{a}} [{{b}}](https://x.y/{{c}}) ![{{d | fallback: "x"}}](https://x.y/{{e}})')
    assert variables(body, parse_text("{{f}}", field="title"), None) == {"a", "b", "c", "d", "e", "f"}


# addresses


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc",
        "/path",
        "//evil.example",
        "ftp://a.b",
        "https:///x",
    ],
)
def test_a_bad_address_is_refused_when_it_is_written(address):
    with pytest.raises(Refusal):
        parse_body(f"[x]({address})")
    with pytest.raises(Refusal):
        parse_url(address, field="url")


@pytest.mark.parametrize("address", ["mailto:a@b.c", "tel:+36"])
def test_images_come_from_the_web_only(address):
    with pytest.raises(Refusal):
        parse_body(f"![x]({address})")


@pytest.mark.parametrize(
    "address",
    ["{{x}}", "{{x}}://a.b/", "https:{{x}}", "https://{{x}}/", "https://a.{{x}}/", "https://a.b{{x}}", "https://a.b:{{x}}/", "https://u:{{x}}@a.b/",
     "https://a.b/c#{{x}}", "java{{x}}:alert(1)"],
)  # fmt: skip
def test_variables_stand_in_path_and_query_only(address):
    with pytest.raises(Refusal):
        parse_url(address, field="url")
    with pytest.raises(Refusal):
        parse_body(f"[x](<{address}>)")


@pytest.mark.parametrize(
    ("address", "value", "filled"),
    [
        ("https://a.b/{{x}}", "c d/e?f#g&h=i", "https://a.b/c%20d%2Fe%3Ff%23g%26h%3Di"),
        ("https://a.b?q={{x}}", "Éva@x.y+1", "https://a.b?q=%C3%89va%40x.y%2B1"),
        ("https://a.b/{{x}}", "javascript:alert(1)", "https://a.b/javascript%3Aalert%281%29"),
        ("mailto:{{x}}", "a@b.c,d@e.f", "mailto:a@b.c%2Cd@e.f"),
        ("mailto:a@b.c?subject={{x}}", "x&cc=evil@b.c", "mailto:a@b.c?subject=x%26cc%3Devil%40b.c"),
        ("tel:{{x}}", "+36 1", "tel:+36%201"),
    ],
)
def test_values_are_percent_encoded_in_addresses(address, value, filled):
    assert render_url(parse_url(address, field="url"), {"x": value}) == filled


@pytest.mark.parametrize("value", [".", "..", "x" * 3_000])
def test_a_value_that_would_bend_the_address_does_not_send(value):
    with pytest.raises(MissingVariable):
        render_url(parse_url("https://a.b/account/{{x}}/edit", field="url"), {"x": value})


def test_a_body_too_long_or_too_deep_is_refused():
    for markdown in ("x" * 20_001, ">" * 500 + "x", "- " * 500 + "x", "{{n}}" * 101):
        with pytest.raises(Refusal):
            parse_body(markdown)


def walk(nodes):
    for one in nodes:
        if isinstance(one, dict):
            yield one
            yield from walk(one["children"])


MARKDOWN = st.lists(
    ANY_TEXT | st.sampled_from(["**", "*", "[", "](", ")", "![", "<", ">", "`", "\n", "\n\n", "- ", "1. ", "# ", "{{n}}", "{{", "}}", "https://a.b/",
                                "javascript:", "[x]: ", "\\", "&lt;", '{{m | fallback: "f"}}']),
    max_size=15,
).map("".join)  # fmt: skip


@given(MARKDOWN, ANY_TEXT)
def test_any_text_is_a_body_or_refused_and_renders_to_safe_nodes_only(markdown, value):
    try:
        body = parse_body(markdown)
    except Refusal as refusal:
        refusal.message.encode()
        return
    try:
        nodes = render(body, {"n": value})
    except MissingVariable:
        return
    json.dumps(nodes, ensure_ascii=False).encode()
    for one in walk(nodes):
        assert one["tag"] in TAGS
        for name in ("href", "src"):
            assert one.get(name, "https:").lower().startswith(("http:", "https:", "mailto:", "tel:"))


@given(ANY_TEXT)
def test_no_value_changes_where_an_address_leads(value):
    try:
        url = render_url(parse_url("https://a.b/x/{{n}}/y?q={{n}}", field="url"), {"n": value})
    except MissingVariable:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment, parts.path.count("/")) == ("https", "a.b", "", 3)
    assert unquote(parts.query.removeprefix("q=")) == unquote(parts.path.split("/")[2])
