"""The law of the ledger: whatever happens, in whatever order, it comes to what a plain fold over the raw history gives."""

from collections.abc import Callable, Sequence
from random import Random

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from tests.laws import acts
from tests.laws.arrivals import Round, arrive, dated, interleaved, rounds
from tests.laws.play import Play

Begin = Callable[..., Play]

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@relaxed
@given(history=acts.acts, phase=acts.phases)
def test_any_history_comes_to_what_a_plain_fold_gives(begin: Begin, history: list[acts.Act], phase: int) -> None:
    play = begin(phase)
    for act in history:
        play.act(act)
    play.finish()
    assert play.findings() == []


@settings(relaxed, max_examples=settings.default.max_examples // 2)
@given(history=acts.restored)
def test_a_restored_backup_comes_to_what_was_then_without_those_who_were_deleted_since(begin: Begin, history: list[acts.Act]) -> None:
    play = begin()
    for act in history:
        play.act(act)
    play.finish()
    assert play.findings() == []


@settings(relaxed, max_examples=settings.default.max_examples // 2)
@given(history=rounds, randoms=st.tuples(st.randoms(), st.randoms()))
def test_of_one_history_every_arrival_comes_to_the_same(begin: Begin, history: Sequence[Round], randoms: tuple[Random, Random]) -> None:
    """Decisions too come in another order, as far as that means the same."""
    play = begin()
    facts, begins = dated(play, history)
    ends = []
    for told, random in zip((history, interleaved(history, randoms[1])), randoms, strict=True):
        play = begin()
        arrive(play, told, facts, begins, random)
        play.finish()
        ends.append((play.everybody(), play.journal()))
    assert ends[0] == ends[1]
