"""Trackers stay in caches for months: what older ones send is taken, and what a newer one sends is refused by its version."""

from typing import Any

import pytest

from collector.ingest import wire
from collector.values.ids import new_nonce, new_uuid7
from tests.support.browserless import Tracker
from tests.support.world import World


def bare(tracker: Tracker, **fields: Any) -> dict[str, Any]:
    """An envelope of version 1 with nothing but what that version demands."""
    return {"v": 1, "site": tracker.world.site.key, "lead": tracker.lead, "sent_at": tracker.world.clock(), "items": [], **fields}


def test_version_1_demands_little_of_an_event(tracker: Tracker, world: World) -> None:
    now = world.clock()
    event = {"type": "event", "id": new_uuid7(now), "name": "cached-for-months", "at": now}
    answer = tracker.post("/collect", bare(tracker, items=[event]))
    assert (answer.status_code, answer.json["accepted"], answer.json["refused"]) == (202, 1, [])
    assert world.counts(("lead", tracker.lead.split(".")[0])) == {"cached-for-months": 1}


def test_version_1_demands_little_of_attributes(tracker: Tracker, world: World) -> None:
    item = {"type": "identify", "at": world.clock(), "attributes": {"plan": "team"}}
    answer = tracker.post("/collect", bare(tracker, user={"id": "u-1"}, items=[item]))
    assert (answer.status_code, answer.json["accepted"]) == (202, 1)
    assert world.attributes(("user", "u-1"))["custom_attributes.plan"] == "team"


def test_version_1_demands_little_of_a_claim(tracker: Tracker) -> None:
    claim = {name: value for name, value in bare(tracker).items() if name != "items"}
    answer = tracker.post("/claim", {**claim, "message": "0" * 24, "nonce": new_nonce(), "page": {}})
    assert (answer.status_code, answer.json["message"]) == (200, None)


@pytest.mark.parametrize("field", ["site", "lead", "sent_at", "items"])
def test_what_version_1_demands_is_named_where_it_is_missing(tracker: Tracker, field: str) -> None:
    envelope = bare(tracker)
    del envelope[field]
    answer = tracker.post("/collect", envelope)
    assert (answer.status_code, answer.json["errors"][0]["code"], answer.json["errors"][0]["field"]) == (400, "field_missing", field)


@pytest.mark.parametrize("path", ["/collect", "/claim", "/handover", "/handover/take"])
@pytest.mark.parametrize("version", [0, wire.LATEST_VERSION + 1])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="of the same shape"),
        pytest.param({"origin": {"app": "shop"}}, id="with a field of its own"),
        pytest.param({"site": ["a", "b"], "lead": None}, id="with fields of another type"),
        pytest.param({"title": "\ud800"}, id="with a lone surrogate"),
    ],
)
def test_another_version_is_refused_for_that_whatever_else_it_holds(
    tracker: Tracker, world: World, path: str, version: int, fields: dict[str, Any]
) -> None:
    claim = {"message": "0" * 24, "nonce": new_nonce(), "page": {}} if path == "/claim" else {"items": [tracker.event()]}
    answer = tracker.post(path, {**tracker.envelope(), **claim, "v": version, **fields})
    assert (answer.status_code, [error["code"] for error in answer.json["errors"]]) == (400, ["wire_version_unknown"])
    assert answer.json["errors"][0]["field"] == "v"
    assert world.rows("SELECT count(*) FROM events") == [(0,)]
