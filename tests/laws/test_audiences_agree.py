"""One meaning everywhere: whom a query describes, asked of one person after the other in memory and of everybody in SQL."""

from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector.domain import facts, people, selection_parts
from collector.domain.audiences import matches
from collector.values.queries import parse
from collector.values.query_tree import needs
from tests.laws.asked import all_queries, in_sql, live
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
def test_a_query_that_is_cut_into_parts_names_the_same_people(world: World, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("HEAVIEST", 1), ("DEEPEST", 1), ("WIDEST", 2)):
        monkeypatch.setattr(selection_parts, name, most)
    _agree(world, data)


def _agree(world: World, data: st.DataObject) -> None:
    world.site = world.new_site()
    for number in range(data.draw(st.integers(1, 4))):
        live(world, data.draw, number)
    for raw in data.draw(st.lists(all_queries, min_size=1, max_size=12)):
        assert in_sql(world, raw) == _in_memory(world, raw), raw


def _in_memory(world: World, raw: Any) -> list[int]:
    node = parse(raw, retention_days=90)
    found = []
    with world.services.database.read() as connection:
        rows = connection.rows("SELECT id FROM identities WHERE site = ? AND principal_id = id ORDER BY id", (world.site.id,))
        for (number,) in rows:
            person = people.load(connection, world.site.id, number)
            retention = world.services.settings.retention
            known = facts.load(connection, world.site, world.services.names, person, needs(node), world.clock(), retention)
            if matches(node, known, world.clock(), world.site.zone):
                found.append(number)
    return found
