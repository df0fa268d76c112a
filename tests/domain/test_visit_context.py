"""What visits say of a person: whatever the order of arrival, of the identities that are its own, exact after a merge and its undoing."""

import json
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector.domain import deletion, mending, merging, visits
from collector.domain.doctor import examine
from collector.domain.identities import Key
from collector.domain.submissions import Event
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.visit_context import VISIT_FIELDS, described
from tests.support.world import World, lead, user

VISITS = tuple(f"01a2104a-324e-7080-a9b1-02515962ad{number:02x}" for number in range(4))
PAGES = (
    None,
    '{"url":"https://shop.example/"}',
    *(
        json.dumps(
            {"url": f"https://shop.example/?utm_source={source}", "title": "A", "referrer": f"https://{source}.example/"},
            separators=(",", ":"),  # as the collector writes them
        )
        for source in ("news", "search")
    ),
)
CLIENTS = (None, '{"browser":"Firefox","os":"Linux"}', '{"browser":"Safari","device":"mobile"}')

Said = tuple[str, int, int, int, int]
"""Who (`lead`, `other` or `user`), in which visit, how long ago (minutes), on which page, with which browser."""


def event(world: World, visit: int, page: int, age: int = 0) -> Event:
    return world.event(visit=VISITS[visit], at=world.clock() - age, page=PAGES[page])


def seen(world: World, key: Key) -> dict[str, Any]:
    return {name: value for name, value in world.attributes(key).items() if name in VISIT_FIELDS}


def undo(world: World) -> None:
    (merge,) = world.rows("SELECT m.id FROM merges m WHERE m.site = ? AND m.outcome = 'merged' ORDER BY m.id DESC LIMIT 1", world.site.id)
    assert world.services.writer.run(world.site.id, lambda tx: merging.undo(tx, world.site.id, merge[0], world.clock()))


def test_a_user_was_first_where_its_lead_was_first(world: World) -> None:
    world.send(user(), event(world, 1, 3, HOUR), lead=lead("other"))
    world.send(lead(), event(world, 0, 2, DAY), client=CLIENTS[1])
    world.send(user(), lead=lead())
    assert seen(world, user()) == {
        "first_utm_source": "news", "first_referrer": "https://news.example/", "utm_source": "search", "referrer": "https://search.example/",
    }  # fmt: skip
    assert seen(world, lead().key) == seen(world, user())


def test_a_lead_that_was_here_last_takes_what_the_user_had_away(world: World) -> None:
    world.send(user(), event(world, 0, 2, DAY), lead=lead("other"), client=CLIENTS[1])
    world.send(lead(), event(world, 1, 1), client=CLIENTS[2])
    world.send(user(), lead=lead())
    assert seen(world, user()) == {
        "first_utm_source": "news", "first_referrer": "https://news.example/", "browser": "Safari", "device": "mobile",
    }  # fmt: skip


def test_one_more_visit_does_not_read_those_before_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(lead(), event(world, 0, 2))
    monkeypatch.setattr(visits, "parts", None)
    world.clock.advance(HOUR)
    world.send(lead(), event(world, 1, 3))
    world.clock.advance(MINUTE)
    world.send(lead(), event(world, 1, 1))
    found = world.attributes(lead().key)
    assert (found["first_utm_source"], found["utm_source"]) == ("news", "search")
    assert world.person(lead().key).identities[0].visit_count == 2


def test_who_invents_visits_gets_no_more_than_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MOST", 2)
    for number in range(4):
        world.send(lead(), event(world, number, 1))
        world.clock.advance(HOUR)
    assert world.counts(lead().key) == {"page-view": 4}
    assert world.person(lead().key).identities[0].visit_count == 2
    assert list(examine(world.services.database)) == []


def test_undone_a_merge_leaves_each_with_what_its_own_visits_say(world: World) -> None:
    world.send(user(), event(world, 0, 2, DAY), lead=lead("other"), client=CLIENTS[1])
    world.send(lead(), event(world, 1, 3), client=CLIENTS[2])
    before = seen(world, user()), seen(world, lead().key)
    world.send(user(), lead=lead())
    undo(world)
    assert (seen(world, user()), seen(world, lead().key)) == before


