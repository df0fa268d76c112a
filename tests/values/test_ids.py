"""Event ids, one by one and many at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.clock import DAY, SECOND
from collector.values.ids import RowIds, new_uuid7, uuid7_bytes, uuid7s_bytes

GOOD = "018bcfe5-6800-7e6b-b644-cf18dd4e3d08"
IDS = st.integers(0, 2**48 - 1).map(new_uuid7)


@given(st.lists(IDS, min_size=1, max_size=60))
def test_many_at_once_are_what_each_is_alone(texts: list[str]) -> None:
    assert uuid7s_bytes(texts) == [uuid7_bytes(text) for text in texts]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD[:14] + "4" + GOOD[15:],
        GOOD[:8] + "0" + GOOD[9:],
        GOOD[:-1] + " ",
        GOOD[:-1] + "-",
        GOOD[:-1] + "g",
        GOOD[:-2] + "\u0661\u0661",
        GOOD.replace("-", ""),
    ],
)
def test_one_that_is_none_leaves_all_to_be_looked_at_alone(bad: str) -> None:
    assert uuid7_bytes(bad) is None
    assert uuid7s_bytes([GOOD, bad, GOOD]) is None


def test_a_long_and_a_short_one_do_not_make_up_for_each_other() -> None:
    assert uuid7s_bytes([GOOD + GOOD[0], GOOD[1:]]) is None


def test_of_none_there_is_none() -> None:
    assert uuid7s_bytes([]) is None


NOW = 1_800_000_000_000


def test_row_ids_grow_also_within_a_moment_and_where_the_clock_steps_back_a_little() -> None:
    ids = RowIds()
    minted = [ids.mint(NOW - back * SECOND) for back in (0, 0, 0, 1, 5, 0)]
    assert minted == sorted(set(minted))


def test_row_ids_do_not_stay_in_the_future_that_a_wrong_clock_once_told() -> None:
    ids = RowIds()
    ids.mint(NOW + 3_650 * DAY)
    assert RowIds.first_at(NOW) <= ids.mint(NOW) < RowIds.first_at(NOW + 1)
