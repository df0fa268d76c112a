"""Lists of values as PostgreSQL's arrays: what goes in comes out."""

from typing import Any

import pytest

from collector.storage.database import Database
from collector.storage.packing import packed
from tests.support.postgres import new_database

LISTS: list[list[Any]] = [
    [1],
    [-(2**63), -1, 0, 1, 2**63 - 1],
    [1, None, 3],
    [0.5, -1e300, float("inf")],
    [None, 2.5],
    ["", "Straße", 'a "quoted", {braced} \\ text', "💚"],
    ["x", None],
    [b"", b"\x00\xff", bytes(300)],
    [None, b"\x00"],
]


@pytest.mark.parametrize("values", LISTS, ids=str)
def test_an_array_holds_the_values_it_was_made_of(postgres_url: str, values: list[Any]) -> None:
    with new_database(postgres_url) as url:
        database = Database(url)
        with database.read() as connection:
            rows = connection.rows("SELECT one FROM unnest(?) WITH ORDINALITY AS t (one, place) ORDER BY place", (packed(values),))
        database.close()
    assert [row[0] for row in rows] == values


def test_nothing_but_nulls_is_an_array_of_the_type_that_is_given() -> None:
    assert packed([None, None]) is None
    assert packed([None, None], int) is not None


@pytest.mark.parametrize("values", [[1, "two"], [1, 2.5], [1, None, 2.5], [2**63], [True, None], ["a", b"x"], [b"x", "a"]])
def test_values_that_do_not_fit_are_refused(values: list[Any]) -> None:
    with pytest.raises(TypeError):
        packed(values)
