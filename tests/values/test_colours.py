"""Colours: how they are written, contrast as WCAG computes it, and that whatever a brand chooses can be seen and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.colours import GROUNDS, brand, clean_colour, contrast
from collector.values.errors import Reason, Refusal

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21),
        ("#ffffff", "#ffffff", 1),
        ("#777777", "#ffffff", 4.48),
        ("#767676", "#ffffff", 4.54),
        ("#ff0000", "#ffffff", 4.0),
        ("#0000ff", "#ffffff", 8.59),
        ("#00ff00", "#000000", 15.3),
        ("#ffff00", "#0000ff", 8.0),
    ],
)
def test_contrast_is_that_of_wcag(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == pytest.approx(expected, abs=0.005)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize(("raw", "clean"), [("#1F4FD1", "#1f4fd1"), ("1f4fd1", "#1f4fd1"), (" #fa0 ", "#ffaa00"), ("#000", "#000000")])
def test_a_colour_is_written_in_hexadecimal(raw: str, clean: str) -> None:
    assert clean_colour(raw) == clean


@pytest.mark.parametrize(
    "raw", ["", "#", "red", "#12345", "#1234567", "#12345g", "##123456", "rgb(1,2,3)", "#١٢٣", None, 123456, ["#123456"]]
)
def test_what_is_no_colour_is_refused(raw: object) -> None:
    with pytest.raises(Refusal) as refused:
        clean_colour(raw)
    assert refused.value.code is Reason.FIELD_INVALID
    assert "#1f4fd1" in refused.value.message


@given(COLOURS)
def test_whatever_the_brand_text_can_be_read_and_edges_can_be_seen(colour: str) -> None:
    made = brand(colour)
    assert made.fill == colour
    assert contrast(made.on, made.fill) >= 4.5
    for shades, grounds in ((made.light, GROUNDS["light"]), (made.dark, GROUNDS["dark"])):
        for ground in grounds:
            assert contrast(shades.accent, ground) >= 3
            assert contrast(shades.link, ground) >= 4.5


def test_a_colour_that_suffices_is_left_as_it_is() -> None:
    made = brand("#1f4fd1")
    assert (made.on, made.light.accent, made.light.link) == ("#ffffff", "#1f4fd1", "#1f4fd1")


def test_what_is_too_pale_for_light_cards_is_darkened_there_alone_and_has_black_text() -> None:
    made = brand("#ffd400")
    assert (made.on, made.light.accent, made.dark.accent) == ("#000000", "#a68a00", "#ffd400")
