"""Bodies that are no JSON, or more than JSON should be, on every address that takes one."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from collector.values.errors import Refusal
from collector.web.api.body import check
from collector.web.bodies import ROOM
from tests.conftest import ENGINES
from tests.web.test_api_support import Rest, problem, serving_once

ADDRESSES = ("/events", "/events/batch", "/events/summaries", "/contacts", "/auto_messages")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rest(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    with serving_once(engine, request, tmp_path_factory) as running:
        yield running


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[]",
        b'"text"',
        b"null",
        b"5",
        b'{"a":}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_object_is_refused(rest: Rest, path: str, body: bytes) -> None:
    assert problem(rest.send("POST", path, body)) == (400, "body_invalid", None)


@pytest.mark.parametrize("path", ["/events", "/events/summaries", "/contacts", "/auto_messages"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"email":"a@example.com","email":"b@example.com"}', "email"),
        ('{"a":{"b":1,"b":2}}', "a.b"),
        ('{"a":NaN}', "a"),
        ('{"a":[1,{"b":-Infinity}]}', "a[1].b"),
        ('{"a":1e400}', "a"),
        ('{"a":%s}' % ("9" * 100_000), "a"),
        ('{{"a":{}1{}}}'.format("[" * 600, "]" * 600), "a[0][0][0]"),
        ('{"\\ud800":1,"\\ud800":2}', "\ufffd"),
    ],
    ids=lambda text: text[:20],
)
def test_traps_inside_json_are_refused_at_their_place(rest: Rest, path: str, body: str, field: str) -> None:
    assert problem(rest.send("POST", path, body)) == (400, "field_invalid", field)


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "nonsense"])
def test_another_content_type_is_refused(rest: Rest, path: str, kind: str) -> None:
    answer = rest.send("POST", path, b"{}", {"Content-Type": kind})
    assert problem(answer) == (415, "body_invalid", "Content-Type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.api+json", "APPLICATION/JSON", ""])
def test_json_by_any_of_its_names_is_read(rest: Rest, kind: str) -> None:
    assert problem(rest.send("POST", "/contacts", b'{"name":5}', {"Content-Type": kind})) == (400, "attribute_invalid", "name")


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_body_beyond_the_limit_is_refused(rest: Rest, path: str) -> None:
    limit = rest.world.services.settings.body_limit * 8
    padding = b'{"a":"' + b"x" * limit + b'"}'
    assert problem(rest.send("POST", path, padding)) == (413, "body_too_large", None)
    assert problem(rest.send("POST", path, gzip.compress(padding), {"Content-Encoding": "gzip"})) == (413, "body_too_large", None)


def test_a_compressed_body_is_read(rest: Rest) -> None:
    body = gzip.compress(json.dumps({"events": [{"event_name": "a", "user_id": "u-1"}]}).encode())
    assert rest.send("POST", "/events/batch", body, {"Content-Encoding": "gzip"}).json["accepted"] == 1
    assert problem(rest.send("POST", "/events/batch", b"no gzip", {"Content-Encoding": "gzip"}))[:2] == (400, "body_invalid")
    assert problem(rest.send("POST", "/events/batch", b"{}", {"Content-Encoding": "br"}))[:2] == (415, "body_invalid")


@pytest.mark.parametrize("inside", ["0.1,", "[],", "{},", '{"a":0.1},'])
def test_many_values_deep_inside_take_no_memory_to_go_through(inside: str) -> None:
    depth, many = 490, 20_000
    body = json.loads('{"a":' + "[" * depth + inside * many + "1e400" + "]" * depth + "}")
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            check(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.field == "a" + "[0]" * (depth - 1) + f"[{many}]"
    assert most < 1_000_000


def test_the_first_of_several_faults_is_named(rest: Rest) -> None:
    assert problem(rest.send("POST", "/contacts", '{"a":[[NaN],{"b":1,"b":2}],"c":NaN}')) == (400, "field_invalid", "a[0][0]")


@pytest.mark.parametrize(("text", "least"), [(b'"' + b"x" * 1_000_000 + b'"', 1_000_000), (b"[" + b"{}," * 100_000 + b"0]", 10_000_000)])
def test_room_is_asked_for_what_a_body_becomes(rest: Rest, text: bytes, least: int) -> None:
    asked: list[int] = []

    def room(size: int) -> bool:
        asked.append(size)
        return sum(asked) < least

    packed = {**rest.access, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = rest.client.post("/api/contacts", data=gzip.compress(text), headers=packed, environ_overrides={ROOM: room})
    assert problem(answer) == (503, "overloaded", None)
    assert answer.headers["Retry-After"] == "5"
    assert sum(asked) >= least


@pytest.mark.parametrize("path", ["/events", "/events/batch"])
def test_what_waits_for_the_writer_counts_as_it_is_inflated(rest: Rest, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"event_name": "a", "user_id": "u-1", "metadata": {"note": "x" * 200}}
    body = json.dumps({**event, "create_contact": True} if path == "/events" else {"events": [event]}).encode()
    writer, sizes = rest.world.services.writer, []
    record = writer.record

    def spied(site: int, payload: Any, size: int = 0, *, whole: bool = False) -> Any:
        sizes.append(size)
        return record(site, payload, size, whole=whole)

    monkeypatch.setattr(writer, "record", spied)
    assert rest.send("POST", path, gzip.compress(body), {"Content-Encoding": "gzip"}).status_code == 202
    assert sizes == [len(body)]
