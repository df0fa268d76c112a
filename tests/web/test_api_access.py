"""Who may call, what every answer carries, and how errors look."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from collector.storage.writer import Overloaded
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token} x", "Bearer \u00e9"]
)
def test_without_the_token_nobody_is_let_in(rest: Rest, header: str) -> None:
    answer = rest.send("GET", "/me", headers={"Authorization": header.replace("{token}", rest.token)})
    assert problem(answer) == (401, "unauthorized", None)
    assert answer.json["errors"][0]["message"] == "Access Token Invalid"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_scheme_is_read_without_regard_to_case(rest: Rest) -> None:
    assert rest.send("GET", "/me", headers={"Authorization": f"bearer {rest.token}"}).status_code == 200


def test_me_is_the_site_of_the_token(rest: Rest) -> None:
    me = rest.get("/me").json
    assert me["type"] == "admin"
    assert me["app"]["id_code"] == rest.world.site.key
    assert rest.other_site().get("/me").json["app"]["id_code"] != rest.world.site.key


def test_the_site_never_comes_from_the_body(rest: Rest) -> None:
    other = rest.other_site()
    assert problem(other.post("/contacts", {"external_id": "u-1", "workspace_id": rest.world.site.key}))[:2] == (400, "field_unknown")


def test_every_answer_carries_a_request_id_of_its_own(rest: Rest) -> None:
    answers = [rest.get("/me"), rest.get("/me"), rest.get("/nothing"), rest.event(user_id="nobody"), rest.send("DELETE", "/me")]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(answer.headers["Cache-Control"] == "no-store" for answer in answers)


def test_an_unknown_address_is_404_in_the_one_shape(rest: Rest) -> None:
    assert problem(rest.get("/nothing")) == (404, "not_found", None)


def test_an_unknown_method_is_405_and_the_known_ones_are_named(rest: Rest) -> None:
    answer = rest.send("PATCH", "/contacts")
    assert problem(answer) == (405, "method_not_allowed", None)
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}


def test_addresses_outside_of_the_interface_answer_json_too(rest: Rest) -> None:
    answer = rest.client.get("/nothing")
    assert problem(answer) == (404, "not_found", None)


def test_the_console_answers_with_a_page(rest: Rest) -> None:
    answer = rest.client.get("/console/nothing/<b>here</b>")
    assert answer.status_code in (302, 303, 404)
    assert "<b>here" not in answer.text


def test_what_nobody_expected_is_logged_under_the_request_id_without_values(
    rest: Rest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("-".join(("user", "secret", "1")))

    monkeypatch.setattr("collector.storage.writer.Writer.record", fail)
    rest.contact(external_id="u-1")
    with caplog.at_level(logging.ERROR):
        answer = rest.event(user_id="u-1")
    assert problem(answer) == (500, "internal", None)
    assert answer.headers["X-Request-Id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "user-secret-1" not in caplog.text + answer.text


def test_too_much_at_once_asks_to_come_again(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Overloaded

    rest.contact(external_id="u-1")
    monkeypatch.setattr("collector.storage.writer.Writer.record", refuse)
    answer = rest.event(user_id="u-1")
    assert problem(answer) == (503, "overloaded", None)
    assert int(answer.headers["Retry-After"]) > 0
