"""What a browser sends to `collect`, good and bad. Every test runs on the raw entry and on the Flask view."""

import gzip
import json
import secrets
from typing import Any

import pytest

from collector.domain import deletion
from collector.domain.selection import select
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import new_uuid7
from collector.values.queries import parse
from tests.ingest.test_messages import create
from tests.support.browserless import Tracker
from tests.support.world import World, user


def stored(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM events")[0][0])


def codes(answer) -> list[tuple[int, str, str | None]]:
    return [(entry["index"], entry["code"], entry.get("field")) for entry in answer["refused"]]


def test_an_accepted_event_is_stored_when_the_answer_comes(tracker: Tracker, world: World) -> None:
    answer = tracker.collect(tracker.event("created-report", metadata={"rows": 3}))
    assert (answer["accepted"], answer["duplicates"], answer["refused"]) == (1, 0, [])
    assert stored(world) == 1


def test_the_answer_carries_the_collectors_clock(tracker: Tracker, world: World) -> None:
    assert tracker.collect(tracker.event())["time"] == world.clock()


def test_sent_again_it_is_a_duplicate(tracker: Tracker, world: World) -> None:
    event = tracker.event()
    tracker.collect(event)
    assert tracker.collect(event)["duplicates"] == 1
    assert stored(world) == 1


def test_a_bad_event_never_costs_its_good_neighbours(tracker: Tracker, world: World) -> None:
    bad = [
        tracker.event(""),
        tracker.event("x" * 121),
        tracker.event("nul\x00"),
        tracker.event("lone \ud800"),
        tracker.event("id", id="not-an-id"),
        tracker.event("id", id="00000000-0000-4000-8000-000000000000"),
        tracker.event("metadata", metadata={str(number): 1 for number in range(10_000)}),
        tracker.event("metadata", metadata=[1]),
        tracker.event("metadata", metadata={"a.b": 1}),
        tracker.event("metadata", metadata={"a": 1, "A": 2}),
        tracker.event("time", at=-1),
        tracker.event("time", at="yesterday"),
        tracker.event("time", at=10**18),
        tracker.event("time", at=0),
        tracker.event("unknown", colour="red"),
        tracker.event("other", repeat=True),
        {"type": "unheard-of"},
        {},
        None,
        17,
        "text",
        [],
    ]
    good = tracker.event("good")
    answer = tracker.collect(*bad, good)
    assert answer["accepted"] == 1
    assert [entry["index"] for entry in answer["refused"]] == list(range(len(bad)))
    assert codes(answer)[:17] == [
        (0, "name_invalid", "name"),
        (1, "name_invalid", "name"),
        (2, "name_invalid", "name"),
        (3, "name_invalid", "name"),
        (4, "id_invalid", "id"),
        (5, "id_invalid", "id"),
        (6, "metadata_too_many_keys", "metadata"),
        (7, "metadata_invalid", "metadata"),
        (8, "metadata_key_invalid", "metadata.a.b"),
        (9, "metadata_key_repeated", "metadata.A"),
        (10, "time_invalid", "at"),
        (11, "field_invalid", "at"),
        (12, "time_invalid", "at"),
        (13, "too_old", "at"),
        (14, "field_unknown", "colour"),
        (15, "field_invalid", "repeat"),
        (16, "field_invalid", "type"),
    ]
    assert stored(world) == 1


@pytest.mark.parametrize(
    "text", ["Můj ž", "😀", "\u202eright to left", "line\u2028separator", "<script>alert(1)</script>", "' OR 1=1 --", "%s ?"]
)
def test_names_and_values_of_any_script_are_kept(tracker: Tracker, world: World, text: str) -> None:
    tracker.collect(tracker.event(text, metadata={text.replace(".", ""): text}))
    assert world.rows("SELECT text FROM names WHERE kind = 'event'") == [(text.strip(),)]
    assert json.loads(world.rows("SELECT metadata FROM events")[0][0]) == {text.strip(): text}


@pytest.mark.parametrize("order", ["the view first", "the view later"])
def test_who_is_in_a_view_of_somebody_else_counts_nothing_and_takes_nothing(tracker: Tracker, world: World, order: str) -> None:
    tracker.identify("u-1")
    view = tracker.event()
    if order == "the view first":
        tracker.collect(view)
    repeat = tracker.event(view=view["id"], repeat=True, visit=view["id"])
    tracker.identify("u-2")
    answer = tracker.collect(repeat)
    assert (answer["accepted"], answer["duplicates"], answer["refused"]) == (0, 1, [])
    tracker.identify("u-1")
    assert tracker.collect(view)["accepted"] == (0 if order == "the view first" else 1)
    assert (world.counts(user("u-1")), world.counts(user("u-2"))) == ({"page-view": 1}, {})
    assert [one.name for one in world.timeline(user("u-2"))] == []
    visits = "SELECT count(*) FROM visits v JOIN identities i ON i.site = v.site AND i.id = v.identity WHERE i.value = 'u-2'"
    assert world.rows(visits) == [(1,)], "that somebody was here is known"


def test_attributes_said_before_the_deletion_of_their_person_are_refused(tracker: Tracker, world: World) -> None:
    said = {"type": "identify", "at": world.clock(), "attributes": {"name": "Ada"}}
    tracker.identify("u-1")
    tracker.collect(said)
    world.clock.advance(MINUTE)
    services, site, person = world.services, world.site.id, world.person(user("u-1")).id
    services.writer.run(site, lambda tx: deletion.delete_person(tx, site, services.keyring, person, world.clock))
    world.clock.advance(MINUTE)
    later = {"type": "identify", "at": world.clock(), "attributes": {}}
    assert codes(tracker.collect(said)) == [(0, "person_deleted", None)]
    answer = tracker.collect(later, said)
    assert (answer["accepted"], codes(answer), answer["flagged"]) == (1, [(1, "person_deleted", None)], [])


def test_a_value_that_is_no_metadata_is_left_out_and_flagged_and_its_event_is_kept(tracker: Tracker, world: World) -> None:
    """Only a bad name, id or key refuses what a page tracks."""
    bad = {
        "list": [1],
        "deep": {"b": {"c": 1}},
        "money": {"amount": 3.5, "currency": "eur"},
        "link": "https://example.com/" + "x" * 2_048,
        "ordered_at": 1_790_000_000_000,
        "born_date": "some day",
    }
    answer = tracker.collect(tracker.event("x", metadata={**bad, "kept": 1, "paid_at": 1_772_000_000}))
    assert (answer["accepted"], answer["refused"]) == (1, [])
    assert answer["flagged"] == [
        {"index": 0, "code": "metadata_value_invalid", "field": "metadata.list"},
        {"index": 0, "code": "metadata_value_invalid", "field": "metadata.deep"},
        {"index": 0, "code": "metadata_value_invalid", "field": "metadata.money.amount"},
        {"index": 0, "code": "metadata_value_invalid", "field": "metadata.link"},
        {"index": 0, "code": "time_invalid", "field": "metadata.ordered_at"},
        {"index": 0, "code": "time_invalid", "field": "metadata.born_date"},
    ]
    assert json.loads(world.rows("SELECT metadata FROM events")[0][0]) == {"kept": 1, "paid_at": 1_772_000_000}


@pytest.mark.parametrize("visit", ["", "x", "x" * 36, "00000000-0000-4000-8000-000000000000"])
def test_rubbish_for_a_visit_costs_the_visit_alone(tracker: Tracker, world: World, visit: str) -> None:
    answer = tracker.collect(tracker.event("a", visit=visit), tracker.event("b", visit=visit))
    assert (answer["accepted"], answer["refused"]) == (2, [])
    assert answer["flagged"] == [{"index": index, "code": "id_invalid", "field": "visit"} for index in (0, 1)]
    assert world.rows("SELECT visit FROM events") == [(None,), (None,)]


def test_values_that_cannot_be_stored_are_replaced_and_flagged(tracker: Tracker, world: World) -> None:
    answer = tracker.collect(tracker.event("x", metadata={"a": "nul\x00", "b": "lone \ud800", "c": "y" * 300}))
    assert answer["flagged"] == [
        {"index": 0, "code": "character_replaced", "field": "metadata.a"},
        {"index": 0, "code": "character_replaced", "field": "metadata.b"},
        {"index": 0, "code": "string_cut", "field": "metadata.c"},
    ]
    assert json.loads(world.rows("SELECT metadata FROM events")[0][0]) == {"a": "nul\ufffd", "b": "lone \ufffd", "c": "y" * 255}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "body_invalid", None),
        (b"{", "body_invalid", None),
        (b"\xff\xfe", "body_invalid", None),
        (b"[]", "body_invalid", None),
        (b"null", "body_invalid", None),
        (b"[" * 100_000, "body_invalid", None),
        (b'{"v":1}', "field_missing", "site"),
        (b'{"v":"1","site":"a","lead":"b","sent_at":1,"items":[]}', "field_invalid", "v"),
        (b'{"v":1,"site":"a","lead":"b","sent_at":1,"items":{}}', "field_invalid", "items"),
        (b'{"v":1,"site":"a","lead":"b","sent_at":1,"items":[],"extra":1}', "field_unknown", "extra"),
        (b'{"v":99,"site":"a","lead":"b","sent_at":1,"items":[]}', "wire_version_unknown", "v"),
        (b'{"v":1,"site":"a","lead":"b","sent_at":NaN,"items":[]}', "body_invalid", None),
    ],
)
def test_a_body_that_is_no_envelope_gets_the_one_error_shape(tracker: Tracker, body: bytes, code: str, field: str | None) -> None:
    answer = tracker.post("/collect", body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["type"] == "error.list"
    assert answer.json["request_id"]
    assert [(error["code"], error.get("field")) for error in answer.json["errors"]] == [(code, field)]


def test_a_body_over_the_limit_is_refused(tracker: Tracker, world: World) -> None:
    answer = tracker.post("/collect", b" " * (world.services.settings.body_limit + 1))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (413, "body_too_large")


def test_a_small_body_that_inflates_over_the_limit_is_refused(tracker: Tracker, world: World) -> None:
    bomb = gzip.compress(b" " * (world.services.settings.body_limit * 20))
    answer = tracker.post("/collect", bomb, Content_Encoding="gzip")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (413, "body_too_large")


def test_a_compressed_body_is_read(tracker: Tracker, world: World) -> None:
    answer = tracker.post("/collect", gzip.compress(json.dumps(tracker.envelope(tracker.event())).encode()), Content_Encoding="gzip")
    assert answer.status_code == 202
    assert stored(world) == 1


def test_more_than_500_items_are_refused_whole(tracker: Tracker, world: World) -> None:
    answer = tracker.post("/collect", tracker.envelope(*[{}] * 501))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (413, "too_many_items")


def test_an_unknown_site_is_refused(tracker: Tracker) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), site="nobody"))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (403, "site_unknown")


