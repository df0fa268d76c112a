"""One history in two orders of arrival. What decides who belongs to whom comes in one order; facts come when they like to, and again."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import hypothesis.strategies as st

from collector.domain.identities import LEAD, USER, Key
from collector.domain.merging import Claim
from collector.values.clock import HOUR
from tests.laws import acts
from tests.laws.play import Message, Play, named

MOST_ROUNDS = 6


@dataclass(frozen=True)
class Round:
    """Facts, which may arrive in this round or in a later one; then what decides."""

    facts: tuple[acts.Said, ...]
    decisions: tuple[acts.Act, ...]


# Of what lies ahead it depends on its arrival whether a deletion takes it along or it lets the person come anew: deletions wait for it.
# And whoever is met again after one, so that REST finds them, is met later than it.
erasures = acts.erasures.map(lambda act: (acts.Turn(HOUR), act, acts.Turn(1)))
single = st.one_of(acts.claims, acts.claims, acts.merges, acts.undos, acts.imports, acts.turns, acts.turns).map(lambda act: (act,))
decisions = st.lists(st.one_of(*[single] * 7, erasures), min_size=1, max_size=3).map(lambda parts: tuple(itertools.chain(*parts)))
said = st.one_of(acts.anonymous, acts.signed_in, acts.rest, acts.rest_of_leads)
rounds = st.lists(
    st.builds(Round, st.lists(said, max_size=4).map(tuple), decisions),
    min_size=2,
    max_size=MOST_ROUNDS,
)


def dated(play: Play, history: Sequence[Round]) -> tuple[list[list[Message]], list[int]]:
    """Give every fact ids and times, once for all arrivals, and say when each round begins.

    A message that says nothing has no time but that of its arrival: after a deletion it matters when it comes, so none is sent.
    """
    facts, begins = [], []
    now = play.clock()
    for one in history:
        begins.append(play.clock())
        facts.append([message for fact in one.facts if (message := play.message(fact)).events or message.changes])
        play.clock.advance(sum(act.ms for act in one.decisions if isinstance(act, acts.Turn)))
    play.clock.now = now
    return facts, begins


def arrive(play: Play, history: Sequence[Round], facts: Sequence[Sequence[Message]], begins: Sequence[int], random: Random) -> None:
    """Let a history arrive: each fact in its round or a later one while it is in time, some again, cut into commits anyhow."""
    waiting: list[Message] = []
    spoken_of = sorted({fact.owner for each in facts for fact in each if fact.owner[0] == LEAD and not fact.browser})
    for number, one in enumerate(history):
        play.meet(*spoken_of)  # REST finds nobody else
        waiting += facts[number]
        last = number + 1 == len(history)
        due = [fact for fact in waiting if last or random.random() < 0.5 or _expires(fact, begins[number + 1], play.model.retention)]
        waiting = [fact for fact in waiting if fact not in due]
        again = [fact for fact in play.sent if random.random() < 0.2 and not _expires(fact, play.clock(), play.model.retention)]
        arriving = due + again
        random.shuffle(arriving)
        while arriving:
            size = random.randint(1, 4)
            play.send(random.randint(0, 1), [_harmless(play, fact) for fact in arriving[:size]])
            arriving = arriving[size:]
        play.sent = [fact for fact in play.sent if fact.events or fact.changes]
        for act in one.decisions:
            play.meet(*_concerned(act))
            play.act(act)
            if random.random() < 0.3:
                play.prune(random.randint(0, 1), random.choice((None, 1, 2, 5)), closings=random.random() < 0.5)


def _harmless(play: Play, fact: Message) -> Message:
    """Return a user's fact without its browser where that would be the first to claim the lead: claims keep their order."""
    if fact.lead is None or fact.owner[0] == LEAD:
        return fact
    model, lead = play.model, (LEAD, fact.lead)
    known = lead in model.known and fact.owner in model.known
    return fact if known and model.would(lead, fact.owner) is not Claim.MERGED else replace(fact, lead=None)


def _expires(fact: Message, now: int, retention: int) -> bool:
    return fact.oldest is not None and fact.oldest < now - retention


def _concerned(act: acts.Act) -> tuple[Key, ...]:
    match act:
        case acts.Merge():
            return ((LEAD, act.lead), (USER, act.user))
        case acts.Undo():
            return ((LEAD, act.lead),)
        case acts.Erase():
            return (named(act.who),)
        case acts.Import():
            return (named(act.who),)
    return ()
