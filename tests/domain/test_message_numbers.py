"""A message's numbers: what the holdout says of the goal, and when that is too little to say anything."""

import pytest

from collector.domain.message_numbers import STEPS, lift, newcombe


def arm(people: int, goal: int) -> dict[str, int]:
    return {**dict.fromkeys(STEPS, 0), "sent": people, "eligible": people, "goal": goal}


@pytest.mark.parametrize(
    ("one", "other", "interval"),
    [  # the examples of Newcombe's paper, method 10
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_the_interval_is_newcombes(one: tuple[int, int], other: tuple[int, int], interval: tuple[float, float]) -> None:
    assert newcombe(*one, *other)[1:] == pytest.approx(interval, abs=0.0001)


def test_a_difference_that_may_be_none_is_called_too_small_to_tell() -> None:
    found = lift(arm(20, 4), arm(20, 3), goal=True)
    assert found["available"]
    assert found["interval"]["lower"] < 0 < found["interval"]["upper"]
    assert found["in_words"].startswith("Too small to tell: ")


def test_a_message_that_helps_is_said_to_in_percentage_points() -> None:
    found = lift(arm(1_000, 300), arm(1_000, 200), goal=True)
    assert (found["shown"], found["held_out"]) == (
        {"people": 1_000, "goal": 300, "rate": 0.3},
        {"people": 1_000, "goal": 200, "rate": 0.2},
    )
    assert found["difference"] == 0.1
    assert found["in_words"].startswith(
        "With the message 10.0 percentage points more reach the goal than without it (95 % interval: 6.2 to 13."
    )


def test_a_message_that_harms_is_said_to() -> None:
    assert "percentage points fewer reach the goal" in lift(arm(1_000, 200), arm(1_000, 300), goal=True)["in_words"]


@pytest.mark.parametrize(
    ("shown", "held_out", "goal", "why"),
    [
        (arm(5, 1), arm(5, 1), False, "There is no goal"),
        (arm(5, 1), arm(0, 0), True, "Nobody is held out yet"),
        (arm(5, 1), {**arm(0, 0), "sent": 3}, True, "Whoever is held out had reached the goal before"),
        ({**arm(0, 0), "sent": 3}, arm(5, 1), True, "Whoever has got it had reached the goal before"),
        (arm(0, 0), arm(5, 1), True, "Nobody has got it"),
    ],
)
def test_what_cannot_be_compared_says_why(shown: dict[str, int], held_out: dict[str, int], goal: bool, why: str) -> None:
    found = lift(shown, held_out, goal=goal)
    assert not found["available"]
    assert found["in_words"].startswith(why)