@pytest.mark.parametrize("lead", ["", "short.short", "a" * 22, "é" * 22 + "." + "a" * 22, "../../../etc/passwd"])
def test_a_lead_of_another_form_is_refused(tracker: Tracker, lead: str) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), lead=lead))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (403, "lead_invalid")


def test_a_forged_secret_is_refused_and_stores_nothing(tracker: Tracker, world: World) -> None:
    tracker.view("/")
    forged = tracker.lead.split(".")[0] + "." + "x" * 22
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), lead=forged))
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (403, "lead_secret_invalid")
    assert stored(world) == 1


def test_the_answer_names_the_exact_origin(tracker: Tracker) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event()))
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_refusal_can_be_read_by_the_page_too(tracker: Tracker) -> None:
    answer = tracker.post("/collect", b"{", Origin="https://elsewhere.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://elsewhere.example"


def test_a_page_of_an_origin_that_is_not_allowed_is_refused(tracker: Tracker, world: World) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event()), Origin="https://elsewhere.example")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (403, "origin_not_allowed")
    assert stored(world) == 0


def test_a_page_that_names_no_origin_is_taken(tracker: Tracker, world: World) -> None:
    assert tracker.post("/collect", tracker.envelope(tracker.event()), Origin="null").status_code == 202


def test_only_post_is_served(tracker: Tracker) -> None:
    answer = tracker.client.get("/collect")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (405, "method_not_allowed")


