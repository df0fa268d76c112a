"""What can happen around messages, as hypothesis draws it: a few browsers of the same few people, and what they claim and report."""

from dataclasses import dataclass

import hypothesis.strategies as st

from collector.domain.deliveries import ACTIONS
from collector.values.clock import DAY, HOUR, MINUTE
from tests.laws.acts import USERS

DEVICES = 3
LINKS = ("Read on", "https://shop.example/plans")


@dataclass(frozen=True)
class Rule:
    """One message, as far as who gets it how often goes."""

    frequency: dict[str, object]
    trigger: str
    ignore_caps: bool
    holdout: int
    priority: int


@dataclass(frozen=True)
class View:
    """A browser goes to a page."""

    process: int
    device: int


@dataclass(frozen=True)
class Save:
    """A browser does what opens messages; or sends something of that kind once more, as it was."""

    process: int
    device: int
    again: int | None


@dataclass(frozen=True)
class Claim:
    """A browser asks for a message: with a new nonce, or with one that it used before, since its answer was lost or it is not honest."""

    process: int
    device: int
    message: int
    nonce: int | None
    event: int
    in_view: bool


@dataclass(frozen=True)
class Report:
    """A browser says what became of something shown to whomever, so long after it happened (ms), so many times."""

    process: int
    device: int
    delivery: int
    action: str
    link: str
    ago: int
    times: int


@dataclass(frozen=True)
class Sign:
    """From now on a browser's pages assert a user, or nobody, who may be the one who was there, or not (`reset`)."""

    device: int
    user: str | None
    reset: bool


@dataclass(frozen=True)
class Merge:
    """REST merges a browser's lead into a user."""

    process: int
    device: int
    user: str


@dataclass(frozen=True)
class Undo:
    """The last merge of a browser's lead is undone."""

    process: int
    device: int


@dataclass(frozen=True)
class Turn:
    """Time goes on by so many ms."""

    ms: int


Act = View | Save | Claim | Report | Sign | Merge | Undo | Turn

MESSAGES = 3
limits = {
    "max": st.sampled_from((None, 1, 2, 3)),
    "every_days": st.sampled_from((None, None, 1, 2)),
}
frequencies = st.one_of(
    st.just({"type": "once"}), st.just({"type": "until_acted"}), st.fixed_dictionaries({"type": st.just("every_time"), **limits})
)
rules = st.builds(
    Rule, frequencies, st.sampled_from(("page", "page", "event")), st.booleans(), st.sampled_from((0, 0, 50)), st.integers(-1, 1)
)

processes = st.integers(0, 1)
devices = st.integers(0, DEVICES - 1)
few = st.integers(0, 5)
views = st.builds(View, processes, devices)
saves = st.builds(Save, processes, devices, st.one_of(st.none(), few))
claims = st.builds(Claim, processes, devices, st.integers(0, MESSAGES - 1), st.one_of(st.none(), st.none(), few), few, st.booleans())
agos = st.sampled_from((0, 1, 40_000, HOUR, 2 * DAY))
reports = st.builds(Report, processes, devices, few, st.sampled_from(ACTIONS), st.sampled_from(LINKS), agos, st.integers(1, 2))
signs = st.builds(Sign, devices, st.sampled_from((None, *USERS)), st.booleans())
merges = st.builds(Merge, processes, devices, st.sampled_from(USERS))
undos = st.builds(Undo, processes, devices)
turns = st.builds(Turn, st.sampled_from((1, 59_000, MINUTE, 10 * MINUTE - 1, 10 * MINUTE, 11 * MINUTE, DAY - 1, DAY, 2 * DAY)))

# A chapter: somebody comes, asks for messages and says what became of them; people are decided about; time goes on.
come = st.lists(st.one_of(views, saves, signs), min_size=1, max_size=4)
asked = st.lists(st.one_of(claims, claims, claims, reports, turns), min_size=1, max_size=8)
decided = st.lists(st.one_of(signs, views, merges, undos, claims, reports), max_size=4)
chapters = st.tuples(come, asked, decided, st.lists(turns, max_size=2))
acts = st.lists(chapters, min_size=2, max_size=6).map(lambda book: [act for chapter in book for part in chapter for act in part])
