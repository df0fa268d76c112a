import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Reason, Refusal
from collector.values.metadata import DisplayValue, clean_metadata, display_value
from tests.values.strategies import ANY_TEXT, JSON, objects

BUDAPEST = ZoneInfo("Europe/Budapest")


def cleaned(**metadata):
    return clean_metadata(metadata)[0]


def refused(metadata):
    with pytest.raises(Refusal) as caught:
        clean_metadata(metadata)
    return caught.value.code.value, caught.value.field


def test_plain_values_stay_as_they_are():
    plain = {"text": "a", "whole": 3, "part": 1.5, "yes": True, "no": False, "negative": -2, "empty": ""}
    assert clean_metadata(plain) == (plain, [])


def test_no_metadata_is_an_empty_object():
    assert clean_metadata(None) == ({}, [])


def test_a_null_is_left_out():
    assert cleaned(a=None, b=1) == {"b": 1}


@pytest.mark.parametrize("raw", [[], "text", 5, True])
def test_metadata_is_an_object(raw):
    assert refused(raw) == ("metadata_invalid", "metadata")


def test_twenty_keys_are_allowed():
    assert len(cleaned(**{f"k{n}": n for n in range(20)})) == 20


def test_more_than_twenty_keys_are_refused_and_never_cut():
    assert refused({f"k{n}": n for n in range(21)}) == ("metadata_too_many_keys", "metadata")


def test_keys_are_trimmed_and_composed():
    assert cleaned(**{" cafe\u0301 ": 1}) == {"café": 1}


@pytest.mark.parametrize("key", ["", "  ", "a.b", "a$", "a\tb", "a\x00b", "a\x7fb", "a\x85b", "\ud800", "k" * 121])
def test_a_bad_key_is_refused(key):
    code, field = refused({key: 1})
    assert code == "metadata_key_invalid"
    json.dumps(field).encode()
    field.encode()


def test_the_signs_that_intercom_forbids_are_allowed():
    assert cleaned(**{"a-b!%&'{}|\\\"": 1})


@pytest.mark.parametrize(("one", "other"), [("Plan", "plan"), ("STRASSE", "straße"), ("a", " a ")])
def test_keys_equal_but_for_case_are_refused(one, other):
    code, field = refused({one: 1, other: 2})
    assert (code, field) == ("metadata_key_repeated", f"metadata.{other.strip()}")


def test_names_of_prototypes_are_keys_like_any_other():
    assert cleaned(__proto__="x", constructor=1, prototype=True) == {"__proto__": "x", "constructor": 1, "prototype": True}


def test_text_is_cut_at_255_code_points_and_flagged():
    assert clean_metadata({"a": "😀" * 300}) == ({"a": "😀" * 255}, [(Reason.STRING_CUT, "metadata.a")])


def test_text_of_255_code_points_is_whole():
    assert clean_metadata({"a": "x" * 255})[1] == []


def test_a_link_is_never_cut():
    link = "https://example.com/" + "x" * 2_028
    assert clean_metadata({"a": link}) == ({"a": link}, [])


def test_a_link_that_is_too_long_is_refused():
    assert refused({"a": "https://example.com/" + "x" * 2_029}) == ("metadata_value_invalid", "metadata.a")


def test_unstorable_characters_are_replaced_and_flagged():
    assert clean_metadata({"a": "x\x00y\ud800"}) == ({"a": "x\ufffdy\ufffd"}, [(Reason.CHARACTER_REPLACED, "metadata.a")])


def test_whole_numbers_are_exact():
    assert cleaned(a=2**53 + 1, b=10**40) == {"a": 2**53 + 1, "b": 10**40}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**1001])
def test_a_number_that_cannot_be_written_is_refused(number):
    assert refused({"a": number}) == ("metadata_value_invalid", "metadata.a")


@pytest.mark.parametrize("key", ["renewal_date", "paid_at", "PAID_AT"])
@pytest.mark.parametrize("value", [1_700_000_000, "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"])
def test_dates_become_unix_seconds(key, value):
    assert cleaned(**{key: value}) == {key: 1_700_000_000}


@pytest.mark.parametrize("value", [1_700_000_000_000, "soon", True, {}, [], "", 10**400])
def test_what_is_no_date_is_refused_under_a_date_key(value):
    assert refused({"paid_at": value}) == ("time_invalid", "metadata.paid_at")


def test_a_rich_link_is_an_address_and_its_text():
    link = {"url": "https://example.com/7", "value": "Order 7"}
    assert cleaned(order=link) == {"order": link}


