"""Who a browser is taken for: leads, sessions, verified and unverified user ids, as the tracker's wire shows it."""

import hashlib
import hmac

import jwt
import msgspec
import pytest

from collector.values.clock import DAY
from tests.support.browserless import Tracker, new_lead
from tests.support.world import World


def user_hash(world: World, user_id: str) -> str:
    return hmac.new(world.site.identity_secrets[0].encode(), user_id.encode(), hashlib.sha256).hexdigest()


def token(world: World, secret: str | None = None, algorithm: str = "HS256", **claims) -> str:
    key = world.site.identity_secrets[0] if secret is None else secret
    return jwt.encode({"user_id": "u-1", "exp": world.clock() // 1000 + 600, **claims}, key, algorithm=algorithm)


def demand_verification(world: World) -> None:
    site = msgspec.structs.replace(world.site, verification="required")
    world.services.writer.run(0, lambda tx: world.services.sites.update(tx, site))
    world.services.sites.forget()


def refusal(answer) -> tuple[int, str]:
    return answer.status_code, answer.json["errors"][0]["code"]


def test_signing_up_joins_the_visitors_history_to_the_user(tracker: Tracker, world: World) -> None:
    tracker.view("/pricing")
    tracker.identify("u-1")
    tracker.collect(tracker.event("signed-up"))
    assert world.counts(("user", "u-1")) == {"page-view": 1, "signed-up": 1}


def test_a_signed_in_browser_gets_a_session_and_no_second_one_the_same_day(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1")
    session = tracker.collect(tracker.event())["session"]
    assert session["expires_at"] == world.clock() + 7 * DAY
    tracker.identify("u-1", session=session["token"])
    assert "session" not in tracker.collect(tracker.event())
    world.clock.advance(DAY + 1)
    assert "session" in tracker.collect(tracker.event())


def test_a_session_that_has_ended_parks_the_events_until_the_user_is_back(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    session = tracker.collect(tracker.event())["session"]["token"]
    event = tracker.event("late")
    tracker.identify("u-1", session=session)
    world.clock.advance(7 * DAY)
    assert refusal(tracker.post("/collect", tracker.envelope(event))) == (401, "session_expired")
    tracker.identify("u-1", session=session, hash=user_hash(world, "u-1"))
    assert tracker.collect(event)["accepted"] == 1


def test_a_session_of_another_browser_user_or_site_stands_for_nobody(tracker: Tracker, new_tracker, world: World) -> None:
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    session = tracker.collect(tracker.event())["session"]["token"]
    demand_verification(world)
    tracker.identify("u-2", session=session)
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (403, "identity_unverified")
    thief = new_tracker()
    thief.identify("u-1", session=session)
    assert refusal(thief.post("/collect", thief.envelope(thief.event()))) == (403, "identity_unverified")


def test_a_right_user_hash_verifies(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    tracker.collect(tracker.event())
    assert world.person(("user", "u-1")).verified
    assert world.rows("SELECT verified FROM merges") == [(1,)]


@pytest.mark.parametrize("forged", ["", "0" * 64, "é", "\ud800"])
def test_a_wrong_user_hash_is_refused_and_merges_nothing(tracker: Tracker, world: World, forged: str) -> None:
    tracker.view()
    tracker.identify("u-1", hash=forged)
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (403, "user_hash_invalid")
    assert world.rows("SELECT count(*) FROM merges") == [(0,)]


def test_the_hash_of_one_user_does_not_prove_another(tracker: Tracker, world: World) -> None:
    tracker.identify("u-2", hash=user_hash(world, "u-1"))
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (403, "user_hash_invalid")


def test_a_right_token_verifies(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1", jwt=token(world))
    tracker.collect(tracker.event())
    assert world.person(("user", "u-1")).verified


@pytest.mark.parametrize(
    "forge",
    [
        lambda world: token(world, secret="another secret of some length, 32 bytes"),
        lambda world: token(world, secret="", algorithm="none"),
        lambda world: token(world, exp=world.clock() // 1000 + 400 * 86_400),
        lambda world: jwt.encode({"user_id": "u-1"}, world.site.identity_secrets[0], algorithm="HS256"),
        lambda world: token(world, user_id="u-2"),
        lambda world: token(world, user_id=1),
        lambda world: "not.a.token",
    ],
    ids=["key", "none", "endless", "no-exp", "other-user", "number", "garbage"],
)
def test_any_other_token_is_refused(tracker: Tracker, world: World, forge) -> None:
    tracker.identify("u-1", jwt=forge(world))
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (403, "user_hash_invalid")


def test_an_unverified_user_id_tracks_and_is_marked(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1")
    tracker.collect(tracker.event())
    assert world.person(("user", "u-1")).unverified
    assert world.timeline(("user", "u-1"))[0].unverified


def test_where_verification_is_required_an_unverified_id_is_refused_on_every_write(tracker: Tracker, world: World) -> None:
    demand_verification(world)
    tracker.identify("u-1")
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (403, "identity_unverified")
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    session = tracker.collect(tracker.event())["session"]["token"]
    tracker.identify("u-1", session=session)
    assert tracker.collect(tracker.event())["accepted"] == 1


@pytest.mark.parametrize("user_id", ["", " ", "x" * 256, "nul\x00", "\ud800", None, True, 1.5, [], {}])
def test_what_cannot_be_a_user_id_is_refused(tracker: Tracker, world: World, user_id) -> None:
    tracker.user = {"id": user_id}
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (400, "user_id_invalid")
    assert world.rows("SELECT count(*) FROM identities") == [(0,)]


def test_the_second_user_at_a_browser_gets_its_own_history_and_a_new_lead(tracker: Tracker, world: World) -> None:
    tracker.view("/before")
    tracker.identify("first")
    tracker.view("/as-first")
    tracker.identify("second")
    answer = tracker.view("/as-second")
    assert answer["lead"] == "rotate"
    assert world.counts(("user", "second")) == {"page-view": 1}
    tracker.lead = new_lead()
    assert "lead" not in tracker.view("/again")
    assert world.counts(("user", "first")) == {"page-view": 2}
    assert world.counts(("user", "second")) == {"page-view": 2}


def test_pages_viewed_after_the_session_without_asserting_a_user_count_for_the_person(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1")
    tracker.view("/account")
    tracker.user = None
    tracker.view("/public")
    assert world.counts(("user", "u-1")) == {"page-view": 2}


def test_equal_emails_do_not_merge(tracker: Tracker, new_tracker, world: World) -> None:
    for browser in (tracker, new_tracker()):
        browser.collect({"type": "identify", "at": world.clock(), "attributes": {"email": "same@example.com"}})
    assert world.rows("SELECT count(DISTINCT principal_id) FROM identities") == [(2,)]


def test_a_token_that_has_ended_is_no_wrong_one_and_a_living_session_stands_in_for_it(tracker: Tracker, world: World) -> None:
    given = token(world)
    tracker.identify("u-1", jwt=given)
    session = tracker.collect(tracker.event())["session"]["token"]
    world.clock.advance(DAY)
    tracker.identify("u-1", jwt=given, session=session)
    assert tracker.collect(tracker.event())["accepted"] == 1
    tracker.identify("u-1", jwt=given)
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (401, "session_expired")


def test_a_session_ends_with_the_identity_secret_it_began_under(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    session = tracker.collect(tracker.event())["session"]["token"]
    encrypted = world.services.keyring.encrypt("another secret")
    world.services.writer.run(0, lambda tx: tx.run("UPDATE sites SET identity_secrets = ?", (f'["{encrypted}"]',)))
    world.services.sites.forget()
    tracker.identify("u-1", session=session)
    assert refusal(tracker.post("/collect", tracker.envelope(tracker.event()))) == (401, "session_expired")


def test_a_verified_session_is_not_made_longer_without_proof(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1", hash=user_hash(world, "u-1"))
    session = tracker.collect(tracker.event())["session"]["token"]
    world.clock.advance(6 * DAY)
    tracker.identify("u-1", session=session)
    assert "session" not in tracker.collect(tracker.event())


def test_an_unverified_session_that_has_ended_holds_nobody_back(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1")
    session = tracker.collect(tracker.event())["session"]["token"]
    world.clock.advance(8 * DAY)
    tracker.identify("u-1", session=session)
    assert tracker.collect(tracker.event())["accepted"] == 1
