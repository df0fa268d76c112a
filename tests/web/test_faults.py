"""What nobody expected: whoever asked is told a number, and the log says where it was, never what was being handled."""

import json
import re
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from flask import Response
from werkzeug.test import TestResponse

from collector.app import create_app
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, console

SECRET = "eve@example.com"
QUERY = {"field": "role", "operator": "=", "value": "user"}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        yield running


def quote(*_: object, **__: object) -> None:
    """Fail as a database does that quotes the value it refuses."""
    raise RuntimeError(f"Key (value)=({SECRET}) already exists.")


def places(log: pytest.LogCaptureFixture, answer: TestResponse) -> str:
    """Return what was logged first of a request, which has to be named there as in its answer."""
    logged = next(record.getMessage() for record in log.records if record.levelname == "ERROR")
    number = re.match(r"request (\S+) failed: RuntimeError\n", logged)
    assert number is not None, logged
    assert number[1] in answer.text
    assert SECRET not in log.text
    assert "Traceback" not in log.text
    return logged


def test_a_fault_on_a_page_of_the_console(on: Console, caplog: pytest.LogCaptureFixture) -> None:
    on.sign_in()
    with patch("collector.web.console.reading.cards", quote):
        answer = on.get("/people")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert ", in quote" in places(caplog, answer)


def test_a_fault_while_it_is_asked_who_is_there(on: Console, caplog: pytest.LogCaptureFixture) -> None:
    on.sign_in()
    with patch("collector.domain.accounts.by_id", quote):
        answer = on.get("/people")
    assert answer.status_code == 500
    assert ", in quote" in places(caplog, answer)


@pytest.mark.parametrize("path", ["/rules-KEY-0123456789ab.js", "/readyz"])
def test_a_fault_anywhere_else(on: Console, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with patch.object(on.services.sites, "by_key", quote), patch.object(on.services.sites, "are_readable", quote):
        answer = on.browser.get(path.replace("KEY", on.site.key))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (500, "internal")
    assert ", in quote" in places(caplog, answer)


@pytest.mark.parametrize("path", ["/console/sign-in", "/healthz"])
def test_a_fault_after_the_answer_was_made(on: Console, path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(on.services)

    @app.after_request
    def fail(_answer: Response) -> Response:
        """Fail where no handler of a view is asked any more, and with the answer to that again."""
        quote()
        raise AssertionError

    answer = app.test_client().get(path)
    assert answer.status_code == 500
    assert ", in quote" in places(caplog, answer)


@pytest.mark.parametrize("fault", [KeyError("a key"), LookupError("a place"), ValueError("a value")])
def test_a_fault_is_not_taken_for_what_is_not_there(on: Console, fault: Exception) -> None:
    """Many faults of Python are of the kind of a look that found nothing, or of a value that was refused."""
    on.sign_in()
    on.viewed(lead(), "/")
    on.did(user(), "signed-in", lead=lead())
    on.viewed(lead("other"), "/")
    known, other = on.contact_id(user()), on.contact_id(lead("other"))
    merge, message = on.world.rows("SELECT id FROM merges")[0][0], on.message().public_id
    access = {"Authorization": f"Bearer {on.world.access_token}"}
    segment = on.browser.post("/api/segments", json={"name": "All", "query": QUERY}, headers=access).json["id"]

    def rest(method: str, path: str, **body: object) -> TestResponse:
        return on.browser.open(f"/api{path}", method=method, json=body, headers=access)

    with patch("collector.domain.changes.note", side_effect=fault), patch("collector.domain.definitions.hold", side_effect=fault):
        answers = {
            "a contact": rest("PUT", f"/contacts/{known}", name="Ann"),
            "a merge": rest("POST", "/contacts/merge", **{"from": other, "into": known}),
            "an undone merge": rest("POST", f"/merges/{merge}/undo"),
            "a message": rest("PUT", f"/auto_messages/{message}", name="Other"),
            "a message that goes": rest("DELETE", f"/auto_messages/{message}"),
            "a segment": rest("PUT", f"/segments/{segment}", name="Other"),
            "a segment that goes": rest("DELETE", f"/segments/{segment}"),
            "a merge in the console": on.post(f"/people/{known}/join", {"lead": other}),
            "an undone merge in the console": on.post(f"/merges/{merge}/undo"),
            "a message in the console": on.post(f"/messages/{message}/state", {"state": "paused"}),
            "a segment in the console": on.post(f"/segments/{segment}", {"name": "Other", "query": json.dumps(QUERY)}),
            "a segment that goes in the console": on.post(f"/segments/{segment}/delete"),
        }
    assert {what: answer.status_code for what, answer in answers.items()} == dict.fromkeys(answers, 500)
