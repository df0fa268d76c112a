"""The law of the ledger: whatever happens, in whatever order, it comes to what a plain fold over the raw history gives."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from random import Random

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from tests.laws import acts
from tests.laws.arrivals import Round, arrive, dated, rounds
from tests.laws.play import play

Databases = Callable[[], AbstractContextManager[str]]

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@relaxed
@given(history=acts.acts, phase=acts.phases)
def test_any_history_comes_to_what_a_plain_fold_gives(passing_database: Databases, history: list[acts.Act], phase: int) -> None:
    with passing_database() as url, play(url, phase) as stage:
        for act in history:
            stage.act(act)
        stage.finish()


@relaxed
@given(history=rounds, randoms=st.tuples(st.randoms(), st.randoms()))
def test_of_one_history_every_arrival_comes_to_the_same(
    passing_database: Databases, history: Sequence[Round], randoms: tuple[Random, Random]
) -> None:
    ends = []
    facts, begins = None, []
    for random in randoms:
        with passing_database() as url, play(url) as stage:
            if facts is None:
                facts, begins = dated(stage, history)
            arrive(stage, history, facts, begins, random)
            stage.finish()
            ends.append(stage.everybody())
    assert ends[0] == ends[1]
