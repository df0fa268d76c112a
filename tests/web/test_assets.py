"""The scripts that pages load: cached, compressed, the same for everybody."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator

import brotli
import pytest
from flask.testing import FlaskClient

from collector.scripts import load, package, script_folder
from tests.support.clock import FakeClock
from tests.web.test_api_support import Rest, serving

PUBLISHED = {
    "1.0.0": "5a4387d6e64be979782fa0b6af25946ef67e6b55d95dd0e4b8df7734af83d0c4",
    "1.0.1": "d5e804508371ac8c9303d8d6108027ab62beb46074537d7a2e5ce30f0de81f8f",
}
"""Digests (SHA-256) of the package by its version."""


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def pages(rest: Rest) -> FlaskClient:
    return rest.client


@pytest.fixture
def messenger() -> str:
    return f"/messenger-{load('messenger.js').hash}.js"


def test_the_tracker_names_the_messenger_by_its_content(messenger: str) -> None:
    assert messenger[1:].encode() in load("tracker.js").plain


UNPACK: dict[str | None, Callable[[bytes], bytes]] = {None: bytes, "gzip": gzip.decompress, "br": brotli.decompress}


@pytest.mark.parametrize("name", ["tracker.js", "handover.js", "intercom.js", "leadlight.js", "messenger.js"])
def test_scripts_come_compressed_where_that_is_understood(pages: FlaskClient, messenger: str, name: str) -> None:
    path = messenger if name == "messenger.js" else f"/{name}"
    accepted = ("identity", "gzip, deflate", "gzip, deflate, br, zstd")
    answers = [pages.get(path, headers={"Accept-Encoding": codings}) for codings in accepted]
    assert [answer.headers.get("Content-Encoding") for answer in answers] == [None, "gzip", "br"]
    assert {UNPACK[answer.headers.get("Content-Encoding")](answer.data) for answer in answers} == {answers[0].data}
    assert {(answer.headers["Vary"], answer.mimetype) for answer in answers} == {("Accept-Encoding", "text/javascript")}
    assert len({answer.headers["ETag"] for answer in answers}) == 3
    sizes = [len(answer.data) for answer in answers]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("accepted", "coding"), [("br;q=0, gzip", "gzip"), ("br;q=0, gzip;q=0", None), ("*", "br"), ("", None)])
def test_no_script_comes_in_a_coding_that_was_ruled_out(pages: FlaskClient, accepted: str, coding: str | None) -> None:
    assert pages.get("/tracker.js", headers={"Accept-Encoding": accepted}).headers.get("Content-Encoding") == coding


@pytest.mark.parametrize("name", ["tracker.js", "handover.js", "intercom.js", "leadlight.js", "leadlight.tgz"])
def test_what_keeps_its_name_is_kept_for_an_hour_and_not_sent_again_unless_it_changed(pages: FlaskClient, name: str) -> None:
    first = pages.get(f"/{name}")
    assert first.headers["Cache-Control"] == "public, max-age=3600"
    again = pages.get(f"/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_messenger_is_kept_for_good(pages: FlaskClient, messenger: str) -> None:
    assert pages.get(messenger).headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_the_package_comes_as_it_is_whatever_the_client_unpacks(pages: FlaskClient) -> None:
    answer = pages.get("/leadlight.tgz", headers={"Accept-Encoding": "gzip"})
    assert (answer.mimetype, answer.headers.get("Content-Encoding"), answer.data) == ("application/gzip", None, package())


def test_the_package_holds_the_module_and_its_types() -> None:
    with tarfile.open(fileobj=io.BytesIO(package()), mode="r:gz") as archive:
        assert sorted(archive.getnames()) == [
            "package/package.json",
            "package/src/module/index.d.ts",
            "package/src/module/leadlight.js",
            "package/types.d.ts",
        ]


def test_a_version_of_the_package_never_changes() -> None:
    """Lock files hold the digest: where this fails, raise the version in static/src/module/package.json, then note the digest."""
    version = json.loads((script_folder() / "src" / "module" / "package.json").read_text("utf-8"))["version"]
    assert PUBLISHED[version] == hashlib.sha256(package()).hexdigest()


def test_an_old_tracker_gets_todays_messenger_for_a_short_while(pages: FlaskClient, messenger: str) -> None:
    old = pages.get("/messenger-0123456789ab.js")
    assert old.data == pages.get(messenger).data
    assert old.headers["Cache-Control"] == "public, max-age=300"


@pytest.mark.parametrize("path", ["/intercom.js", "/widget/abc123"])
def test_the_drop_in_is_one_script_for_every_site_and_kept_for_an_hour(pages: FlaskClient, path: str) -> None:
    served = pages.get(path)
    assert served.data == load("intercom.js").plain
    assert (served.mimetype, served.headers["Cache-Control"]) == ("text/javascript", "public, max-age=3600")


def make_rule(rest: Rest, event: str = "bought") -> str:
    answer = rest.post("/event_rules", {"event_name": event, "source": "click", "selector": "[title='</script>']"})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def rules_name(rest: Rest) -> str:
    """The script's name as the tracker is told it."""
    services, site = rest.world.services, rest.world.site
    name = services.rule_scripts.name(site.key, services.event_rules.active(site.id).elements)
    assert name is not None
    return name