def test_global_privacy_control_is_honoured_by_the_server_too(tracker: Tracker, world: World) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event()), Sec_GPC="1")
    assert answer.status_code == 202
    assert codes(answer.json) == [(0, "consent_withheld", None)]
    assert stored(world) == 0


def test_an_explicit_opt_in_outweighs_it(tracker: Tracker, world: World) -> None:
    assert tracker.post("/collect", tracker.envelope(tracker.event(), consent="granted"), Sec_GPC="1").json["accepted"] == 1


def test_who_asked_not_to_be_tracked_is_shown_nothing(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    body = {key: value for key, value in tracker.envelope().items() if key != "items"}
    claim = {**body, "message": message, "nonce": secrets.token_urlsafe(16), "page": {"url": tracker.url}}
    assert tracker.post("/claim", claim, Sec_GPC="1").json == {"message": None, "reason": "consent"}
    assert tracker.post("/claim", {**claim, "consent": "granted"}, Sec_GPC="1").json["message"]


@pytest.mark.parametrize(
    "agent", ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Mozilla/5.0 HeadlessChrome/140.0"]
)
def test_bots_are_stored_nowhere_and_told_so(tracker: Tracker, world: World, agent: str) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event()), User_Agent=agent)
    assert codes(answer.json) == [(0, "bot", None)]
    assert world.rows("SELECT count(*) FROM identities") == [(0,)]


