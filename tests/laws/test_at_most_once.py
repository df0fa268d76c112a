"""The law of messages: whoever claims and reports what, whenever and however often, a person is shown as much as the rules permit."""

from collections.abc import Callable, Sequence

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from tests.laws import showing_acts
from tests.laws.play import Play
from tests.laws.showing_acts import MESSAGES, Act, Rule
from tests.laws.showings import Showings

Begin = Callable[..., Play]


@settings(
    max_examples=settings.default.max_examples // 10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rules=st.lists(showing_acts.rules, min_size=MESSAGES, max_size=MESSAGES), history=showing_acts.acts)
def test_a_person_is_shown_what_the_rules_permit_and_counted_once(begin: Begin, rules: Sequence[Rule], history: list[Act]) -> None:
    showings = Showings(begin(), rules)
    for act in history:
        showings.act(act)
    showings.finish()
