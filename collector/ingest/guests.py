"""Deciding messages is a guest of the collector: it has threads and connections of its own, a budget of time, and rests where it fails.

Offers, withdrawals and claims each rest by themselves, for one site. Nothing that happens to them is an error of an event.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from collector.domain.breaker import MOST_FAILURES, REST_SECONDS
from collector.domain.sites import Site
from collector.ingest.effects import Exchange, Guest
from collector.ingest.failures import log_failure
from collector.services import Services

log = logging.getLogger(__name__)

OFFERS = "offers"
WITHDRAWALS = "withdrawals"
CLAIMS = "claims"

T = TypeVar("T")


def ask(services: Services, site: Site, what: str, question: Callable[[], T], otherwise: T) -> Exchange[T]:
    """Wait for what a guest says within the budget of time; `otherwise` where it fails, comes too late, or rests."""
    if not services.breaker.admits(site.id, what):
        return otherwise
    seconds = services.settings.message_budget_ms / 1_000
    began = time.monotonic()
    try:
        answer: T = yield Guest(question, seconds)
    except Exception as error:  # the events are committed; their answer must not become an error
        failed(services, site, what, error)
        return otherwise
    if time.monotonic() - began > seconds:  # a thread waits to the end
        failed(services, site, what, TimeoutError())
    else:
        succeeded(services, site, what)
    return answer


def failed(services: Services, site: Site, what: str, error: Exception) -> None:
    """Note that a guest failed. The first failure is logged, and that it rests; not what those come to that try again."""
    failures = services.breaker.failed(site.id, what)
    if failures == 1 and not isinstance(error, TimeoutError):
        log_failure(f"for {what} of messages", error)
    if failures == MOST_FAILURES:
        why = "take too long" if isinstance(error, TimeoutError) else "fail"
        log.warning("%s of messages of site %s %s; they rest, and are tried every %d s", what, site.key, why, REST_SECONDS)


def succeeded(services: Services, site: Site, what: str) -> None:
    """Note that a guest did what it was asked for."""
    if services.breaker.succeeded(site.id, what):
        log.warning("%s of messages of site %s work again", what, site.key)
