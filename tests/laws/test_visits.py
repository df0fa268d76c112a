"""The law of visits: what they add up to and what they say is followed one by one, and comes to what all of them together give."""

from collections.abc import Callable
from typing import NamedTuple

import hypothesis.strategies as st
from hypothesis import given

from collector.domain.identities import LEAD, USER
from collector.domain.submissions import Event, Submission
from collector.values.clock import MINUTE
from collector.values.ids import new_uuid7, uuid7_bytes
from tests.laws.play import VISITS, Play, lead
from tests.laws.test_ledger import relaxed

NUMBERS = (*VISITS, "01a2104a-324e-7080-a9b1-02515962ad5d", "01a2104a-324e-7080-a9b1-02515962ad5e")
PAGES = (None, '{"url":"https://shop.example/"}', '{"url":"https://shop.example/?utm_source=mail","referrer":"https://news.example/"}')
CLIENTS = (None, '{"browser":"Firefox","os":"Linux"}', '{"browser":"Safari","os":"iOS"}')
OWNERS = (("l-0", None), ("l-1", None), ("l-0", "u-0"), ("l-1", "u-0"))


class View(NamedTuple):
    """A view of a visit, minutes before now (halves too); page and browser by their places."""

    visit: int
    ago: float
    page: int


class Sent(NamedTuple):
    """What one browser sends: views, by which owner, with which browser."""

    owner: int
    client: int
    views: tuple[View, ...]


ages = st.sampled_from([0, 0.5, 1, 2, 30, 45, 90, 1000])
views = st.builds(View, st.integers(0, len(NUMBERS) - 1), ages, st.integers(0, len(PAGES) - 1))
sent = st.builds(
    Sent, st.integers(0, len(OWNERS) - 1), st.integers(0, len(CLIENTS) - 1), st.lists(views, min_size=1, max_size=3).map(tuple)
)
groups = st.lists(st.tuples(st.lists(sent, min_size=1, max_size=3), st.sampled_from([0, 1, 31])), min_size=1, max_size=8)


def submission(play: Play, one: Sent) -> Submission:
    its_lead, user = OWNERS[one.owner]
    now = play.clock()
    events = []
    for view in one.views:
        at = now - int(view.ago * MINUTE)
        number = uuid7_bytes(new_uuid7(at))
        assert number is not None
        events.append(Event(number, "page-view", at, uuid7_bytes(NUMBERS[view.visit]), PAGES[view.page]))
    owner = (LEAD, its_lead) if user is None else (USER, user)
    return Submission(owner=owner, lead=lead(its_lead), events=events, client=CLIENTS[one.client])


@relaxed
@given(history=groups)
def test_whatever_arrives_visits_come_to_what_all_of_them_give(begin: Callable[..., Play], history: list[tuple[list[Sent], int]]) -> None:
    play = begin()
    for group, minutes in history:
        play.processes[0].writer.record(play.world.site.id, [submission(play, one) for one in group])
        play.clock.advance(minutes * MINUTE)
        assert play.findings() == []