def test_money_is_minor_units_and_a_currency_in_lower_case():
    assert cleaned(price={"amount": 34999, "currency": "EUR"}) == {"price": {"amount": 34999, "currency": "eur"}}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"amount": 1}, "metadata.x.currency"),
        ({"amount": 1, "currency": "euro"}, "metadata.x.currency"),
        ({"amount": 1, "currency": "éur"}, "metadata.x.currency"),
        ({"amount": 3.5, "currency": "eur"}, "metadata.x.amount"),
        ({"amount": True, "currency": "eur"}, "metadata.x.amount"),
        ({"currency": "eur"}, "metadata.x.amount"),
        ({"amount": 1, "currency": "eur", "tax": 2}, "metadata.x.tax"),
        ({"url": "javascript:alert(1)", "value": "x"}, "metadata.x.url"),
        ({"url": "https://a.b"}, "metadata.x.value"),
        ({"url": "https://a.b", "value": 5}, "metadata.x.value"),
        ({"url": "https://a.b", "value": "x", "title": "y"}, "metadata.x.title"),
        ({"nested": 1}, "metadata.x"),
        ({"value": 1}, "metadata.x"),
        ({}, "metadata.x"),
        ([1], "metadata.x"),
    ],
)
def test_other_objects_are_refused_with_the_place(value, field):
    assert refused({"x": value}) == ("metadata_value_invalid", field)


METADATA = objects("a_at", "b_date", "price") | st.dictionaries(
    ANY_TEXT,
    st.fixed_dictionaries({"amount": JSON, "currency": st.sampled_from(["EUR", "jpy", 5])})
    | st.fixed_dictionaries({"url": JSON, "value": JSON}),
)


@given(METADATA | JSON)
def test_any_json_is_cleaned_or_refused_with_a_field(raw):
    try:
        metadata, _ = clean_metadata(raw)
    except Refusal as refusal:
        assert refusal.field.startswith("metadata")
        refusal.field.encode()
        refusal.message.encode()
        return
    json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    assert clean_metadata(metadata) == (metadata, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"amount": 34999, "currency": "eur"}, "EUR 349.99"),
        ({"amount": 5, "currency": "eur"}, "EUR 0.05"),
        ({"amount": 500, "currency": "jpy"}, "JPY 500"),
        ({"amount": 1250, "currency": "bhd"}, "BHD 1.250"),
        ({"amount": -134999, "currency": "usd"}, "USD -1,349.99"),
    ],
)
def test_money_is_shown_by_the_digits_of_its_currency(value, text):
    assert display_value("price", value, UTC) == DisplayValue("money", text)


def test_dates_are_shown_in_the_zone_of_the_site():
    assert display_value("paid_at", 1_700_000_000, UTC) == DisplayValue("date", "14 Nov 2023, 22:13")
    assert display_value("paid_at", 1_700_000_000, BUDAPEST) == DisplayValue("date", "14 Nov 2023, 23:13")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("a", "text", DisplayValue("text", "text")),
        ("a", "<b>x</b>", DisplayValue("text", "<b>x</b>")),
        ("a", 3, DisplayValue("number", "3")),
        ("a", 3.0, DisplayValue("number", "3")),
        ("a", True, DisplayValue("boolean", "Yes")),
        ("a", "https://a.b/c", DisplayValue("link", "https://a.b/c", "https://a.b/c")),
        ("a", "mailto:a@b.c", DisplayValue("link", "mailto:a@b.c", "mailto:a@b.c")),
        ("a", "https://a.b/c.PNG?x=1", DisplayValue("image", "https://a.b/c.PNG?x=1", "https://a.b/c.PNG?x=1")),
        ("a", "javascript:alert(1)", DisplayValue("text", "javascript:alert(1)")),
        ("a", {"url": "https://a.b", "value": "x"}, DisplayValue("rich_link", "x", "https://a.b")),
        ("a", {"url": "javascript:alert(1)", "value": "x"}, DisplayValue("text", "x")),
        ("stripe_customer", "cus_1", DisplayValue("stripe", "cus_1", "https://dashboard.stripe.com/customers/cus_1")),
        ("stripe_customer", "nobody", DisplayValue("text", "nobody")),
    ],
)
def test_each_kind_is_shown_as_the_contract_says(key, value, shown):
    assert display_value(key, value, UTC) == shown


@given(st.sampled_from(["a", "a_at", "stripe_invoice"]), JSON)
def test_showing_never_fails_and_links_nowhere_else(key, value):
    shown = display_value(key, value, BUDAPEST)
    assert shown.href is None or shown.href.lower().startswith(("http://", "https://", "mailto:", "tel:"))