def test_what_was_set_outlives_merges_and_gives_way_only_where_it_is_unset(world: World) -> None:
    world.set(user(), {"utm_source": "fair"}, lead=lead("other"))
    world.send(lead(), event(world, 0, 2))
    world.send(user(), lead=lead())
    assert seen(world, user())["utm_source"] == "fair"
    world.clock.advance(MINUTE)
    world.set(user(), {"utm_source": None}, lead=lead())
    assert seen(world, user())["utm_source"] == "news"
    undo(world)
    assert "utm_source" not in seen(world, user())
    assert seen(world, lead().key)["utm_source"] == "news"


def test_what_older_visits_said_is_gone_with_the_person(world: World) -> None:
    world.send(lead(), event(world, 0, 2), client=CLIENTS[1])
    person, services = world.person(lead().key).id, world.services
    assert deletion.erase(
        services.written, services.slices, lambda work: services.writer.run(0, work), services.keyring, world.site.id, person, world.clock
    )
    assert world.rows("SELECT * FROM attributes") == []
    world.clock.advance(MINUTE)
    world.send(lead(), event(world, 0, 3))
    assert seen(world, lead().key)["first_utm_source"] == "search"


def test_what_an_older_collector_left_is_mended_and_the_doctor_sees_it_before(world: World) -> None:
    world.send(lead(), event(world, 0, 2), client=CLIENTS[1])
    expected = seen(world, lead().key)
    with world.services.written.write() as tx:
        tx.run("DELETE FROM attributes")
    assert {finding.check for finding in examine(world.services.database)} == {"person_attribute"}
    database = world.services.written
    assert sum(mending.mend(database, database.transact, world.site.id, world.clock())) == 1
    assert seen(world, lead().key) == expected
    assert list(examine(world.services.database)) == []
    assert sum(mending.mend(database, database.transact, world.site.id, world.clock())) == 0


said = st.tuples(
    st.sampled_from(("lead", "other", "user")),
    st.integers(0, len(VISITS) - 1),
    st.sampled_from((0, 1, 1, 90, 2_000)),
    st.integers(0, len(PAGES) - 1),
    st.integers(0, len(CLIENTS) - 1),
)


def plain(history: Sequence[Said], members: set[str]) -> dict[str, str]:
    """Fold the plain way: of each visit the earliest event, of all visits the first and the last to begin."""
    visits: dict[str, tuple[int, str]] = {}
    for who, visit, age, page, client in history:
        if who in members:
            known = {**json.loads(PAGES[page] or "{}"), **json.loads(CLIENTS[client] or "{}")}
            mine = (age, json.dumps(known, separators=(",", ":")) if known else "")
            visits[VISITS[visit]] = min(visits.get(VISITS[visit], mine), mine, key=lambda one: (-one[0], *_descending(one[1])))
    if not visits:
        return {}
    order = sorted((-age, visit) for visit, (age, _) in visits.items())
    return described(*(visits[visit][1] for _, visit in (order[0], order[-1])))


def _descending(text: str) -> tuple[int, ...]:
    return (*(-ord(sign) for sign in text), 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(said, min_size=1, max_size=6), merged_at=st.integers(0, 6), data=st.data())
def test_any_arrival_comes_to_what_a_plain_fold_gives(world: World, history: list[Said], merged_at: int, data: st.DataObject) -> None:
    for arrival in (history, data.draw(st.permutations(history))):
        world.site = world.new_site()
        world.send(user(), lead=lead("other"))
        world.send(lead())
        for place, (who, visit, age, page, client) in enumerate(arrival):
            if place == merged_at:
                world.send(user(), lead=lead())
            whom: Any = {"lead": lead(), "other": lead("other"), "user": user()}[who]
            more = {"lead": lead("other")} if who == "user" else {}
            world.send(whom, event(world, visit, page, age * MINUTE), client=CLIENTS[client], **more)
        world.send(user(), lead=lead())
        assert seen(world, user()) == plain(history, {"lead", "other", "user"})
        undo(world)
        assert seen(world, user()) == plain(history, {"other", "user"})
        assert seen(world, lead().key) == plain(history, {"lead"})
