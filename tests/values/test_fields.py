from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Reason, Refusal
from collector.values.fields import clean_created_at, clean_event_name, clean_user_id, is_link, parse_time, seconds
from tests.values.strategies import JSON


def test_an_event_name_is_trimmed_and_composed():
    assert clean_event_name("  Cafe\u0301 opened\n") == "Café opened"


def test_an_event_name_keeps_its_case():
    assert clean_event_name("Placed-Order") == "Placed-Order"


def test_length_is_counted_in_code_points():
    assert clean_event_name("😀" * 120) == "😀" * 120


@pytest.mark.parametrize("raw", ["", "   ", "x" * 121, "a\x00b", "a\ud800", 5, None, True, ["a"]])
def test_a_bad_event_name_is_refused(raw):
    with pytest.raises(Refusal) as caught:
        clean_event_name(raw, field="event_name")
    assert (caught.value.code, caught.value.field) == (Reason.NAME_INVALID, "event_name")


def test_a_user_id_is_kept_exactly():
    assert clean_user_id(" Ab ") == " Ab "


def test_a_whole_number_is_a_user_id():
    assert clean_user_id(42) == "42"


NOBODY = ["", "  ", "null", "undefined", "NaN", "None", "[object Object]"]


@pytest.mark.parametrize("raw", [*NOBODY, "x" * 256, "a\x00", "\udfff", None, True, 1.5, {}, 10**2000])
def test_a_bad_user_id_is_refused(raw):
    with pytest.raises(Refusal) as caught:
        clean_user_id(raw)
    assert caught.value.code == Reason.USER_ID_INVALID


@pytest.mark.parametrize(
    ("raw", "at_ms"),
    [
        (1_700_000_000, 1_700_000_000_000),
        (1_700_000_000.25, 1_700_000_000_250),
        (0, 0),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
        ("2023-11-14T22:13:20.250z", 1_700_000_000_250),
        ("2023-11-14 22:13:20", 1_700_000_000_000),
        ("2023-11-14", 1_699_920_000_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("9999-12-31T23:59:59.9999Z", 253_402_300_799_999),
        (253_402_300_799.9999, 253_402_300_799_999),
    ],
)
def test_times_are_unix_seconds_or_iso_8601(raw, at_ms):
    assert clean_created_at(raw, field="created_at") == at_ms


@pytest.mark.parametrize("raw", [1_700_000_000_000, 1_700_000_000_000.5, "1700000000000"])
def test_milliseconds_are_refused_with_a_hint(raw):
    with pytest.raises(Refusal, match=r".*") as caught:
        clean_created_at(raw, field="created_at")
    assert caught.value.code == Reason.TIME_INVALID
    assert "milliseconds" in caught.value.message


@pytest.mark.parametrize(
    "raw",
    [-1, "1969-12-31T23:59:59Z", True, None, "", "yesterday", "1700000000", "20240101", "2024-W01-1", "2024-02-30", "2024-01-01T25:00",
     "2024-01-01T10:00:60Z", 253_402_300_800, float("nan"), float("inf"), -float("inf"), 10**2000, [], {}, "२०२४-०१-०१"],
)  # fmt: skip
def test_a_bad_time_is_refused(raw):
    with pytest.raises(Refusal) as caught:
        clean_created_at(raw, field="events[3].created_at")
    assert (caught.value.code, caught.value.field) == (Reason.TIME_INVALID, "events[3].created_at")


@pytest.mark.parametrize("raw", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_is_in_the_calendar_of_its_zone_alone_is_refused(raw):
    with pytest.raises(Refusal) as caught:
        parse_time(raw, field="due_at")
    assert (caught.value.code, caught.value.field) == (Reason.TIME_INVALID, "due_at")


@given(st.datetimes(timezones=st.timezones(), allow_imaginary=False).map(datetime.isoformat) | st.integers() | st.floats())
def test_a_time_that_is_taken_is_taken_again_as_it_is_given_out(raw):
    try:
        at_ms = parse_time(raw, field="x")
    except Refusal:
        return
    assert parse_time(seconds(at_ms), field="x") == at_ms


def test_a_date_of_birth_may_lie_before_1970():
    assert parse_time("1960-05-01", field="x") < 0


def test_seconds_are_whole_where_the_time_is():
    assert seconds(1_500) == 1.5
    assert isinstance(seconds(2_000), int)


@pytest.mark.parametrize(
    "text", ["http://a", "https://example.com:8080/x?y#z", "HTTPS://A.b", "mailto:a@b.c", "tel:+49123", "https://[::1]/"]
)
def test_these_are_links(text):
    assert is_link(text)


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:x", "data:text/html,x", "//evil.example", "/path", "https:evil",
     "https:///x", "https://", "http\u017f://a", "https://a b", "https://a\\b", "https://[::1", "https://a:99999/", "vbscript:x",
     "https://a\n", "mailto:", ""],
)  # fmt: skip
def test_these_are_no_links(text):
    assert not is_link(text)


@given(JSON)
def test_any_json_is_cleaned_or_refused(raw):
    for clean in (clean_event_name, clean_user_id, lambda value: clean_created_at(value, field="created_at")):
        try:
            clean(raw)
        except Refusal as refusal:
            assert refusal.field
