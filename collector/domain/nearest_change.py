"""The smallest realistic change that would turn a query's verdict on a person.

Steps are proposed rule by rule, put together as the groups ask for them, and tried on the person's outlook: a change is given out
only where `audiences.matches` says of the facts after it that the verdict has turned, and no step of it can be left out. The search
is bounded; where it finds nothing, it says why.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import permutations

import msgspec

from collector.domain.audiences import matches
from collector.domain.change_words import Reason, change_words, rule_stays
from collector.domain.explanation import NO_SEGMENT, Rule
from collector.domain.outlook import ActsOnMessage, Deed, Happens, Outlook, Pause, SetsAttribute, SignsUp, Step, Waits, clock_after
from collector.domain.proposals import proposals
from collector.domain.turning_points import turning_points
from collector.values.clock import DAY
from collector.values.fields import seconds
from collector.values.query_tree import Group, Node, needs, walk

MOST_SECONDS = 1.0
"""Of computing: what a trial costs depends on how much is measured of the person, and meanwhile others wait for the interpreter."""
_MOST_TRIALS = 4_000
_MOST_TRIALS_OF_ONE = 1_000
_RULES_COST_LESS = 10
"""A trial of one rule, as part of one of the whole query."""
_MOST_REASONS = 3
_BEAM = 48
_ROUNDS = 3
_MOST_ORDERED = 3
MOST_RULES = 400
"""A query has at most half as many, but names segments, each of which may: what they come to together is not searched beyond this."""

Deeds = tuple[Deed, ...]
Cost = tuple[float, ...]


class Change(msgspec.Struct, frozen=True):
    """Steps that turn the verdict when they are done in this order, beginning now; `at_ms` is when it has turned."""

    steps: tuple[Step, ...]
    at_ms: int
    in_words: str
    """A noun, such as `one more view of /pricing`, to be followed by what it would do."""

    def as_json(self) -> dict[str, object]:
        """Return it with times in unix seconds."""
        steps = [
            {"type": "wait", "until": seconds(one.until_ms)} if isinstance(one, Waits) else msgspec.to_builtins(one) for one in self.steps
        ]
        return {"steps": steps, "at": seconds(self.at_ms), "in_words": self.in_words}


class Nearest(msgspec.Struct, frozen=True):
    """The nearest change, or in words why there is none."""

    change: Change | None
    why_none: str | None = None


class _Option(msgspec.Struct, frozen=True):
    """Deeds that would bring one part of a query to a verdict, perhaps with some waiting."""

    deeds: Deeds
    cost: float


def nearest_change(node: Node, outlook: Outlook, now_ms: int, time_zone: tzinfo) -> Nearest:
    """Return the nearest change that would turn a query's verdict on a person."""
    search = _Search(node, outlook, now_ms, time_zone)
    if len(search.rules) > MOST_RULES:
        return Nearest(None, f"With its segments the query has {len(search.rules):,} rules; a change is looked for among {MOST_RULES}.")
    steps = search.best()
    if steps is None:
        return Nearest(None, search.why_none())
    at_ms = outlook.after_all(steps, now_ms)[1]
    return Nearest(Change(steps, at_ms, change_words(node, outlook, steps, now_ms, time_zone)))


def cost(steps: Iterable[Step], now_ms: int) -> Cost:
    """Return how far away a change is: by its steps, then by how natural they are (waiting, events, attributes), then by how often.

    Of two that are equal in that, the one is nearer in which one waits later.
    """
    steps = tuple(steps)
    weight = round(sum(_weight(step, now_ms) for step in steps), 5)
    waits = sum(place for place, step in enumerate(steps) if isinstance(step, Waits))
    return (len(steps), weight, sum(step.times for step in steps if isinstance(step, Happens)), -waits)


def _weight(step: Deed, now_ms: int) -> float:
    match step:
        case Waits():
            days = (step.until_ms - now_ms) / DAY
            return (1 if days <= 30 else 2.5 if days <= 90 else 8) + days / 10_000
        case Pause():
            return 1
        case Happens():
            return 2 if step.times == 1 else 3 if step.times <= 5 else 5 if step.times <= 50 else 9
        case ActsOnMessage():
            return 3
        case SignsUp():
            return 4
        case SetsAttribute():
            return 7 if step.value is None else 6


