"""One history in many orders of arrival: facts come when they like to, decisions in any order that means the same, and all of it again.

An order of decisions means something in three cases, and there it is kept:

- Of one lead, claims, merges and undos keep their order. The first claim keeps the lead, a merge on request takes whom an undo set free,
  and an undo undoes the merge that came before it. Decisions about different leads concern different pointers and commute, also where
  they are about one user: a person is a fold over whoever points to it.
- Of what is imported for one identity and name, the last word holds.
- A deletion takes whoever is in its person then, and what was undone of that person is forgotten, so that nothing passes one.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
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


def interleaved(history: Sequence[Round], random: Random) -> list[Round]:
    """Return a history whose decisions come in another order that means the same, across rounds; time passes where it did."""
    acts_of = [list(one.decisions) for one in history]
    places: list[tuple[int, int]] = []
    for number, decided in enumerate(acts_of):
        for place, act in enumerate(decided):
            if isinstance(act, acts.Erase):
                _mix(acts_of, places, random)
                places = []
            elif not isinstance(act, acts.Turn):
                places.append((number, place))
    _mix(acts_of, places, random)
    return [replace(one, decisions=tuple(decided)) for one, decided in zip(history, acts_of, strict=True)]


def _mix(acts_of: list[list[acts.Act]], places: Sequence[tuple[int, int]], random: Random) -> None:
    """Let decisions change their places, those about one thing in the order they had."""
    told = [acts_of[number][place] for number, place in places]
    things = [_about(act) for act in told]
    in_turn = {thing: iter([act for act in told if _about(act) == thing]) for thing in things}
    random.shuffle(things)
    for (number, place), thing in zip(places, things, strict=True):
        acts_of[number][place] = next(in_turn[thing])


def _about(act: acts.Act) -> Hashable:
    """Return what a decision is about: the lead, or the total that is imported."""
    match act:
        case acts.Send():
            return act.said[0].lead
        case acts.Merge() | acts.Undo():
            return act.lead
        case acts.Import():
            return (act.who, act.name)
    raise AssertionError(act)


@dataclass
class Asking:
    """Decides as it is told, and asks again for what was asked for before and changes nothing now, whatever happened meanwhile.

    An undo names its merge, and whoever had a lead is kept away by the undo, so an undo and a claim that was not refused may come again at
    any time. But where a lead was set free, a merge on request takes it anew, and who was refused would be the first to claim it; what is
    imported holds until it is set anew; and after a deletion all come anew.
    """

    play: Play
    since: int
    """The time of what is imported, which is the same wherever in the history that comes: the beginning, or after the last deletion."""
    asked: list[acts.Act] = field(default_factory=list)
    while_taken: list[acts.Act] = field(default_factory=list)
    """What may come again only as long as nobody sets its lead free."""
    undone: list[int] = field(default_factory=list)

    def ask(self, act: acts.Act) -> None:
        self.play.meet(*_concerned(act))
        refused = isinstance(act, acts.Send) and self._is_refused(act.said[0])
        self._act(act)
        match act:
            case acts.Erase():
                self.since = self.play.clock() + 1
                self.asked, self.while_taken, self.undone = [], [], []
            case acts.Undo():
                self.while_taken = [one for one in self.while_taken if _about(one) != act.lead]
                merge = self.play.last_merge(act.lead)
                self.undone += [] if merge is None else [merge]
            case acts.Import():
                self.asked = [one for one in self.asked if _about(one) != _about(act)] + [act]
            case acts.Merge():
                self.while_taken.append(act)
            case acts.Send():
                (self.while_taken if refused else self.asked).append(act)

    def ask_again(self, random: Random) -> None:
        """Ask for some of it again, by either process."""
        while random.random() > 0.6 and (choice := [*self.asked, *self.while_taken, *self.undone]):
            again, process = random.choice(choice), random.randint(0, 1)
            with self.play.nothing_changes():
                if isinstance(again, int):
                    self.play.undo_again(process, again)
                else:
                    self._act(replace(again, process=process))

    def _act(self, act: acts.Act) -> None:
        self.play.act(replace(act, ago=act.ago + self.play.clock() - self.since) if isinstance(act, acts.Import) else act)

    def _is_refused(self, claim: acts.Said) -> bool:
        known = self.play.model.known
        (_, lead), (_, user) = ((key, known.get(key)) for key in ((LEAD, claim.lead), (USER, claim.user)))
        return lead is not None and lead.person[0] != LEAD and (user is None or lead.person != user.person)


def arrive(play: Play, history: Sequence[Round], facts: Sequence[Sequence[Message]], begins: Sequence[int], random: Random) -> None:
    """Let a history arrive: each fact in its round or a later one while it is in time, some again, cut into commits anyhow.

    Decisions come as they stand in the history; some are asked for again.
    """
    asking = Asking(play, play.clock())
    waiting: list[Message] = []
    spoken_of = sorted({fact.owner for each in facts for fact in each if fact.owner[0] == LEAD and not fact.browser})
    for number, one in enumerate(history):
        play.meet(*spoken_of)  # REST finds nobody else
        waiting += facts[number]
        last = number + 1 == len(history)
        due = [fact for fact in waiting if last or random.random() < 0.5 or _expires(fact, begins[number + 1], play.model.retention)]
        waiting = [fact for fact in waiting if fact not in due]
        play.sent = [fact for fact in play.sent if fact.events or fact.changes]  # claims are asked for again where they may be
        again = [fact for fact in play.sent if random.random() < 0.2 and not _expires(fact, play.clock(), play.model.retention)]
        arriving = due + again
        random.shuffle(arriving)
        while arriving:
            size = random.randint(1, 4)
            play.send(random.randint(0, 1), [_harmless(play, fact) for fact in arriving[:size]])
            arriving = arriving[size:]
            asking.ask_again(random)
        for act in one.decisions:
            asking.ask(act)
            asking.ask_again(random)
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
