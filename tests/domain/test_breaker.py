"""The circuit breaker: what fails again and again rests, is tried by one, and goes on when that succeeds."""

from collector.domain.breaker import MOST_FAILURES, REST_SECONDS, Breaker


class Seconds:
    """A clock that stands still until it is turned."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Seconds) -> Breaker:
    breaker = Breaker(clock)
    assert [breaker.failed(1, "offers") for _ in range(MOST_FAILURES)] == list(range(1, MOST_FAILURES + 1))
    return breaker


def test_after_failures_in_a_row_a_site_rests_and_no_other() -> None:
    breaker = broken(Seconds())
    assert not breaker.admits(1, "offers")
    assert breaker.admits(2, "offers")
    assert breaker.admits(1, "claims")
    assert breaker.resting() == {1}


def test_a_success_between_them_begins_the_row_anew() -> None:
    breaker = Breaker(Seconds())
    for _ in range(MOST_FAILURES):
        for _ in range(MOST_FAILURES - 1):
            breaker.failed(1, "offers")
        assert not breaker.succeeded(1, "offers")
    assert breaker.admits(1, "offers")


def test_after_its_rest_one_tries_while_the_others_rest_on() -> None:
    clock = Seconds()
    breaker = broken(clock)
    clock.now += REST_SECONDS
    assert [breaker.admits(1, "offers") for _ in range(3)] == [True, False, False]
    breaker.failed(1, "offers")
    clock.now += REST_SECONDS - 1
    assert not breaker.admits(1, "offers")


def test_what_succeeds_when_tried_goes_on() -> None:
    clock = Seconds()
    breaker = broken(clock)
    clock.now += REST_SECONDS
    assert breaker.admits(1, "offers")
    assert breaker.succeeded(1, "offers")
    assert breaker.admits(1, "offers")
    assert breaker.resting() == set()


def test_what_was_begun_before_and_succeeds_late_ends_no_rest() -> None:
    breaker = broken(Seconds())
    assert not breaker.succeeded(1, "offers")
    assert not breaker.admits(1, "offers")


def test_one_that_tries_and_is_never_heard_of_keeps_nobody_from_trying_later() -> None:
    clock = Seconds()
    breaker = broken(clock)
    for _ in range(3):
        clock.now += REST_SECONDS
        assert breaker.admits(1, "offers")
