"""One meaning everywhere: whom a query describes, asked of one person after the other in memory and of everybody in SQL."""

from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector.domain import measured, selection, selection_parts
from tests.laws.asked import all_queries, in_memory, in_sql, live
from tests.support.clock import FakeClock
from tests.support.world import World
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as running:
        yield running


relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])


@relaxed
@given(data=st.data())
def test_memory_and_sql_name_the_same_people(world: World, data: st.DataObject) -> None:
    _agree(world, data)


@settings(relaxed, max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_a_query_that_is_cut_and_measured_in_parts_names_the_same_people(
    world: World, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("HEAVIEST", 1), ("DEEPEST", 1), ("WIDEST", 2)):
        monkeypatch.setattr(selection_parts, name, most)
    monkeypatch.setattr(selection, "EVENTS", 2)
    for name in ("PEOPLE", "_MERGED"):
        monkeypatch.setattr(measured, name, 1)
    _agree(world, data)


def _agree(world: World, data: st.DataObject) -> None:
    world.site = world.new_site()
    for number in range(data.draw(st.integers(1, 4))):
        live(world, data.draw, number)
    for raw in data.draw(st.lists(all_queries, min_size=1, max_size=12)):
        assert in_sql(world, raw) == in_memory(world, raw), raw
