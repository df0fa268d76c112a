"""Claims that rest after failures: one tries whether they work again, and no forged one is that."""

import time
from typing import Any

import pytest

from collector.domain.breaker import MOST_FAILURES, REST_SECONDS
from tests.ingest.test_messages import create
from tests.support.browserless import Tracker
from tests.support.world import World


def test_while_claims_rest_a_forged_one_does_not_use_up_the_try(
    tracker: Tracker, new_tracker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = create(world)
    tracker.view()
    forger = new_tracker()
    forger.lead = f"{tracker.lead.partition('.')[0]}.{'x' * 22}"
    broken = [True]
    get = type(world.services.auto_messages).get

    def failing(*given: Any) -> Any:
        if broken:
            raise RuntimeError("something is wrong")
        return get(*given)

    monkeypatch.setattr(type(world.services.auto_messages), "get", failing)
    for _ in range(MOST_FAILURES):
        assert tracker.post("/claim", claim_of(tracker, message)).status_code == 503
    broken.clear()
    monkeypatch.setattr(world.services.breaker, "_clock", lambda: time.monotonic() + 2 * REST_SECONDS)
    forged = {**claim_of(forger, message), "user": {"id": "u-1", "hash": "0" * 64}}
    assert forger.post("/claim", forged).status_code == 403
    assert tracker.post("/claim", claim_of(tracker, message)).json["message"]


def test_that_a_claim_was_refused_shows_that_claims_work(
    tracker: Tracker, new_tracker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = create(world)
    tracker.view()
    forger = new_tracker()
    forger.lead = f"{tracker.lead.partition('.')[0]}.{'x' * 22}"
    for _ in range(MOST_FAILURES):
        world.services.breaker.failed(world.site.id, "claims")
    monkeypatch.setattr(world.services.breaker, "_clock", lambda: time.monotonic() + 2 * REST_SECONDS)
    assert forger.post("/claim", claim_of(forger, message)).status_code == 403
    assert tracker.post("/claim", claim_of(tracker, message)).json["message"]


def claim_of(tracker: Tracker, message: str) -> dict[str, Any]:
    """The body of a claim."""
    body = {key: value for key, value in tracker.envelope().items() if key != "items"}
    return {**body, "message": message, "nonce": "n" * 22, "page": {"url": tracker.url}}
