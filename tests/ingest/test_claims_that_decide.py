"""Under the lock a claim reads those deliveries of its person by which it is decided, however many there are."""

import itertools
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import HealthCheck, example, given, settings
from msgspec import structs

from collector.domain import deliveries, delivery, merging
from collector.domain.audiences import PersonFacts
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import HELD_OUT, SHOWN, Delivery
from collector.domain.delivery import LEASE, Moment, Recipient, TriggerEvent
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.messages import Frequency
from tests.ingest.test_messages import create
from tests.support.browserless import Tracker
from tests.support.world import World, lead, user

ONE, TWO = b"1" * 16, b"2" * 16
ages = st.sampled_from([0, LEASE - 1, LEASE, HOUR, DAY - 1, DAY, 3 * DAY, 8 * DAY])
rows = st.fixed_dictionaries(
    {
        "who": st.integers(0, 2),
        "mine": st.booleans(),
        "arm": st.sampled_from([SHOWN, SHOWN, HELD_OUT]),
        "nonce": st.sampled_from(["first-nonce", "other-nonce"]),
        "age": ages,
        "event": st.sampled_from([None, ONE, TWO]),
        "view": st.sampled_from([None, ONE, TWO]),
        **{action: st.sampled_from([None, None, HOUR]) for action in ("seen", "clicked", "answered", "dismissed")},
    }
)
frequencies = st.sampled_from(
    [
        Frequency("once", None, None),
        Frequency("until_acted", None, None),
        *(Frequency("every_time", most, days) for most in (None, 1, 3) for days in (None, 2, 8)),
    ]
)


def row(age: int, **fields: Any) -> dict[str, Any]:
    plain = {"who": 0, "mine": True, "arm": SHOWN, "nonce": "other-nonce", "event": None, "view": None}
    return {**plain, **dict.fromkeys(deliveries.ACTIONS, HOUR), "age": age, **fields}


def between(**fields: Any) -> list[dict[str, Any]]:
    """Three of which the one in the middle matters; nobody acted on any."""
    nothing = dict.fromkeys(("clicked", "answered", "dismissed"))
    return [row(8 * DAY, **nothing), row(3 * DAY, **{**nothing, **fields}), row(DAY, **nothing)]


OFTEN = Frequency("every_time", None, None)
UNTIL_ACTED = Frequency("until_acted", None, None)


def told(world: World, message: AutoMessage, had: list[Delivery], identity: int, moment: Moment) -> Any:
    """What becomes of a claim, as far as anybody hears of it or it is written."""
    recipient = Recipient(world.person(user()), PersonFacts(), had)
    decision = delivery.decide(world.site, message, recipient, moment)
    same = [one for one in had if one.nonce == "first-nonce" and one.message == message.id]
    written = delivery.granted(world.site, message, recipient, identity, "first-nonce", moment, SHOWN)
    return [(one.rule, one.holds) for one in decision.verdicts], decision.arm, decision.held_back_by, same, written


