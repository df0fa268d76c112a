"""A visitor goes from shop.example to pay.example, another domain of the same site, by a parameter that is good once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from collector.domain import deletion
from collector.domain.handovers import LIFETIME, MOST
from collector.domain.handovers import take as take_row
from collector.domain.identities import NewIdentity
from collector.domain.limits import PerMinute
from collector.domain.secrets import digest
from collector.services import build
from collector.upkeep import purge_feed
from collector.values.clock import DAY, MINUTE
from tests.support.browserless import Tracker, new_lead
from tests.support.world import World

PAY = "https://pay.example"


@pytest.fixture(autouse=True)
def domains(world: World) -> None:
    """The site admits pages of both domains."""
    site = msgspec.structs.replace(world.site, origins=("https://shop.example", PAY, "https://www.pay.example", "https://help.example"))
    world.services.writer.run(0, lambda tx: world.services.sites.update(tx, site))
    world.services.sites.forget()


@pytest.fixture
def tracker(tracker: Tracker) -> Tracker:
    """A visitor of shop.example whom the collector knows."""
    tracker.view()
    return tracker


def ask(tracker: Tracker, to: str = "pay.example", **fields: Any) -> Any:
    body = {"v": 1, "site": tracker.world.site.key, "lead": tracker.lead, "sent_at": tracker.world.clock(), "to": to, **fields}
    return tracker.post("/handover", body)


def given(tracker: Tracker) -> str:
    answer = ask(tracker)
    assert answer.status_code == 200, answer.text
    return str(answer.json["handover"])


def take(tracker: Tracker, parameter: str, origin: str = PAY, **fields: Any) -> Any:
    """Ask for the lead as a browser that was never there before."""
    around = {"v": 1, "site": tracker.world.site.key, "lead": new_lead(), "sent_at": tracker.world.clock()}
    body = {**around, "handover": parameter, **fields}
    return tracker.post("/handover/take", body, Origin=origin)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["errors"][0]["code"]


INVALID = (403, "handover_invalid")


def test_the_page_that_is_arrived_at_gets_the_lead_that_left(tracker: Tracker) -> None:
    answer = take(tracker, given(tracker))
    assert (answer.status_code, answer.json) == (200, {"lead": tracker.lead})
    assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Cache-Control"]) == (PAY, "no-store")


def test_a_parameter_holds_neither_the_secret_nor_the_lead(tracker: Tracker, world: World) -> None:
    parameter = given(tracker)
    content = world.services.keyring.unsign(f"handover:{world.site.key}", parameter)
    assert not any(half in str(content) for half in tracker.lead.split("."))
    (stored,) = world.rows("SELECT lead FROM handovers")
    assert tracker.lead not in stored[0]


def test_a_parameter_is_good_once(tracker: Tracker) -> None:
    parameter = given(tracker)
    assert take(tracker, parameter).status_code == 200
    assert refusal(take(tracker, parameter)) == INVALID


def test_of_many_who_take_at_once_one_gets_it(tracker: Tracker) -> None:
    parameter = given(tracker)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: take(tracker, parameter).status_code, range(8)))
    assert sorted(answers) == [200, *[403] * 7]


def test_of_many_collectors_one_gives_it_out(tracker: Tracker, world: World) -> None:
    nonce = world.services.handovers.nonce(world.site, given(tracker), PAY, world.clock())
    assert nonce is not None
    with ExitStack() as stack:
        collectors = [world.services, *(build(world.services.settings, world.clock) for _ in range(3))]
        for other in collectors[1:]:
            stack.callback(other.close)
        own = NewIdentity(("lead", "arriving"), digest("secret"))
        pool = stack.enter_context(ThreadPoolExecutor(len(collectors)))
        answers = pool.map(lambda one: one.writer.run(0, lambda tx: take_row(tx, world.site, one.keyring, nonce, own)), collectors)
        taken = [answer for answer in answers if answer is not None]
    assert [one.lead for one in taken] == [tracker.lead]


def test_a_parameter_is_good_for_two_minutes(tracker: Tracker, world: World) -> None:
    early, late = given(tracker), given(tracker)
    world.clock.advance(2 * MINUTE - 1)
    assert take(tracker, early).status_code == 200
    world.clock.advance(1)
    assert refusal(take(tracker, late)) == INVALID


def test_who_is_known_already_stays_who_they_are(tracker: Tracker, new_tracker: Callable[[], Tracker]) -> None:
    parameter = given(tracker)
    known = new_tracker()
    known.view()
    assert refusal(take(known, parameter, lead=known.lead)) == INVALID
    assert take(tracker, parameter).status_code == 200


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda good: "", id="empty"),
        pytest.param(lambda good: "\0", id="no text"),
        pytest.param(lambda good: good[:-1] + ("A" if good[-1] != "A" else "E"), id="another signature"),
        pytest.param(lambda good: "A" + good, id="another content"),
        pytest.param(lambda good: good.rpartition(".")[0], id="no signature"),
    ],
)
def test_what_nobody_signed_is_refused_and_uses_nothing_up(tracker: Tracker, forge: Callable[[str], str]) -> None:
    good = given(tracker)
    assert refusal(take(tracker, forge(good))) == INVALID
    assert take(tracker, good).status_code == 200


def test_what_was_signed_for_another_purpose_is_no_parameter(tracker: Tracker, world: World) -> None:
    session = world.services.keyring.sign(f"session:{world.site.key}", ["nonce", "pay.example", world.clock() + MINUTE])
    assert refusal(take(tracker, session)) == INVALID


def test_another_site_of_the_installation_cannot_take_it(tracker: Tracker, world: World) -> None:
    parameter = given(tracker)
    other = world.new_site("Other", PAY)
    assert refusal(take(tracker, parameter, site=other.key)) == INVALID
    assert take(tracker, parameter).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [(PAY, 200), ("https://www.pay.example", 200), ("https://help.example", 403), ("https://shop.example", 403), ("null", 403)],
)
def test_only_pages_of_the_domain_it_was_made_for_can_take_it(tracker: Tracker, origin: str, status: int) -> None:
    assert take(tracker, given(tracker), origin).status_code == status


def test_an_origin_that_the_site_does_not_admit_is_refused(tracker: Tracker) -> None:
    assert refusal(take(tracker, given(tracker), "https://evil.example")) == (403, "origin_not_allowed")


def test_only_who_has_the_secret_can_hand_a_lead_over(tracker: Tracker) -> None:
    forged = tracker.lead.split(".")[0] + "." + new_lead().split(".")[1]
    assert refusal(ask(tracker, lead=forged)) == (403, "lead_secret_invalid")


def test_a_lead_that_the_collector_never_saw_is_not_handed_over(tracker: Tracker, world: World) -> None:
    assert refusal(ask(tracker, lead=new_lead())) == (404, "not_found")
    assert world.rows("SELECT count(*) FROM handovers") == [(0,)]


@pytest.mark.parametrize("to", ["", "Pay.example", "pay.example/path", "pay.example:80", "-", "a" * 254, "\ud800"])
def test_a_domain_is_a_host_name(tracker: Tracker, to: str) -> None:
    assert ask(tracker, to=to).status_code == 400


def test_nothing_is_handed_over_of_who_asked_not_to_be_tracked(tracker: Tracker, world: World) -> None:
    parameter = given(tracker)
    body = {"v": 1, "site": world.site.key, "sent_at": world.clock()}
    asked = tracker.post("/handover", {**body, "lead": tracker.lead, "to": "pay.example"}, Sec_GPC="1")
    taken = tracker.post("/handover/take", {**body, "lead": new_lead(), "handover": parameter}, Sec_GPC="1", Origin=PAY)
    assert asked.json == {"handover": None, "reason": "consent_withheld"}
    assert taken.json == {"lead": None, "reason": "consent_withheld"}
    assert take(tracker, parameter).status_code == 200


def test_a_lead_that_is_signed_in_takes_the_end_of_its_session_along(tracker: Tracker, world: World) -> None:
    tracker.identify("u-1")
    tracker.collect(tracker.event())
    assert take(tracker, given(tracker)).json == {"lead": tracker.lead, "session": {"expires_at": world.clock() + 7 * DAY}}


def test_one_lead_has_so_many_waiting_and_no_more(tracker: Tracker, world: World) -> None:
    parameters = [given(tracker) for _ in range(MOST)]
    answer = ask(tracker)
    assert (*refusal(answer), answer.headers["Retry-After"]) == (429, "handover_limit", "60")
    take(tracker, parameters[0])
    assert ask(tracker).status_code == 200
    world.clock.advance(LIFETIME)
    assert ask(tracker).status_code == 200


def test_one_site_causes_so_many_a_minute_and_no_more(new_tracker: Callable[[], Tracker], tracker: Tracker, world: World) -> None:
    world.services.handovers._per_minute = PerMinute(2)
    given(tracker)
    given(tracker)
    another = new_tracker()
    another.view()
    assert refusal(ask(another)) == (429, "handover_limit")
    world.clock.advance(MINUTE)
    assert ask(another).status_code == 200


def test_what_nobody_took_is_gone_once_it_is_late(tracker: Tracker, world: World) -> None:
    given(tracker)
    purge_feed(world.services, world.services.written.transact)
    assert world.rows("SELECT count(*) FROM handovers") == [(1,)]
    world.clock.advance(LIFETIME)
    purge_feed(world.services, world.services.written.transact)
    assert world.rows("SELECT count(*) FROM handovers") == [(0,)]


def test_whoever_is_deleted_is_not_handed_over_any_more(tracker: Tracker, world: World) -> None:
    parameter = given(tracker)
    person = world.person(("lead", tracker.lead.split(".")[0]))
    services = world.services
    deletion.erase(services.written, services.slices, services.written.transact, services.keyring, world.site.id, person.id, world.clock)
    assert world.rows("SELECT count(*) FROM handovers") == [(0,)]
    assert refusal(take(tracker, parameter)) == INVALID