def test_a_sites_own_tests_count_where_it_says_so(tracker: Tracker) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), automation="count"), User_Agent="HeadlessChrome/140.0")
    assert answer.json["accepted"] == 1


def test_a_wrong_clock_is_corrected(tracker: Tracker, world: World) -> None:
    now = world.clock()
    wrong = now + 3 * DAY
    tracker.collect(tracker.event("x", at=wrong - HOUR), sent_at=wrong)
    assert world.rows("SELECT at FROM events") == [(now - HOUR,)]


def test_the_best_round_trip_corrects_better_than_one_attempt(tracker: Tracker, world: World) -> None:
    now = world.clock()
    tracker.collect(tracker.event("x", at=now - HOUR), sent_at=now - 5_000, offset=20)
    assert world.rows("SELECT at FROM events") == [(now - HOUR + 20,)]


@pytest.mark.parametrize("before", [400 * DAY, -400 * DAY], ids=["ahead", "behind"])
def test_events_from_both_sides_of_a_clock_set_right_get_their_own_time(tracker: Tracker, world: World, before: int) -> None:
    now = world.clock()
    items = [tracker.event("x", at=now + before - HOUR), tracker.event("x", at=now - HOUR + 7)]
    answer = tracker.collect(*items, sent_at=now, offset=-before)
    assert answer["refused"] == []
    found = sorted(at for (at,) in world.rows("SELECT at FROM events"))
    # What is dated later than it was sent was sent the moment it happened, as far as anybody knows.
    assert found == sorted([now if before > 0 else now - HOUR, now - HOUR + 7])


def test_no_event_is_later_than_its_arrival(tracker: Tracker, world: World) -> None:
    answer = tracker.collect(tracker.event("x", at=world.clock() + 14 * DAY))
    assert answer["flagged"] == [{"index": 0, "code": "time_clamped", "field": "at"}]
    assert world.rows("SELECT at FROM events") == [(world.clock(),)]


def test_events_older_than_the_timeline_are_refused(tracker: Tracker, world: World) -> None:
    answer = tracker.collect(tracker.event("x", at=world.clock() - 90 * DAY - 1))
    assert codes(answer) == [(0, "too_old", "at")]


def test_a_page_views_address_path_title_and_referrer_are_its_metadata(tracker: Tracker, world: World) -> None:
    page = {"url": "https://shop.example/pricing?utm_source=x", "title": "Pricing", "referrer": "https://search.example/"}
    tracker.collect(tracker.event(page=page, metadata={"path": "/forged"}))
    assert json.loads(world.rows("SELECT metadata FROM events")[0][0]) == {**page, "path": "/pricing"}


def test_attributes_are_cleaned_one_by_one(tracker: Tracker, world: World) -> None:
    item = {"type": "identify", "at": world.clock(), "attributes": {"plan": "pro", "last_seen_at": 5, "bad.key": 1}}
    answer = tracker.collect(item)
    assert answer["accepted"] == 1
    assert answer["refused"] == []
    assert {(flag["index"], flag["code"], flag["field"]) for flag in answer["flagged"]} == {
        (0, "attribute_protected", "attributes.last_seen_at"),
        (0, "attribute_invalid", "attributes.bad.key"),
    }
    lead_id = tracker.lead.split(".")[0]
    assert world.attributes(("lead", lead_id)) == {"custom_attributes.plan": "pro"}


def test_an_event_named_like_anything_does_not_break_the_next(tracker: Tracker, world: World) -> None:
    tracker.collect(tracker.event("__proto__", metadata={"__proto__": "x", "constructor": "y"}))
    tracker.collect(tracker.event("next", visit=new_uuid7(world.clock())))
    assert stored(world) == 2


