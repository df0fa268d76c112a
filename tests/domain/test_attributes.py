"""Whose value counts when several identities, browsers and the site's own server speak about one person."""

import itertools

import pytest

from collector.domain import contacts
from collector.storage.database import Connection
from collector.values.errors import Reason
from tests.support.world import World, lead, user

PLAN = "custom_attributes.plan"


def test_a_user_adopts_what_it_lacks_from_its_lead(world: World) -> None:
    world.set(lead(), {PLAN: "trial", "email": "visitor@example.com"})
    world.set(user(), {"email": "user@example.com"}, lead=lead())
    assert world.attributes(user()) == {PLAN: "trial", "email": "user@example.com"}


def test_of_several_leads_the_newest_value_is_adopted(world: World) -> None:
    world.set(lead("new"), {PLAN: "pro"}, at=200)
    world.set(lead("old"), {PLAN: "trial"}, at=100)
    world.send(user(), lead=lead("new"))
    world.send(user(), lead=lead("old"))
    assert world.attributes(user()) == {PLAN: "pro"}


def test_the_users_own_value_stays_whatever_a_lead_says_later(world: World) -> None:
    world.set(user(), {PLAN: "pro"}, at=100, lead=lead())
    world.set(lead(), {PLAN: "trial"}, at=900)
    assert world.attributes(user()) == {PLAN: "pro"}


def test_an_unverified_browser_does_not_overwrite_what_rest_set(world: World) -> None:
    world.set(user(), {PLAN: "enterprise"}, browser=False)
    outcome = world.set(user(), {PLAN: "free"}, lead=lead())
    assert outcome.protected == [(0, PLAN, Reason.ATTRIBUTE_PROTECTED)]
    assert world.attributes(user()) == {PLAN: "enterprise"}


def test_what_rest_set_by_email_stays_when_a_browser_asserts_the_user(world: World) -> None:
    known_by_email_first(world)
    world.set(EMAIL_KEY, {PLAN: "enterprise"}, browser=False)
    outcome = world.set(user("u-1"), {PLAN: "free", "email": "other@example.com"}, lead=lead())
    assert sorted(name for _, name, _ in outcome.protected) == [PLAN, "email"]
    assert world.attributes(user("u-1")) == {PLAN: "enterprise", "email": "a@example.com"}


def test_what_rest_set_on_a_lead_stays_when_it_signs_up_unverified(world: World) -> None:
    world.send(lead())
    world.set(lead().key, {PLAN: "enterprise"}, browser=False)
    world.send(user(), lead=lead())
    outcome = world.set(user(), {PLAN: "free"}, lead=lead())
    assert outcome.protected == [(0, PLAN, Reason.ATTRIBUTE_PROTECTED)]
    assert world.attributes(user()) == {PLAN: "enterprise"}


def test_what_rest_unset_is_not_set_by_an_unverified_browser_where_visits_show_through(world: World) -> None:
    visit, page = "01a2104a-324e-7080-a9b1-02515962ad5b", '{"url":"https://shop.example/?utm_source=ad"}'
    world.send(user(), world.event(visit=visit, page=page), lead=lead())
    world.set(user(), {"utm_source": None}, browser=False)
    outcome = world.set(user(), {"utm_source": "typed"}, lead=lead())
    assert outcome.protected == [(0, "utm_source", Reason.ATTRIBUTE_PROTECTED)]
    assert world.attributes(user())["utm_source"] == "ad"


def test_a_value_that_agrees_with_a_protected_one_is_no_offence(world: World) -> None:
    world.set(user(), {PLAN: "enterprise"}, browser=False)
    assert world.set(user(), {PLAN: "enterprise"}, lead=lead()).protected == []


def test_a_verified_browser_may(world: World) -> None:
    world.set(user(), {PLAN: "enterprise"}, browser=False)
    world.clock.advance(1)
    world.set(user(), {PLAN: "free"}, lead=lead(), verified=True)
    assert world.attributes(user()) == {PLAN: "free"}


