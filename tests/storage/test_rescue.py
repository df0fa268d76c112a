"""What can be written of a payload that failed is written: tried with lists of numbers, of which the negative ones are poison."""

from collections.abc import Sequence

import psycopg
import pytest

from collector.storage.commits import TRIALS, Rescue
from collector.storage.faults import ElsewhereError, RunAgain, is_of_data


class Lists:
    """A bulk whose payloads are lists and whose results are the same, with None for what failed."""

    def prepare(self, site, payloads) -> None:
        pass

    def write(self, tx, site, payloads, prepared) -> list[object]:
        raise AssertionError("nobody asks a list to be written so")

    def committed(self, site, results) -> None:
        pass

    def halves(self, payload: list[int]) -> tuple[list[int], list[int]] | None:
        middle = len(payload) // 2
        return (payload[:middle], payload[middle:]) if middle else None

    def joined(self, payload: list[int], results: Sequence[list[int | None] | None]) -> list[int | None]:
        parts = self.halves(payload)
        assert parts is not None
        return [each for part, result in zip(parts, results, strict=True) for each in (result or [None] * len(part))]


class Tried:
    """Writes lists without poison, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, payload: list[int]) -> list[int]:
        self.times += 1
        if min(payload) < 0:
            raise ValueError("poison")
        return payload


@pytest.mark.parametrize("place", range(50))
def test_one_fails_alone_after_few_trials(place: int) -> None:
    payload = list(range(50))
    payload[place] = -1
    tried = Tried()
    assert Rescue(Lists(), tried, TRIALS).halved(payload) == [*range(place), None, *range(place + 1, 50)]
    assert tried.times <= 12


@pytest.mark.parametrize("bad", [{0, 1, 17, 49}, set(range(30)), set(range(20, 50))])
def test_several_fail_alone_wherever_they_stand(bad: set[int]) -> None:
    payload = [-1 if number in bad else number for number in range(50)]
    assert Rescue(Lists(), Tried(), TRIALS).halved(payload) == [None if number < 0 else number for number in payload]


@pytest.mark.parametrize("size", [1, 2, 50, 1_000])
def test_where_nothing_can_be_written_nothing_is_refused(size: int) -> None:
    tried = Tried()
    assert Rescue(Lists(), tried, TRIALS).halved([-1] * size) is None
    assert tried.times <= 16


def test_where_too_much_is_at_fault_it_is_given_up() -> None:
    tried = Tried()
    assert Rescue(Lists(), tried, TRIALS).halved([-1 if number % 2 else 1 for number in range(1_000)]) is None
    assert tried.times <= TRIALS
    rescue = Rescue(Lists(), tried, 0)
    assert rescue.halved([1, -1]) is None
    assert rescue.trials == 0


def test_an_outage_in_between_is_told() -> None:
    def write(payload: list[int]) -> list[int]:
        if payload == [3]:
            raise ElsewhereError("no disk", unavailable=True)
        return Tried()(payload)

    with pytest.raises(ElsewhereError, match="no disk"):
        Rescue(Lists(), write, TRIALS).halved([1, 2, 3, -1])


def test_a_fault_that_is_not_of_the_data_is_told_too() -> None:
    """It may pass, or be mended; what would be refused for it would never be sent again."""

    def write(payload: list[int]) -> list[int]:
        if 3 in payload:
            raise KeyError("a fault of ours")
        return Tried()(payload)

    with pytest.raises(KeyError):
        Rescue(Lists(), write, TRIALS).halved([1, 2, 3, -1])


def test_what_may_succeed_when_it_is_run_again_is_not_the_datas_fault() -> None:
    """A slice that was closed refuses what goes there by the same kinds of errors as data are refused by."""
    refused = psycopg.errors.CheckViolation()
    assert is_of_data(refused)
    again = RunAgain()
    again.__cause__ = refused
    assert not is_of_data(again)