@pytest.mark.parametrize("site", ["\x00", "\ud800", "x" * 10_000, "' OR 1=1", ""])
def test_what_cannot_be_a_site_key_is_an_unknown_site(tracker: Tracker, site: str) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), site=site))
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("field", ["v", "site", "sent_at", "offset", "user", "items", "dropped"])
def test_a_lone_surrogate_anywhere_in_the_envelope_is_no_error_of_ours(tracker: Tracker, field: str) -> None:
    answer = tracker.post("/collect", tracker.envelope(tracker.event(), **{field: "\ud800"}))
    assert answer.status_code in (400, 403)
    assert answer.json is not None
    assert answer.json["type"] == "error.list"


def test_a_forged_lead_makes_nobody_and_uses_up_no_names(tracker: Tracker, world: World) -> None:
    tracker.view()
    tracker.identify("victim")
    forged = tracker.lead.split(".")[0] + "." + "x" * 22
    tracker.post("/collect", tracker.envelope(tracker.event("brand-new"), lead=forged))
    assert world.rows("SELECT count(*) FROM identities WHERE kind = 'user'") == [(0,)]
    assert world.rows("SELECT count(*) FROM names WHERE text = 'brand-new'") == [(0,)]


def test_attributes_beyond_the_days_names_say_so(tracker: Tracker, world: World) -> None:
    most = world.services.settings.new_names_per_day
    for start in range(0, most, 200):
        attributes = {f"a{number}": 1 for number in range(start, start + 200)}
        tracker.collect({"type": "identify", "at": world.clock(), "attributes": attributes})
    answer = tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"one-more": 1}})
    assert answer["flagged"] == [{"index": 0, "code": "name_limit", "field": "attributes.one-more"}]
    assert tracker.collect(tracker.event("an-event"))["accepted"] == 1


def test_a_compressed_body_that_is_cut_off_is_refused(tracker: Tracker) -> None:
    body = gzip.compress(json.dumps(tracker.envelope(tracker.event())).encode())
    assert tracker.post("/collect", body[:-4], Content_Encoding="gzip").status_code == 400
    assert tracker.post("/collect", body + b"more", Content_Encoding="gzip").status_code == 400


def test_a_flood_of_new_people_is_bounded_and_costs_known_visitors_nothing(database_url: str, new_tracker, world: World) -> None:
    limit = world.services.settings.new_leads_per_minute
    known = new_tracker()
    known.view()
    world.services.writer._bulk._new_people.book(world.site.id, world.clock(), limit - 1)
    stranger = new_tracker()
    answer = stranger.post("/collect", stranger.envelope(stranger.event()))
    assert (answer.status_code, answer.json["errors"][0]["code"], answer.headers["Retry-After"]) == (429, "lead_limit", "60")
    assert known.view()["accepted"] == 1
    known.identify("an invented user id")
    assert known.post("/collect", known.envelope(known.event())).status_code == 429
    world.clock.advance(60_000)
    assert stranger.view()["accepted"] == 1


@pytest.mark.parametrize("items", [[], [{"name": "", "at": 1}], [{"at": 5}]], ids=["nothing", "no name", "too old"])
@pytest.mark.parametrize("user", [None, "u-new"])
def test_an_envelope_of_which_nothing_is_taken_makes_nobody(tracker: Tracker, world: World, items: list[Any], user: str | None) -> None:
    if user is not None:
        tracker.identify(user)
    answer = tracker.collect(*(tracker.event(**{"name": "x", **fields}) for fields in items))
    assert (answer["accepted"], len(answer["refused"])) == (0, len(items))
    assert world.rows("SELECT count(*) FROM identities") == [(0,)]


def test_the_path_of_a_view_is_what_people_read_and_page_rules_compare(tracker: Tracker, world: World) -> None:
    tracker.collect(tracker.event(url="https://shop.example/%C3%BCber-uns/Stra%C3%9Fe/a%2Fb?x=%C3%BC"))
    tracker.collect(tracker.event(url="https://shop.example/%00/%FF"))
    found = {json.loads(metadata)["path"] for (metadata,) in world.rows("SELECT metadata FROM events")}
    assert found == {"/über-uns/Straße/a%2Fb", "/\ufffd/\ufffd"}
    for operator, value in (("=", "/über-uns/Straße/a%2Fb"), ("~", "STRASSE"), ("^", "/ÜBER")):
        rule = {"field": "metadata.path", "operator": operator, "value": value}
        query = {"event": "page-view", "field": "count", "operator": "=", "value": 1, "where": [rule]}
        services = world.services
        with (
            services.database.read() as connection,
            select(connection, world.site, services.names, parse(query, retention_days=90), world.clock(), services.settings.retention) as (
                people,
                _,
            ),
        ):
            assert people.count(connection) == 1