class _Search:
    """One search. Every trial is counted, so that a query of many rules cannot keep the collector busy."""

    def __init__(self, node: Node, outlook: Outlook, now_ms: int, zone: tzinfo) -> None:
        self.node = node
        self.outlook = outlook
        self.now = now_ms
        self.zone = zone
        self.wanted = not matches(node, outlook.facts(now_ms), now_ms, zone)
        self.left = _MOST_TRIALS
        self.rules = list(walk(node))
        self.unfinished = False
        self._until = time.thread_time() + MOST_SECONDS

    def best(self) -> tuple[Step, ...] | None:
        """Return the steps of the nearest change that was found."""
        starts: list[Deeds] = [()]
        for _ in range(_ROUNDS):
            found: list[tuple[Step, ...]] = []
            tried: dict[str, Deeds] = {}
            for start in starts:
                outlook, now_ms = self.outlook.after_all(start, self.now)
                for option in self.options(self.node, self.wanted, outlook, now_ms):
                    deeds = (*start, *option.deeds)
                    if repr(deeds) not in tried:
                        tried[repr(deeds)] = deeds
                        found += [self.least(steps) for steps in self.arranged(self.node, deeds, self.wanted)]
                    if self.is_over():
                        break
            if found:
                return min(found, key=lambda steps: cost(steps, self.now))
            # Deeds for one rule may have turned another: go on from where they lead.
            starts = [deeds for deeds in tried.values() if deeds and deeds not in starts][:_MOST_ORDERED]
        return None

    # What could bring a part of the query to a verdict

    def options(self, node: Node, wanted: bool, outlook: Outlook, now_ms: int) -> list[_Option]:
        """Return deeds that may bring a part of the query to a verdict, the nearest first; no deeds where it has it, or gets it in time."""
        if not isinstance(node, Group):
            return self.rule_options(node, wanted, outlook, now_ms)
        of_child = wanted is not (node.operator == "NOT")
        together = (node.operator in {"AND", "NOT"}) is wanted
        made: list[_Option] = [_Option((), 0)] if together else []
        for child in node.value:
            if self.has_given_up():
                return []
            options = self.options(child, of_child, outlook, now_ms)
            if together:
                merged = [(_merged(one.deeds, other.deeds), one.cost + other.cost) for one in made for other in options]
                made = [_Option(deeds, price) for deeds, price in merged if deeds is not None]
            else:
                made += options
            made = _nearest(made)
        return made

    def rule_options(self, rule: Rule, wanted: bool, outlook: Outlook, now_ms: int) -> list[_Option]:
        """Return deeds that bring a rule to a verdict; where it has it, also those that would hold it there."""
        whole, self.left = self.left, _MOST_TRIALS_OF_ONE
        alone = outlook.narrowed(needs(rule).measures)
        has_it = self.verdict(rule, alone, now_ms) is wanted
        made = []
        for deeds in ((), *proposals(rule, self.rules, outlook, now_ms)):
            if self.is_over() or (has_it and any(isinstance(one, SetsAttribute) for one in deeds)):
                break
            steps = next(self.arranged(rule, deeds, wanted, alone, now_ms), None)
            if steps is not None:
                made.append(_Option(deeds, sum(_weight(step, now_ms) for step in steps) + (1 if has_it and deeds else 0)))
        self.unfinished = self.is_over()
        self.left = whole - (_MOST_TRIALS_OF_ONE - self.left) // _RULES_COST_LESS
        return _nearest(made)

    # Trying

    def arranged(
        self, node: Node, deeds: Deeds, wanted: bool, outlook: Outlook | None = None, now_ms: int | None = None
    ) -> Iterator[tuple[Step, ...]]:
        """Yield the ways to do these, in one order or another and with one wait at most, that bring a node to a verdict."""
        outlook, now_ms = self.outlook if outlook is None else outlook, self.now if now_ms is None else now_ms
        orders = permutations(deeds) if 1 < len(deeds) <= _MOST_ORDERED else [deeds, deeds[::-1]] if len(deeds) > 1 else [deeds]
        for order in orders:
            if self.turns(node, order, wanted, outlook, now_ms):
                yield _resolved(order, now_ms)
                return
        orders = permutations(deeds) if 1 < len(deeds) <= _MOST_ORDERED else [deeds]
        for order in orders:
            for place in range(len(order), -1, -1):
                before, at_ms = outlook.after_all(order[:place], now_ms)
                for until in turning_points(node, before, at_ms):
                    if self.turns(node, order[place:], wanted, before, until):
                        yield _resolved((*order[:place], Waits(until), *order[place:]), now_ms)
                        break
                    if self.is_over():
                        return

    def is_over(self) -> bool:
        """Say whether nothing more may be tried: not for what is looked at, or not at all."""
        return self.left <= 0 or self.has_given_up()

    def has_given_up(self) -> bool:
        """Say whether the time is spent."""
        return time.thread_time() > self._until

    def turns(self, node: Node, deeds: Deeds, wanted: bool, outlook: Outlook, now_ms: int) -> bool:
        """Say whether a node has a verdict after these."""
        return self.verdict(node, *outlook.after_all(deeds, now_ms)) is wanted

    def verdict(self, node: Node, outlook: Outlook, now_ms: int) -> bool:
        """Return a verdict: one trial."""
        self.left -= outlook.effort
        return matches(node, outlook.facts(now_ms), now_ms, self.zone)

    def least(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Return the change without what it does not need: whole steps first, then repetitions."""
        place = 0
        while place < len(steps):
            without = (*steps[:place], *steps[place + 1 :])
            if without and self.turns(self.node, without, self.wanted, self.outlook, self.now):
                steps = without
                continue
            step = steps[place]
            if isinstance(step, Happens):
                for times in sorted({1, step.times // 2, step.times - 1}):
                    fewer = (*steps[:place], msgspec.structs.replace(step, times=times), *steps[place + 1 :])
                    if 0 < times < step.times and self.turns(self.node, fewer, self.wanted, self.outlook, self.now):
                        steps = fewer
                        break
                else:
                    place += 1
            else:
                place += 1
        return steps

    # Why not

    def why_none(self) -> str:
        """Return in words why no change was found."""
        if self.has_given_up():
            return f"A change was looked for among {len(self.rules):,} rules for as long as is allowed, and none was found."
        stuck = list(dict.fromkeys(self.stuck(self.node, self.wanted)))
        turned = "hold" if self.wanted else "no longer hold"
        reasons = "; ".join(reason.in_words for reason in stuck[:_MOST_REASONS])
        if stuck and all(reason.final for reason in stuck):
            return f"This cannot {'be made to hold' if self.wanted else 'stop holding'} any more: {reasons}."
        if stuck:
            return f"No few steps were found after which this would {turned}: {reasons}."
        return f"No few steps were found after which this would {turned}: its rules get in each other’s way."

    def stuck(self, node: Node, wanted: bool) -> list[Reason]:
        """Return why a part of the query keeps its verdict; nothing where each of its rules could turn, or was not tried to the end."""
        if not isinstance(node, Group):
            could = self.rule_options(node, wanted, self.outlook, self.now)
            return [] if could or self.unfinished else [rule_stays(node, self.outlook, self.now, self.zone)]
        if not node.value:  # a segment that there is not: everybody is outside of it
            return [] if wanted is (node.operator == "NOT") else [Reason(NO_SEGMENT.removesuffix("."), final=True)]
        of_child = wanted is not (node.operator == "NOT")
        together = (node.operator in {"AND", "NOT"}) is wanted
        reasons: list[Reason] = []
        for child in node.value:
            stuck = self.stuck(child, of_child)
            if together and stuck:
                return stuck
            if not together and not stuck:
                return []
            reasons += stuck
        return reasons


def _merged(deeds: Deeds, others: Deeds) -> Deeds | None:
    """Return both together, what they share once; None where they contradict each other."""
    made = list(deeds)
    for other in others:
        if isinstance(other, SetsAttribute):
            present = next((one for one in made if isinstance(one, SetsAttribute) and one.field == other.field), None)
            if present is not None and repr(present) != repr(other):
                return None
            if present is not None:
                continue
        if isinstance(other, Happens) and not any(isinstance(one, Pause) for one in (*deeds, *others)):
            place = next((at for at, one in enumerate(made) if isinstance(one, Happens) and _alike(one, other)), None)
            if place is not None:
                made[place] = max(made[place], other, key=lambda one: one.times if isinstance(one, Happens) else 0)
                continue
        elif other in made and isinstance(other, ActsOnMessage | SignsUp):
            continue
        made.append(other)
    return tuple(made)


def _alike(one: Happens, other: Happens) -> bool:
    return one.event == other.event and repr(one.metadata) == repr(other.metadata)


def _nearest(options: Sequence[_Option]) -> list[_Option]:
    """Return the nearest options, each once."""
    kept: dict[str, _Option] = {}
    for option in sorted(options, key=lambda one: (one.cost, len(one.deeds))):
        kept.setdefault(repr(option.deeds), option)
    return list(kept.values())[:_BEAM]


def _resolved(deeds: Sequence[Deed], now_ms: int) -> tuple[Step, ...]:
    """Return deeds as steps: pauses last until an instant, and one that follows another becomes part of it."""
    steps: list[Step] = []
    for deed in deeds:
        now_ms = clock_after(deed, now_ms)
        if not isinstance(deed, Pause | Waits):
            steps.append(deed)
        elif steps and isinstance(steps[-1], Waits):
            steps[-1] = Waits(now_ms)
        else:
            steps.append(Waits(now_ms))
    return tuple(steps)