def test_the_script_of_the_rules_holds_them_and_is_kept_for_good(rest: Rest, pages: FlaskClient) -> None:
    make_rule(rest)
    served = pages.get(f"/{rules_name(rest)}")
    data, _, code = served.data.partition(b";\n")
    assert json.loads(data.removeprefix(b"const RULES=")) == [
        {"event": "bought", "on": "click", "selector": "[title='</script>']", "page": None, "read": []}
    ]
    assert code == load("rules.js").plain
    assert served.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert (served.mimetype, served.headers["X-Content-Type-Options"]) == ("text/javascript", "nosniff")
    for coding in ("gzip", "br"):
        packed = pages.get(f"/{rules_name(rest)}", headers={"Accept-Encoding": coding})
        assert UNPACK[packed.headers["Content-Encoding"]](packed.data) == served.data


def test_another_rule_makes_another_script_and_the_old_name_serves_it_for_a_short_while(rest: Rest, pages: FlaskClient) -> None:
    make_rule(rest)
    old = rules_name(rest)
    second = make_rule(rest, "looked")
    assert rules_name(rest) != old
    served = pages.get(f"/{old}")
    assert served.data == pages.get(f"/{rules_name(rest)}").data
    assert served.headers["Cache-Control"] == "public, max-age=300"
    rest.send("DELETE", f"/event_rules/{second}")
    assert rules_name(rest) == old


def test_a_script_of_rules_that_are_gone_does_nothing(rest: Rest, pages: FlaskClient) -> None:
    rule = make_rule(rest)
    old = rules_name(rest)
    rest.send("DELETE", f"/event_rules/{rule}")
    assert pages.get(f"/{old}").data.startswith(b"const RULES=[];\n")


@pytest.mark.parametrize("name", ["rules-.js", "rules-x.js", "rules-nobodyssitekey00-0123456789ab.js"])
def test_a_site_that_is_none_has_no_script(pages: FlaskClient, name: str) -> None:
    assert pages.get(f"/{name}").status_code == 404


def test_any_page_may_load_them_and_they_are_the_same_for_everybody(rest: Rest, pages: FlaskClient, messenger: str) -> None:
    named = ("/tracker.js", "/intercom.js", "/widget/evil", "/leadlight.js", "/leadlight.tgz")
    pages.set_cookie("leadlight_site", "somebody", domain="localhost")
    for path in (*named, messenger, f"/rules-{rest.world.site.key}-evil.js"):
        plain = pages.get(path)
        answer = pages.get(f"{path}?site=<script>", headers={"Origin": "https://shop.example", "Host": "evil.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Set-Cookie" not in answer.headers
        assert (answer.data, answer.headers["ETag"]) == (plain.data, plain.headers["ETag"])
        assert b"evil" not in answer.data
