"""What browsers gave up: counted for each site, by their own word."""

import pytest

from collector.decision_keeper import DecisionKeeper
from collector.domain import losses
from collector.domain.losses import MOST, Losses, Reported
from collector.storage.database import Connection
from collector.values.clock import HOUR
from tests.support.browserless import Tracker
from tests.support.world import World

by_one_entry = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)


def known(world: World) -> Reported | None:
    world.services.losses.write()
    with world.services.database.read() as connection:
        return losses.of_site(connection, world.site.id)


def post(tracker: Tracker, dropped: object) -> int:
    return int(tracker.post("/collect", tracker.envelope(tracker.event(), dropped=dropped)).status_code)


@by_one_entry
def test_reports_add_up_and_the_last_one_is_dated(tracker: Tracker, world: World) -> None:
    assert known(world) is None
    assert (post(tracker, 3), post(tracker, 4)) == (202, 202)
    assert known(world) == Reported(7, world.clock())
    world.clock.advance(HOUR)
    post(tracker, 1)
    assert known(world) == Reported(8, world.clock())
    world.clock.advance(HOUR)
    post(tracker, 0)
    assert known(world) == Reported(8, world.clock() - HOUR)


@by_one_entry
@pytest.mark.parametrize(("dropped", "counted"), [(10**18, MOST), (-5, None)])
def test_no_report_adds_more_than_a_store_holds_or_takes_any_away(
    tracker: Tracker, world: World, dropped: int, counted: int | None
) -> None:
    assert post(tracker, dropped) == 202
    found = known(world)
    assert (found and found.items) == counted


@by_one_entry
def test_the_log_says_how_many_and_of_which_site(tracker: Tracker, world: World, caplog: pytest.LogCaptureFixture) -> None:
    post(tracker, 3)
    keeper = DecisionKeeper(world.services)
    keeper.stop()
    assert f"site {world.site.id}: browsers report 3 items given up" in caplog.text


def test_what_is_not_written_waits_for_the_next_time(world: World) -> None:
    broken = True

    def transact(work: object) -> int:
        if broken:
            raise RuntimeError
        return int(world.services.written.transact(work))  # type: ignore[arg-type]

    noted = Losses(transact)
    noted.note(world.site.id, 1, world.clock())
    with pytest.raises(RuntimeError):
        noted.write()
    noted.note(world.site.id, 2, world.clock())
    broken = False
    assert noted.write() == {world.site.id: 3}
    assert noted.write() == {}


def test_sites_are_counted_apart(world: World) -> None:
    def transact(work: object) -> int:
        return int(world.services.written.transact(work))  # type: ignore[arg-type]

    noted = Losses(transact)
    for site in (1, 2, 12):
        noted.note(site, site, world.clock())
    assert noted.write() == {1: 1, 2: 2, 12: 12}

    def of(connection: Connection) -> list[int]:
        return [found.items for site in (1, 2, 12) if (found := losses.of_site(connection, site))]

    with world.services.database.read() as connection:
        assert of(connection) == [1, 2, 12]
