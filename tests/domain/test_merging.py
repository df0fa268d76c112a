"""A lead becomes a user: the rows of the contract's table of identities."""

import pytest

from collector.domain import merging
from collector.domain.audiences import Total
from collector.domain.merging import Claim
from collector.values.clock import DAY, HOUR
from collector.values.errors import Reason
from collector.values.ids import RowIds
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, user
from tests.support.world import world as start


def test_a_lead_that_signs_up_becomes_one_person_with_its_whole_history(world: World) -> None:
    start = world.clock()
    world.send(lead(), world.event("page-view"), world.event("page-view"))
    world.clock.advance(HOUR)
    outcome = world.send(user(), world.event("signed-up"), world.event("page-view"), lead=lead())

    assert outcome.claim is Claim.MERGED
    assert world.person(lead().key).id == world.person(user()).id
    assert world.totals(user()) == {
        "page-view": Total(3, start, start + HOUR),
        "signed-up": Total(1, start + HOUR, start + HOUR),
    }
    assert len(world.timeline(user())) == 4


def test_a_lead_that_signs_in_adds_to_the_existing_user(world: World) -> None:
    first = world.clock()
    world.send(user(), world.event("created-report"), lead=lead("old"))
    world.clock.advance(DAY)
    world.send(lead("new"), world.event("created-report"))
    last = world.clock()
    world.send(user(), lead=lead("new"))
    assert world.totals(user())["created-report"] == Total(2, first, last)


def test_signing_in_again_changes_nothing(world: World) -> None:
    event = world.event("signed-up")
    world.send(user(), event, lead=lead())
    again = world.send(user(), event, lead=lead())
    assert again.claim is Claim.ALREADY
    assert again.events == [False]
    assert world.counts(user()) == {"signed-up": 1}
    assert world.rows("SELECT count(*) FROM merges") == [(1,)]


def test_every_device_of_a_user_becomes_the_same_person(world: World) -> None:
    for device in ("phone", "laptop", "tablet"):
        world.send(lead(device), world.event("page-view"))
        world.send(user(), lead=lead(device))
    assert world.counts(user()) == {"page-view": 3}
    assert len(world.person(user()).identities) == 4


def test_late_events_of_a_merged_lead_go_to_the_user(world: World) -> None:
    world.send(user(), lead=lead())
    world.send(lead(), world.event("page-view"))
    assert world.counts(user()) == {"page-view": 1}


def test_every_event_stays_with_the_identity_that_sent_it(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    world.send(user(), world.event("signed-up"), lead=lead())
    world.send(lead(), world.event("page-view"))
    sent_by_lead = {event.name: event.lead for event in world.timeline(user())}
    assert sent_by_lead == {"page-view": True, "signed-up": False}
    halves = world.rows("SELECT count, own_count FROM totals ORDER BY identity, name")
    assert sorted(halves, key=str) == sorted([(None, 2), (2, 0), (1, 1)], key=str)


def test_the_first_claim_keeps_the_lead_and_the_second_user_only_what_was_sent_as_that_user(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    world.send(user("first"), lead=lead())
    outcome = world.send(user("second"), world.event("page-view"), lead=lead())
    assert outcome.claim is Claim.REFUSED
    assert world.counts(user("first")) == {"page-view": 1}
    assert world.counts(user("second")) == {"page-view": 1}
    assert world.person(lead().key).user_id == "first"


def test_a_refused_claim_is_journalled_once_with_its_reason(world: World) -> None:
    world.send(user("first"), lead=lead())
    for _ in range(3):
        world.send(user("second"), lead=lead())
    assert world.rows("SELECT outcome, reason FROM merges ORDER BY at, id") == [("merged", "identify"), ("refused", "lead_claimed")]


def test_a_user_id_that_everybody_uses_takes_so_many_leads_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each merge reads what all the person's leads have, and the site's public key is enough to ask for one."""
    monkeypatch.setattr(merging, "MOST", 2)
    for name in ("a", "b", "c", "c"):
        world.send(lead(name), world.event("page-view"))
        outcome = world.send(user("guest"), world.event("used"), lead=lead(name))
    assert outcome.claim is Claim.FULL
    assert world.counts(user("guest")) == {"page-view": 2, "used": 4}
    assert world.counts(lead("c").key) == {"page-view": 2}
    reasons = world.rows("SELECT outcome, reason FROM merges ORDER BY at, id")
    assert reasons == [("merged", "identify"), ("merged", "identify"), ("refused", "leads_limit")]
    assert world.send(user("a-person"), lead=lead("c")).claim is Claim.MERGED
    assert world.send(user("guest"), lead=lead("d"), verified=True).claim is Claim.MERGED


def test_a_pair_whose_merge_was_undone_does_not_merge_again_by_itself(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    person = world.send(user(), lead=lead()).person
    lead_id = next(one.id for one in world.person(user()).identities if one.kind == "lead")

    def undo(tx):
        tx.run("UPDATE merges SET undone_at = 1, blocked = 1")
        tx.run("UPDATE identities SET principal_id = id WHERE id = ?", (lead_id,))

    world.services.writer.run(world.site.id, undo)
    assert world.send(user(), lead=lead()).claim is Claim.BLOCKED
    assert world.person(user()).id == person
    assert world.person(lead().key).id == lead_id


def test_a_forged_secret_writes_nothing_and_reads_nothing(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    outcome = world.send(lead(secret="guessed"), world.event("page-view"))
    assert outcome.error is Reason.LEAD_SECRET_INVALID
    assert outcome.person is None
    assert world.counts(lead().key) == {"page-view": 1}


def test_a_forged_lead_is_not_pulled_into_a_user(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    outcome = world.send(user("thief"), world.event("page-view"), lead=lead(secret="guessed"))
    assert outcome.error is Reason.LEAD_SECRET_INVALID
    assert world.person(lead().key).role == "lead"


def test_the_journal_says_whether_the_user_id_was_verified(world: World) -> None:
    world.send(user("proved"), lead=lead("a"), verified=True)
    world.send(user("claimed"), lead=lead("b"))
    assert world.person(user("proved")).verified
    assert not world.person(user("proved")).unverified
    assert world.person(user("claimed")).unverified
    assert world.rows("SELECT verified FROM merges ORDER BY id") == [(1,), (0,)]


def test_sites_share_nothing(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    first = world.site
    world.site = world.new_site("Other")
    world.send(lead(secret="another"), world.event("page-view"))
    assert world.counts(lead().key) == {"page-view": 1}
    world.site = first
    assert world.counts(lead().key) == {"page-view": 1}


def test_a_row_id_that_another_process_minted_too_is_minted_anew(
    postgres_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_database(postgres_url) as url, start(url, clock) as world:
        world.send(user("first"), lead=lead("first"))
        ((taken,),) = world.rows("SELECT id FROM merges")
        mint, minted = RowIds.mint, []

        def collide(self: RowIds, now_ms: int) -> int:
            minted.append(taken if len(minted) == 2 else mint(self, now_ms))  # after those of lead and user
            return minted[-1]

        monkeypatch.setattr(RowIds, "mint", collide)
        assert world.send(user("second"), lead=lead("second")).claim is Claim.MERGED
        assert minted[2] == taken
        assert len(world.rows("SELECT id FROM merges")) == 2
