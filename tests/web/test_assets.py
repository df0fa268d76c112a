"""The scripts that pages load: cached, compressed, the same for everybody."""

import gzip
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from collector.web import assets


@pytest.fixture
def pages() -> Iterator[FlaskClient]:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(assets.blueprint())
    yield app.test_client()


@pytest.fixture
def messenger() -> str:
    return f"/messenger-{assets.load('messenger.js').hash}.js"


def test_the_tracker_names_the_messenger_by_its_content(messenger: str) -> None:
    assert messenger[1:].encode() in assets.load("tracker.js").plain


@pytest.mark.parametrize("name", ["tracker.js", "messenger.js"])
def test_scripts_come_compressed_where_that_is_understood(pages: FlaskClient, messenger: str, name: str) -> None:
    path = "/tracker.js" if name == "tracker.js" else messenger
    plain, packed = pages.get(path), pages.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


def test_what_has_not_changed_is_not_sent_again(pages: FlaskClient) -> None:
    etag = pages.get("/tracker.js").headers["ETag"]
    again = pages.get("/tracker.js", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


def test_the_messenger_is_kept_for_good_and_the_tracker_for_an_hour(pages: FlaskClient, messenger: str) -> None:
    assert "immutable" in pages.get(messenger).headers["Cache-Control"]
    assert pages.get("/tracker.js").headers["Cache-Control"] == "public, max-age=3600"


def test_an_old_tracker_gets_todays_messenger_for_a_short_while(pages: FlaskClient, messenger: str) -> None:
    old = pages.get("/messenger-0123456789ab.js")
    assert old.data == pages.get(messenger).data
    assert old.headers["Cache-Control"] == "public, max-age=300"


def test_any_page_may_load_them_and_they_set_and_reflect_nothing(pages: FlaskClient, messenger: str) -> None:
    for path in ("/tracker.js?site=<script>", messenger):
        answer = pages.get(path, headers={"Origin": "https://shop.example", "Host": "evil.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Set-Cookie" not in answer.headers
        assert b"evil" not in answer.data
        assert b"<script>" not in answer.data
