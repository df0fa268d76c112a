"""Whose a lead may be, once what was asked of it at once has been answered.

Each claim, merge and undoing takes effect at one moment between its beginning and its answer. The answers are gone through in the order
in which they came, with every state that some order of what was under way leads to, as far as it explains them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

CLAIM, MERGE, UNDO = "claim", "merge", "undo"


@dataclass(frozen=True)
class Act:
    """What was asked about a lead and a user, from when to when (ns), and whether they were one person then, by the answer."""

    what: str
    lead: str
    user: str
    began: int
    ended: int
    joined: bool
    merge: str = ""
    """Of an undoing, the line of the journal that is undone."""


@dataclass(frozen=True)
class State:
    """Whose a lead is, from whom it stays apart until somebody merges them, and which lines of its journal are undone."""

    user: str | None = None
    parted: frozenset[str] = frozenset()
    undone: frozenset[str] = frozenset()


def after(state: State, act: Act) -> State | None:
    """Return what an act makes of a state; None where it would have been answered otherwise."""
    if act.what == UNDO:
        if act.merge in state.undone:
            return state
        return State(None, state.parted | {act.user}, state.undone | {act.merge}) if state.user == act.user else None
    may_join = act.what == MERGE or act.user not in state.parted
    joined = may_join if state.user is None else state.user == act.user
    if joined is not act.joined:
        return None
    return replace(state, user=act.user) if joined else state


_Way = tuple[State, frozenset[int]]
"""A state, and which of what is under way has taken effect in it."""


def endings(acts: Sequence[Act]) -> set[str | None]:
    """Return whose a lead may be (None: its own) after everything that was asked about it.

    Raises:
        AssertionError: no order explains an answer.
    """
    answers = [(act.ended, 1, number) for number, act in enumerate(acts)]
    moments = sorted([*((act.began, 0, number) for number, act in enumerate(acts)), *answers])
    ways: set[_Way] = {(State(), frozenset())}
    under_way: set[int] = set()
    for _, is_answer, number in moments:
        if not is_answer:
            under_way.add(number)
            continue
        before, ways = ways, _with(number, ways, acts, under_way)
        assert ways, f"not so after {[state for state, _ in before]}: {acts[number]}"
        under_way.remove(number)
    return {state.user for state, _ in ways}


def _with(number: int, ways: Collection[_Way], acts: Sequence[Act], under_way: Collection[int]) -> set[_Way]:
    """Return the ways on which an act has taken effect, whatever else did before."""
    found: set[_Way] = set()
    seen, left = set(ways), list(ways)
    while left:
        state, effective = left.pop()
        if number in effective:
            found.add((state, effective - {number}))
            continue
        for one in under_way:
            then = after(state, acts[one]) if one not in effective else None
            if then is not None and (way := (then, effective | {one})) not in seen:
                seen.add(way)
                left.append(way)
    return found
