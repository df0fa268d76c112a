"""Conditions on lists of values, however long they are."""

import pytest

from tests.support.world import World


def test_nothing_is_one_of_no_values(world: World) -> None:
    with world.services.database.read() as connection:
        among, parameters = connection.among([])
        for one in (1, "a"):
            kind = "bigint" if one == 1 else "text"
            assert (
                connection.value(f"SELECT count(*) FROM (SELECT CAST(? AS {kind}) AS one) AS asked WHERE one {among}", (one, *parameters))
                == 0
            )


@pytest.mark.parametrize("count", [1, 3, 8_192, 8_193, 40_000])
def test_a_column_is_one_of_as_many_values_as_there_are(world: World, count: int) -> None:
    numbers = [2**62 - 3 * number for number in range(count)]
    texts = [f"É “{number}”" for number in numbers]
    with world.services.database.read() as connection:
        for values, kind in ((numbers, "bigint"), (texts, "text")):
            among, parameters = connection.among(values)  # type: ignore[arg-type]
            for value, found in ((values[0], 1), (values[-1], 1), (numbers[0] - 1 if kind == "bigint" else "É", 0)):
                asked = f"SELECT count(*) FROM (SELECT CAST(? AS {kind}) AS one) AS asked WHERE one {among}"
                assert connection.value(asked, (value, *parameters)) == found