def test_null_unsets(world: World) -> None:
    world.set(user(), {PLAN: "pro"}, at=100, lead=lead())
    world.set(user(), {PLAN: None}, at=200, lead=lead())
    assert world.attributes(user()) == {}


def test_values_keep_their_types_and_digits(world: World) -> None:
    values = {"custom_attributes.a": 2**53 + 1, "custom_attributes.b": True, "custom_attributes.c": 1.5, "custom_attributes.d": "1"}
    world.set(user(), values, browser=False)
    assert world.attributes(user()) == values


def test_what_rest_unset_a_user_lacks_so_that_what_its_lead_says_later_is_adopted(world: World) -> None:
    world.set(user(), {PLAN: None}, at=100, browser=False)
    world.set(lead("newer"), {PLAN: "pro"}, at=300)
    world.set(lead("new"), {PLAN: "trial"}, at=200)
    world.send(user(), lead=lead("newer"))
    world.send(user(), lead=lead("new"))
    assert world.attributes(user()) == {PLAN: "pro"}
    outcome = world.set(lead("new"), {PLAN: "enterprise"}, at=400)
    assert outcome.protected == []
    assert world.attributes(user()) == {PLAN: "enterprise"}


def test_what_rest_unset_stays_unset_though_a_lead_had_it_before(world: World) -> None:
    world.set(lead(), {PLAN: "trial"}, at=100)
    world.send(user(), lead=lead())
    world.set(user(), {PLAN: None}, at=200, browser=False)
    assert world.attributes(user()) == {}
    world.set(lead(), {PLAN: "older still"}, at=150)
    assert world.attributes(user()) == {}


def test_what_rest_unset_is_not_set_by_an_unverified_browser_by_whatever_address_it_was_known(world: World) -> None:
    known_by_email_first(world)
    world.set(EMAIL_KEY, {PLAN: None}, at=100, browser=False)
    outcome = world.set(user("u-1"), {PLAN: "free"}, at=200, lead=lead())
    assert outcome.protected == [(0, PLAN, Reason.ATTRIBUTE_PROTECTED)]
    assert PLAN not in world.attributes(user("u-1"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_when_a_null_a_value_and_a_sign_in_arrive_does_not_matter(world: World, order: tuple[int, ...]) -> None:
    acts = [
        lambda: world.set(user(), {PLAN: None, "name": None}, at=200, browser=False),
        lambda: world.set(lead(), {PLAN: "before"}, at=100),
        lambda: world.set(lead(), {"name": "After"}, at=300),
        lambda: world.send(user(), lead=lead()),
    ]
    for index in order:
        acts[index]()
    assert world.attributes(user()) == {"name": "After"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_arrival_does_not_matter(world: World, order: tuple[int, ...]) -> None:
    changes = [({PLAN: "a"}, 100), ({PLAN: "b"}, 300), ({PLAN: "a"}, 200)]
    for index in order:
        values, at = changes[index]
        world.set(user(), values, at=at, lead=lead())
    assert world.attributes(user()) == {PLAN: "b"}


def test_a_user_first_known_by_an_email_keeps_its_own_value_too(world: World) -> None:
    known_by_email_first(world)
    world.set(user("u-1"), {PLAN: "own"}, at=100, lead=lead())
    world.set(lead(), {PLAN: "a lead's"}, at=900)
    assert world.attributes(user("u-1"))[PLAN] == "own"


EMAIL_KEY = ("email", "a@example.com")


def known_by_email_first(world: World) -> None:
    """Make a user by email who gets the user id u-1 later, both by REST."""
    services, site = world.services, world.site.id

    def make(tx: Connection) -> None:
        made = contacts.create(tx, site, services.names, services.maker, 1, external_id=None, values={"email": EMAIL_KEY[1]})
        contacts.update(tx, site, services.names, services.maker, 2, made, external_id="u-1", values={})

    services.writer.run(site, make)
