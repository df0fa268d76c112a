"""What nobody expected: whoever asked is told a number, and the log says where it was, never what was being handled."""

import re
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from flask import Response
from werkzeug.test import TestResponse

from collector.app import create_app
from tests.support.clock import FakeClock
from tests.web.test_console_support import Console, console

SECRET = "eve@example.com"


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