@given(
    st.lists(rows, max_size=12), frequencies, st.sampled_from([None, ONE]), st.sampled_from([None, ONE]), st.booleans(), st.integers(0, 3)
)
@example(between(arm=HELD_OUT), UNTIL_ACTED, None, None, True, 3)
@example(between(dismissed=HOUR), UNTIL_ACTED, None, None, True, 3)
@example(between(view=ONE), OFTEN, ONE, None, True, 3)
@example(between(event=ONE), OFTEN, None, ONE, True, 3)
@example(between(nonce="first-nonce"), OFTEN, None, None, True, 3)
@example([*between(), row(LEASE - 1, **dict.fromkeys(deliveries.ACTIONS)), row(0)], OFTEN, None, None, True, 1)
@example([row(HOUR, mine=False), row(DAY - 1, mine=False)], OFTEN, None, None, False, 2)
@example([row(8 * DAY), row(DAY), row(3 * DAY)], Frequency("every_time", 3, None), None, None, True, 3)
@example([row(8 * DAY, arm=HELD_OUT), row(8 * DAY, who=1), row(8 * DAY)], OFTEN, None, None, True, 3)
@example([row(8 * DAY, who=1), row(9 * DAY, who=1), row(0, who=1), row(HOUR, who=1)], OFTEN, None, None, True, 3)
@settings(max_examples=settings.default.max_examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_they_decide_what_all_would(
    world: World, made: list[dict[str, Any]], frequency: Frequency, view: bytes | None, event: bytes | None, ignore_caps: bool, per_day: int
) -> None:
    services, site = world.services, world.site
    if not world.rows("SELECT 1 FROM auto_messages"):
        for _ in range(2):
            create(world, trigger={"type": "event", "event": "saved"})
        for name in ("a", "b"):
            world.send(user(), lead=lead(name))
    limits = structs.replace(site.settings, messages_per_day=per_day, message_gap=0)
    world.site = structs.replace(site, settings=limits)
    numbers = [one.id for one in world.person(user()).identities]
    (mine, other) = (number for (number,) in world.rows("SELECT id FROM auto_messages ORDER BY id"))
    with services.database.read() as connection:
        (public,) = connection.rows("SELECT public_id FROM auto_messages WHERE id = ?", (mine,))[0]
        found = services.auto_messages.get(connection, site.id, public)
    assert found is not None
    message = structs.replace(found, definition=structs.replace(found.definition, frequency=frequency, ignore_caps=ignore_caps))
    now, counted = world.clock(), dict[tuple[int, int], int]()
    person = world.person(user()).id
    with services.written.write() as tx:
        tx.run("DELETE FROM deliveries WHERE site = ?", (site.id,))
        for one in made:
            key = (numbers[one["who"]], mine if one["mine"] else other)
            counted[key] = counted.get(key, 0) + 1
            times = {f"{action}_at": None if one[action] is None else now - one[action] for action in deliveries.ACTIONS}
            at = now - one["age"]
            row = Delivery(*key, counted[key], 1, one["arm"], one["nonce"], at, one["event"], one["view"], **times, goal_at=None)
            deliveries.insert(tx, site.id, row)
    moment = Moment(
        now=now,
        page_url="https://shop.example/",
        asserted=True,
        view=view,
        event=None if event is None else TriggerEvent(event, "saved", now - HOUR, {}),
    )
    asked = delivery.asked(world.site, message, numbers[1], "first-nonce", moment)
    with services.database.read() as connection:
        everything = deliveries.of_person(connection, site.id, person)
        expected = told(world, message, everything, numbers[1], moment)
        for known, unseen in itertools.product({0, len(made) // 2, len(made)}, (False, True)):  # what was there before, and before its acts
            before = [one for one in everything if one.n <= known]
            if unseen:
                before = [structs.replace(one, **dict.fromkeys(f"{action}_at" for action in deliveries.ACTIONS)) for one in before]
            some = deliveries.renewed(connection, site.id, person, deliveries.few(before, asked), asked)
            if some is None:  # acted on since, so that all is read once more
                assert unseen
                some = deliveries.renewed(connection, site.id, person, deliveries.few(everything, asked), asked)
            assert some is not None
            assert {_number(one) for one in some} <= {_number(one) for one in everything}
            assert told(world, message, some, numbers[1], moment) == expected
    world.site = site


def _number(one: Delivery) -> tuple[int, int, int]:
    return one.identity, one.message, one.n


def test_after_an_undone_merge_all_is_read_anew(world: World) -> None:
    create(world)
    world.send(user(), lead=lead("a"))
    (mine,) = world.rows("SELECT id FROM auto_messages")[0]
    numbers = {one.kind: one.id for one in world.person(user()).identities}
    one = Delivery(numbers["lead"], mine, 1, 1, SHOWN, "other-nonce", world.clock(), None, None, None, None, None, None, None)
    asked = deliveries.Asked(
        message=mine,
        identity=numbers["user"],
        nonce="first-nonce",
        view=None,
        event=None,
        since=0,
        per_day=1,
        leased_since=0,
        most=None,
        until_acted=False,
    )
    services, site = world.services, world.site.id
    with services.written.write() as tx:
        deliveries.insert(tx, site, one)
        assert deliveries.renewed(tx, site, numbers["user"], deliveries.few([one], asked), asked) == [one]
        merging.detach(tx, site, numbers["lead"], numbers["user"], world.clock())
        assert deliveries.renewed(tx, site, numbers["user"], deliveries.few([one], asked), asked) is None


def test_they_are_few_however_many_there_are(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "every_time"}, ignore_caps=True)
    tracker.view()
    read: list[int] = []
    rows_of = Connection.rows

    def counting(self: Connection, sql: str, parameters: Any = ()) -> Any:
        found = rows_of(self, sql, parameters)
        if "deliveries" in sql and any(database.in_transaction() for database in (world.services.written, world.services.guests)):
            read.append(len(found))
        return found

    with patch.object(Connection, "rows", counting):
        for _ in range(40):
            world.clock.advance(MINUTE + 1)
            tracker.view()
            assert tracker.claim(message)["message"] is not None
    assert len(read) >= 40
    assert max(read) < 20, "the newest of the day, and of the message the first, the last and one of each kind"
