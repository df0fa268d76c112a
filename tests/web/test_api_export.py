"""GET /contacts/{id}/export: everything that is stored about a person, in one document."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.domain import deliveries, export
from collector.domain.deliveries import Delivery, Report
from collector.domain.secrets import digest
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR, SECOND
from collector.values.ids import event_id_text
from tests.support.clock import START, FakeClock
from tests.support.servers import Collector
from tests.support.world import id_at, lead, user
from tests.web.test_api_support import Rest, problem, serving

NOW = START // SECOND
VISIT = "01920000-0000-7000-8000-000000000001"
MESSAGE = {"name": "Ask us", "type": "popup", "state": "live", "content": {"body": "There"}}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def exported(rest: Rest, contact_id: str) -> dict[str, Any]:
    answer = rest.get(f"/contacts/{contact_id}/export")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json
    return document


def signed_up(rest: Rest) -> tuple[str, str]:
    """A visitor looks at a page and signs up; returns the contact ids of the lead and the user."""
    world = rest.world
    anonymous = world.send(lead(), world.event(at=START - HOUR, visit=VISIT, metadata='{"path": "/pricing"}')).contact_id
    known = world.send(user("u-1"), world.event("signed-up"), lead=lead(), verified=True).contact_id
    assert anonymous is not None
    assert known is not None
    return anonymous, known


def test_the_document_is_a_download_of_json(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    answer = rest.get(f"/contacts/{made['id']}/export")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="contact-{made["id"]}.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "type": "contact.export",
        "exported_at": NOW,
        "events_since": NOW - 90 * DAY // SECOND,
        "contact": made,
        "identities": [
            {
                "contact_id": made["id"], "kind": "user", "value": "u-1", "created_at": NOW, "last_active_at": None, "verified": False,
                "unverified_at": None, "deleted_before": None,
            }
        ],
        "attributes": [],
        "totals": [],
        "deliveries": [],
        "decisions": [],
        "merges": [],
        "visits": [],
        "events": [],
    }  # fmt: skip


def test_the_contact_is_the_one_that_get_gives_out(rest: Rest) -> None:
    made = rest.contact(external_id="u-1", name="Änne 😀", email="ann@example.com", custom_attributes={"seats": 2**70, "ratio": 0.5})
    assert exported(rest, made["id"])["contact"] == rest.get(f"/contacts/{made['id']}").json


def test_every_identity_is_named_and_no_secret(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    answer = rest.get(f"/contacts/{known}/export")
    found = [(one["contact_id"], one["kind"], one["value"], one["verified"]) for one in answer.json["identities"]]
    assert found == [(known, "user", "u-1", True), (anonymous, "lead", "lead-1", False)]
    for secret in ("secret", digest("secret").hex(), *rest.world.site.identity_secrets):
        assert secret not in answer.text


def test_a_user_known_by_an_email_and_an_external_id_has_both(rest: Rest) -> None:
    made = rest.contact(email="Ann@example.com")
    rest.put(f"/contacts/{made['id']}", {"external_id": "u-1"})
    found = [(one["kind"], one["value"]) for one in exported(rest, made["id"])["identities"]]
    assert found == [("email", "ann@example.com"), ("user", "u-1")]


def test_an_attribute_says_whose_it_is_where_it_came_from_and_when(rest: Rest) -> None:
    rest.world.set(lead(), {"name": "Typed", "custom_attributes.plan": "free"}, at=START - HOUR)
    known = rest.contact(external_id="u-1", name="Ann", custom_attributes={"seats": 2**70, "old": 1})["id"]
    rest.put(f"/contacts/{known}", {"custom_attributes": {"old": None}})
    rest.world.send(user("u-1"), rest.world.event(), lead=lead())
    anonymous = next(one["contact_id"] for one in exported(rest, known)["identities"] if one["kind"] == "lead")
    found = {(one["contact_id"], one["name"]): (one["value"], one["source"], one["set_at"]) for one in exported(rest, known)["attributes"]}
    assert found == {
        (anonymous, "name"): ("Typed", "browser", NOW - 3600),
        (anonymous, "custom_attributes.plan"): ("free", "browser", NOW - 3600),
        (known, "name"): ("Ann", "trusted", NOW),
        (known, "custom_attributes.seats"): (2**70, "trusted", NOW),
        (known, "custom_attributes.old"): (None, "trusted", NOW),
    }


def test_totals_stand_with_the_identity_that_counted_them_and_in_their_parts(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    summary = {"event_name": "signed-up", "count": 3, "first": NOW - 500 * 86_400, "last": NOW - 400 * 86_400}
    assert rest.post("/events/summaries", {"user_id": "u-1", "event_summaries": summary}).status_code == 200
    nothing = {"count": 0, "first": None, "last": None}
    viewed, signed = sorted(exported(rest, known)["totals"], key=lambda total: total["event_name"])
    assert viewed == {
        "contact_id": anonymous, "event_name": "page-view", "count": 1, "first": NOW - 3600, "last": NOW - 3600, "base": nothing,
        "imported": nothing,
    }  # fmt: skip
    assert signed == {
        "contact_id": known, "event_name": "signed-up", "count": 4, "first": NOW - 500 * 86_400, "last": NOW, "base": nothing,
        "imported": {"count": 3, "first": NOW - 500 * 86_400, "last": NOW - 400 * 86_400},
    }  # fmt: skip


def test_visits_and_events_stand_there_as_they_are_stored(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    rest.event("paid", user_id="u-1", event_id="order-1", metadata={"price": {"amount": 4900, "currency": "eur"}, "size": 2**63 - 1})
    document = exported(rest, known)
    times = {"started_at": NOW - 3600, "ended_at": NOW - 3600}
    assert document["visits"] == [{"id": VISIT, "contact_id": anonymous, **times, "page": None, "client": None}]
    listed = rest.events("user_id=u-1")
    assert [event["id"] for event in document["events"]] == [event["id"] for event in listed]
    events = {event["event_name"]: event for event in document["events"]}
    for event in listed:
        same = events[event["event_name"]]
        assert (same["created_at"], same["metadata"]) == (event["created_at"], event["metadata"])
    assert events["page-view"] == {
        "id": events["page-view"]["id"], "event_name": "page-view", "created_at": NOW - 3600, "contact_id": anonymous, "visit_id": VISIT,
        "unverified": False, "page": None, "metadata": {"path": "/pricing"},
    }  # fmt: skip
    assert events["paid"]["contact_id"] == known


def test_the_page_an_event_happened_on_is_there(rest: Rest) -> None:
    event = rest.world.event("clicked", visit=VISIT)
    page = '{"url": "https://shop.example/", "title": "Ä"}'
    rest.world.send(lead(), type(event)(event.id, event.name, event.at, event.visit, page, None), client='{"os":"Linux"}')
    document = exported(rest, rest.world.person(lead().key).contact_id)
    assert document["visits"][0]["client"] == {"os": "Linux"}
    assert document["events"][0]["page"] == document["visits"][0]["page"] == {"url": "https://shop.example/", "title": "Ä"}


def test_the_timeline_ends_with_the_retention_and_totals_do_not(rest: Rest) -> None:
    made = rest.contact(external_id="u-1")
    rest.event("old", user_id="u-1")
    rest.clock.advance(90 * DAY)
    assert [event["event_name"] for event in exported(rest, made["id"])["events"]] == ["old"]
    rest.clock.advance(1)
    document = exported(rest, made["id"])
    assert document["events"] == []
    assert [(total["event_name"], total["count"]) for total in document["totals"]] == [("old", 1)]


def test_deliveries_say_what_became_of_them(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    message = rest.post("/auto_messages", MESSAGE).json["id"]
    number = rest.world.rows("SELECT id FROM auto_messages")[0][0]
    owner = next(one.id for one in rest.world.person(user("u-1")).identities if one.public_id == anonymous)
    view = id_at(START - HOUR)
    granted = Delivery(owner, number, 1, 1, "shown", "nonce", START - HOUR, None, view, None, None, None, None, None)
    site = rest.world.site.id
    rest.world.services.writer.run(site, lambda tx: deliveries.insert(tx, site, granted))
    for report in (
        Report(message, "nonce", "clicked", START, "https://shop.example/team"),
        Report(message, "nonce", "answered", START, None, "Because"),
    ):
        rest.world.services.writer.run(
            site, lambda tx, report=report: deliveries.record(tx, site, rest.world.person(user("u-1")).id, report)
        )
    document = exported(rest, known)
    assert document["deliveries"] == [
        {
            "contact_id": anonymous, "message_id": message, "message_name": "Ask us", "version": 1, "arm": "shown",
            "claimed_at": NOW - 3600, "seen_at": NOW, "clicked_at": NOW, "answered_at": NOW, "answer": "Because", "dismissed_at": None,
            "goal_at": None,
            "event_id": None, "view_id": event_id_text(view), "links": [{"link": "https://shop.example/team", "clicked_at": NOW}],
        }
    ]  # fmt: skip
    assert "nonce" not in json.dumps(document)


def test_decisions_on_messages_with_the_identity_that_met_them(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    message = rest.post("/auto_messages", MESSAGE).json["id"]
    world, site = rest.world, rest.world.site.id
    ((number,),) = world.rows("SELECT id FROM auto_messages")
    visitor = next(one.id for one in world.person(user("u-1")).identities if one.public_id == anonymous)
    world.services.decisions.note(site, visitor, [(number, "caps"), (number + 1, "offered")], START)
    world.services.decisions.note(site, visitor, [(number, "caps")], START + SECOND)
    world.services.decisions.write()
    seen = {"contact_id": anonymous, "message_id": message, "message_name": "Ask us", "outcome": "caps", "times": 2, "at": NOW + 1}
    gone = {"contact_id": anonymous, "message_id": None, "message_name": None, "outcome": "offered", "times": 1, "at": NOW}
    assert exported(rest, known)["decisions"] == [seen, gone]


def test_the_journal_lists_merges_refused_claims_and_what_was_undone(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    other = rest.world.send(user("u-2"), rest.world.event(), lead=lead()).contact_id
    lines = [{**line, "outcome": "merged"} for line in rest.get("/merges").json["data"]]
    (merge,) = lines
    for contact_id in (known, other):
        found = exported(rest, contact_id or "")["merges"]
        assert [(line["from"], line["into"], line["outcome"], line["reason"]) for line in found if line["outcome"] == "refused"] == [
            (anonymous, other, "refused", "lead_claimed")
        ]
    assert merge in exported(rest, known)["merges"]
    rest.post(f"/merges/{merge['id']}/undo", {})
    undone = [line for line in exported(rest, anonymous)["merges"] if line["outcome"] == "merged"]
    assert [(line["into"], line["undone_at"]) for line in undone] == [(known, NOW)]


def test_a_long_journal_is_given_out_in_parts_each_line_once_newest_first(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 4)
    _, known = signed_up(rest)
    for number in range(9):
        rest.world.send(user("u-2"), lead=lead(f"of-another-{number}"))
        rest.world.send(user("u-1"), lead=lead(f"of-another-{number}"))
    answer = rest.client.get(f"/api/contacts/{known}/export", headers=rest.access, buffered=False)
    parts = list(answer.response)
    found = [line["id"] for line in json.loads(b"".join(parts))["merges"]]
    ((theirs,),) = rest.world.rows("SELECT id FROM identities WHERE value = 'u-1'")
    stored = rest.world.rows("SELECT id FROM merges WHERE target = ? ORDER BY id DESC", theirs)
    assert found == [str(number) for (number,) in stored]
    assert len(found) == 10
    assert max(part.count(b'"type":"merge"') for part in parts) == 4


class Spans:
    """The spans of time in which events were asked for, and how many were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.asked = 0, []
        rows = Connection.rows

        def spy(connection: Connection, sql: str, parameters: Any = ()) -> Any:
            found = rows(connection, sql, parameters)
            if "FROM events WHERE" in sql:
                *_, since, until, _, _, _ = parameters
                self.read += len(found)
                self.asked.append((since, until))
            return found

        monkeypatch.setattr(Connection, "rows", spy)


