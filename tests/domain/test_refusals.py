"""Refused claims in the journal: the site's public key is enough for one, so of everybody only so many are kept, and the first of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from collector.domain import journal, merging
from collector.domain.journal import Merge
from collector.domain.merging import Claim
from collector.domain.submissions import Submission
from collector.services import Services, build
from collector.values.clock import HOUR
from tests.support.world import World, lead, user

MOST = 3


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "REFUSALS", MOST)


@pytest.fixture
def other(world: World) -> Iterator[Services]:
    """Another process's collector on the same database."""
    services = build(world.services.settings, world.clock)
    yield services
    services.close()


def refused(world: World) -> list[tuple[str, str]]:
    """Lead and user of each refused claim in the journal, the oldest first."""
    return world.rows(
        "SELECT l.value, t.value FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead "
        "JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.outcome = 'refused' ORDER BY m.id"
    )


def taken(world: World, *names: str) -> None:
    """Leads that are somebody's."""
    for name in names:
        assert world.send(user("owner"), lead=lead(name)).claim is Claim.MERGED


def lines(world: World, name: str) -> list[Merge]:
    with world.services.database.read() as connection:
        return journal.of_person(connection, world.site.id, world.person(user(name)), limit=1_000)


def test_of_many_leads_that_one_user_id_is_named_for_the_first_are_kept(world: World) -> None:
    names = [f"lead-{number}" for number in range(2 * MOST)]
    taken(world, *names)
    for name in [*names, *names]:
        assert world.send(user("guest"), lead=lead(name)).claim is Claim.REFUSED
    assert refused(world) == [(name, "guest") for name in names[:MOST]]


def test_of_leads_beyond_those_that_join_without_a_proof_the_first_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST", 1)
    for number in range(2 * MOST):
        assert world.send(user("guest"), lead=lead(f"lead-{number}")).claim is (Claim.FULL if number else Claim.MERGED)
    assert refused(world) == [(f"lead-{number}", "guest") for number in range(1, MOST + 1)]
    assert len(lines(world, "guest")) == MOST + 1


def test_of_many_user_ids_that_are_named_for_one_lead_the_first_are_kept(world: World) -> None:
    taken(world, "lead")
    for number in range(2 * MOST):
        assert world.send(user(f"invented-{number}"), lead=lead("lead")).claim is Claim.REFUSED
    assert refused(world) == [("lead", f"invented-{number}") for number in range(MOST)]
    assert len(lines(world, "owner")) == MOST + 1


def test_what_anybody_can_say_keeps_nothing_out_that_is_proved(world: World) -> None:
    names = [f"lead-{number}" for number in range(MOST + 2)]
    taken(world, *names)
    for name in names[:-1]:
        world.send(user("guest"), lead=lead(name))
    assert world.send(user("guest"), lead=lead(names[-1]), verified=True).claim is Claim.REFUSED
    assert refused(world) == [(name, "guest") for name in (*names[:MOST], names[-1])]
    assert world.rows("SELECT count(*) FROM merges WHERE outcome = 'refused' AND verified = 1") == [(1,)]


def test_every_merge_is_kept_and_undone_however_many_were_refused(world: World) -> None:
    taken(world, *(f"lead-{number}" for number in range(2 * MOST)))
    for number in range(2 * MOST):
        world.send(user("guest"), lead=lead(f"lead-{number}"))
    for number in range(2 * MOST):
        world.clock.advance(HOUR)
        assert world.send(user("guest"), world.event(), lead=lead(f"own-{number}")).claim is Claim.MERGED
    merges = [line.id for line in lines(world, "guest") if line.outcome == "merged"]
    assert len(merges) == 2 * MOST
    for merge in merges:
        assert world.services.writer.run(world.site.id, lambda tx, merge=merge: merging.undo(tx, world.site.id, merge, world.clock()))
    assert len(world.person(user("guest")).identities) == 1
    assert len(lines(world, "guest")) == 3 * MOST


def test_no_more_are_kept_where_many_are_refused_at_once_by_two_processes(world: World, other: Services) -> None:
    names = [f"lead-{number}" for number in range(8)]
    taken(world, *names)
    gate = Barrier(len(names))

    def claim(number: int) -> None:
        services = (world.services, other)[number % 2]
        gate.wait(30)
        (outcome,) = services.writer.record(world.site.id, [Submission(owner=user("guest"), lead=lead(names[number]), browser=True)])
        assert outcome.claim is Claim.REFUSED

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(claim, range(len(names))))
    assert len(refused(world)) == MOST


def test_the_journal_of_somebody_is_read_page_by_page_each_line_once(world: World) -> None:
    for number in range(5):
        world.send(user(), lead=lead(f"lead-{number}"))  # all in one ms
    taken(world, "not-theirs")
    world.send(user(), lead=lead("not-theirs"))
    whole = [line.id for line in lines(world, "u-1")]
    person, seen, before = world.person(user()), [], None
    with world.services.database.read() as connection:
        while page := journal.of_person(connection, world.site.id, person, limit=4, before=before):
            seen += [line.id for line in page]
            before = seen[-1]
    assert seen == whole == sorted(set(whole), reverse=True)
    assert len(seen) == 6
