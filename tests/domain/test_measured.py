"""Totals of many people, packed or not, are the sums of what was added."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import measured
from collector.domain.audiences import Total
from collector.domain.measured import Measured

added = st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(-9, 9), st.integers(0, 9))
"""Person, how often, first, how long until the last."""


@given(st.lists(added, max_size=40), st.integers(1, 5), st.integers(0, 20))
def test_each_person_once_with_what_was_added(rows: list[tuple[int, int, int, int]], people: int, merged: int) -> None:
    expected: dict[int, tuple[int, int, int]] = {}
    with patch.object(measured, "PEOPLE", people), patch.object(measured, "_MERGED", merged):
        totals = Measured()
        for person, count, first, long in rows:
            totals.add(person, Total(count, first, first + long))
            before = expected.get(person, (0, first, first + long))
            expected[person] = before[0] + count, min(before[1], first), max(before[2], first + long)
        portions = list(totals.portions())
    assert all(0 < len(portion) <= people for portion in portions)
    assert [row for portion in portions for row in portion] == [(person, *total) for person, total in sorted(expected.items())]