def test_of_many_identities_no_more_than_two_pages_of_events_are_in_memory(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """And to find the next page not all that is left is read again: the spans asked for hold a few pages together."""
    monkeypatch.setattr(export, "PAGE", 10)
    world = rest.world
    for number in range(40):
        of_one = [world.event(at=START - number * SECOND - turn * HOUR) for turn in range(10)]
        world.send(user("u-1"), lead=lead(f"lead-{number}"))
        world.send(lead(f"lead-{number}"), *of_one)
    services, person = world.services, world.person(user("u-1"))
    times = [at for (at,) in world.rows("SELECT at FROM events ORDER BY at DESC")]
    spans = Spans(monkeypatch)
    pages = export.events(services.database, world.site.id, services.names, person.identities, START - 90 * DAY)
    events = list(next(pages))
    assert spans.read <= 20
    for page in pages:
        assert len(page) <= 10
        events += page
        assert spans.read <= len(events) + 20
    assert [event.at for event in events] == times
    assert len({event.id for event in events}) == len(times) == 400
    others = spans.asked[1:]
    assert sum(since <= at <= until for since, until in others for at in times) < 4 * len(times)


@pytest.mark.parametrize("apart", [0, 1])
def test_many_events_of_several_identities_are_given_out_in_parts_each_once_newest_first(rest: Rest, apart: int) -> None:
    """Many of one millisecond (`apart` 0) are as good as any."""
    world = rest.world
    signed_up(rest)
    world.send(user("u-1"), world.event(at=START), lead=lead("lead-2"))
    for who in (lead(), lead("lead-2")):
        for start in range(0, 1_500, 500):
            owner = {"lead": who, "browser": True}
            world.send(user("u-1"), *(world.event(at=START - number // 7 * apart) for number in range(start, start + 500)), **owner)
            world.send(who, *(world.event(at=START - number // 5 * apart) for number in range(start, start + 100)))
    person = world.person(user("u-1"))
    answer = rest.client.get(f"/api/contacts/{person.contact_id}/export", headers=rest.access, buffered=False)
    parts = list(answer.response)
    events = json.loads(b"".join(parts))["events"]
    stored = [event_id_text(bytes(row[0])) for row in world.rows("SELECT id FROM events ORDER BY at DESC, id DESC")]
    assert [event["id"] for event in events] == stored
    assert len(stored) > 3 * export.PAGE
    assert len(parts) > len(stored) // export.PAGE


def test_many_visits_are_given_out_each_once(rest: Rest) -> None:
    world = rest.world
    visits = [event_id_text(id_at(START - number)) for number in range(export.PAGE + 10)]
    for start in range(0, len(visits), 500):
        world.send(lead(), *(world.event(visit=visit) for visit in visits[start : start + 500]))
    document = exported(rest, world.person(lead().key).contact_id)
    assert sorted(visit["id"] for visit in document["visits"]) == sorted(visits)


def half_read(rest: Rest, contact_id: str) -> tuple[bytes, Iterator[bytes]]:
    """Ask for an export and return what came up to the first events, and the rest of it."""
    answer = rest.client.get(f"/api/contacts/{contact_id}/export", headers=rest.access, buffered=False)
    parts = iter(answer.response)
    read = b""
    while b'"events":[{' not in read:
        read += next(parts)
    return read, parts


def busy(rest: Rest) -> str:
    """Somebody signed in with many events."""
    world = rest.world
    _, known = signed_up(rest)
    for _ in range(5):
        world.send(lead(), *(world.event(at=START - number) for number in range(500)))
    return known


def test_what_happens_while_it_is_read_tears_nothing_apart(rest: Rest) -> None:
    known = busy(rest)
    whole = exported(rest, known)
    read, rest_of_it = half_read(rest, known)
    (merge,) = rest.get("/merges").json["data"]
    rest.post(f"/merges/{merge['id']}/undo", {})
    rest.world.send(lead("lead-3"), rest.world.event())
    rest.world.send(user("u-1"), rest.world.event(), lead=lead("lead-3"))
    rest.world.send(lead(), rest.world.event())
    assert json.loads(read + b"".join(rest_of_it)) == whole


def test_of_somebody_who_is_deleted_meanwhile_no_whole_document_comes(rest: Rest) -> None:
    known = busy(rest)
    read, rest_of_it = half_read(rest, known)
    assert rest.send("DELETE", f"/contacts/{known}").status_code == 200
    with pytest.raises(ConnectionAbortedError):
        for part in rest_of_it:
            read += part
    with pytest.raises(json.JSONDecodeError):
        json.loads(read)


def test_who_is_not_there_is_not_exported(rest: Rest) -> None:
    anonymous, known = signed_up(rest)
    other = rest.other_site()
    theirs = other.contact(external_id="u-1")["id"]
    for contact_id in ("0" * 24, "nobody", "%00", "u-1", theirs):
        assert problem(rest.get(f"/contacts/{contact_id}/export")) == (404, "not_found", None)
    answer = rest.get(f"/contacts/{anonymous}/export")
    assert problem(answer) == (410, "contact_merged", None)
    assert answer.headers["Link"] == f'</api/contacts/{known}>; rel="canonical"'
    assert "u-1" in exported(other, theirs)["contact"]["external_id"]
    assert exported(other, theirs)["events"] == []


def test_the_real_collector_sends_it_as_it_is_read(start_collector: Callable[..., Collector]) -> None:
    client = start_collector().client
    for batch in range(3):
        events = [{"event_name": f"event-{batch}-{number}", "user_id": "u-1"} for number in range(1_000)]
        assert client.api("POST", "/events/batch", {"events": events}).json["accepted"] == 1_000
    contact = client.api("GET", "/contacts/find_by_external_id/u-1").json["id"]
    answer = client.api("GET", f"/contacts/{contact}/export")
    assert answer.headers["Content-Length"] is None
    assert len({event["event_name"] for event in answer.json["events"]}) == 3_000
    assert len(answer.json["totals"]) == 3_000
