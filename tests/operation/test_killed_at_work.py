"""Merges, undoing, deletions and pruning are whole or not done at all, whichever process is killed at them, and whenever."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from collector.domain.identities import Key
from collector.storage.database import Database
from collector.storage.slices import WEEK
from collector.values.clock import DAY, system_clock
from tests.support.acting import SHARED, Acts, Life, check_acts
from tests.support.clock import FakeClock
from tests.support.envelopes import new_lead
from tests.support.load import Total
from tests.support.processes import Program, run_command
from tests.support.servers import Collector
from tests.support.world import lead, user, world

KILLS = 6
KEY = "a key that is long enough for tests"
DELAY = "LEADLIGHT_UPKEEP_DELAY_SECONDS"
NEVER, AT_ONCE = "86400", "0"
WEEKS, A_WEEK = 40, 8
RETURNING, SILENT = 40, 40
SMALL_STEPS = (
    "from collector import upkeep\nfrom collector.domain import deletion, pruning\n"
    "pruning.STEP.update(sqlite=1, postgresql=1)\ndeletion.STEP = 1\nupkeep.PAUSE_SECONDS = 0.02"
)
"""So that a kill meets the middle of a week, and of a deletion, and that weeks are left for the next one."""
WHO_PRUNES = (("serve",), ("prune",), ("serve", "prune"))


@dataclass
class Aged:
    """A site of long ago: weeks to be pruned, leads that nobody saw since, and visitors and users who come again."""

    url: str
    site: dict[str, str]
    returning: list[Life]
    shared: dict[tuple[Key, str], Total]


def one_more(total: Total | None, at: int) -> Total:
    count, first, _ = total or (0, at, at)
    return count + 1, first, at


@pytest.fixture
def aged(database_url: str, often: Callable[[int], int]) -> Aged:
    clock = FakeClock(system_clock() - 480 * DAY)
    returning = [Life(new_lead()) for _ in range(RETURNING)]
    shared: dict[tuple[Key, str], Total] = {}
    with world(database_url, clock, secret_key=(KEY,)) as old:
        for number in range(SILENT):
            old.send(lead(f"silent-{number}"), old.event("old"))
        for week in range(WEEKS):
            clock.advance(WEEK)
            for number in range(A_WEEK * often(1)):
                life = returning[(week * A_WEEK + number) % RETURNING]
                old.send(lead(*life.lead.split(".")), old.event("old"))
                life.past["old"] = one_more(life.past.get("old"), clock())
            name = SHARED[week % len(SHARED)]
            old.send(user(name), old.event("old"))
            shared[user(name), "old"] = one_more(shared.get((user(name), "old")), clock())
        site = {"site_key": old.site.key, "access_token": old.access_token}
    return Aged(database_url, site, returning, shared)


@pytest.fixture
def database(aged: Aged) -> Iterator[Database]:
    database = Database(aged.url)
    yield database
    database.close()


def weeks_left(database: Database) -> int:
    """How many weeks are still to be pruned."""
    with database.read() as connection:
        oldest = (system_clock() - 99 * DAY) // WEEK
        return int(connection.value("SELECT count(*) FROM slices WHERE state <> 'pruned' AND slice > 0 AND slice < ?", (oldest,)))


def wait_for_a_week(database: Database) -> None:
    """Wait until one more week has been pruned, if any is still to be."""
    before, deadline = weeks_left(database), time.monotonic() + 60
    while before and weeks_left(database) == before:
        assert time.monotonic() < deadline, "nobody prunes"
        time.sleep(0.01)


def test_whichever_process_is_killed_acts_that_were_acknowledged_hold_and_none_is_half_done(
    aged: Aged, database: Database, start_collector: Callable[..., Collector], often: Callable[[int], int]
) -> None:
    collector = start_collector(database_url=aged.url, settings={"SECRET_KEY": KEY, DELAY: NEVER})
    acts = Acts(collector, aged.site, aged.returning)
    acts.wait_for(10)  # among them events of now, by which upkeep believes the clock
    collector.kill()
    for number in range(often(KILLS)):
        who = WHO_PRUNES[number % len(WHO_PRUNES)]
        collector.environ[DELAY] = AT_ONCE if "serve" in who else NEVER
        collector.start(SMALL_STEPS)
        programs = [collector.program]
        if "prune" in who:
            programs.append(Program("prune", ["changed_collector", "prune"], collector.folder, collector.environ))
        acts.wait_for(random.randint(1, 20))
        if number:  # at first among the leads, which come before the weeks
            wait_for_a_week(database)
        acts.wait_for(random.randint(1, 10))
        for program in random.sample(programs, len(programs)):
            program.kill()
        acts.wait_for_lost()
    collector.environ[DELAY] = NEVER
    collector.start()
    acts.finish()
    assert collector.stop() == 0, acts.summary()
    pruned = run_command(["collector", "prune"], collector.folder, collector.environ)
    assert pruned.returncode == 0, pruned.stdout + pruned.stderr
    assert weeks_left(database) == 0
    check_acts(collector, acts, aged.shared)
    done = run_command(["collector", "doctor"], collector.folder, collector.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"track", "describe", "merge", "undo", "delete"} <= acts.done.keys(), acts.summary()
