"""Merging on request, the journal, and undoing."""

from collections.abc import Iterator

import pytest

from collector.domain.deliveries import SHOWN, Delivery, insert
from collector.goal_keeper import GoalKeeper
from tests.ingest.test_messages import create
from tests.support.clock import FakeClock
from tests.support.world import World
from tests.support.world import lead as new_lead
from tests.support.world import user as user_key
from tests.web.test_api_support import Rest, problem, serving


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def pair(rest: Rest) -> Iterator[tuple[str, str]]:
    """A lead and a user, each with an event."""
    lead = rest.contact(role="lead")["id"]
    user = rest.contact(external_id="u-1")["id"]
    for contact in (lead, user):
        assert rest.event("created-report", id=contact).status_code == 202
    yield lead, user


def test_a_merge_gives_out_the_user_and_the_lead_is_gone_to_it(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    answer = rest.post("/contacts/merge", {"from": lead, "into": user})
    assert (answer.status_code, answer.json["id"]) == (200, user)
    moved = rest.get(f"/contacts/{lead}")
    assert moved.status_code == 410
    assert moved.headers["Link"].endswith(f'/api/contacts/{user}>; rel="canonical"')


def test_the_journal_says_who_and_why(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    journal = rest.get("/merges").json
    assert journal["total_count"] == 1
    (entry,) = journal["data"]
    assert {key: entry[key] for key in ("from", "into", "by", "reason", "verified", "undone_at")} == {
        "from": lead,
        "into": user,
        "by": "rest",
        "reason": "contacts_merge",
        "verified": True,
        "undone_at": None,
    }


def test_the_journal_says_what_the_browser_claimed_and_on_whose_word(rest: Rest) -> None:
    world = rest.world
    for name, verified in (("u-1", False), ("u-2", True)):
        world.send(user_key(name), world.event(), lead=new_lead(f"of-{name}"), verified=verified)
        rest.clock.advance(1_000)
    newest, oldest = rest.get("/merges").json["data"]
    assert (newest["into"], newest["by"], newest["reason"], newest["verified"]) == (contact(rest, "u-2"), "browser", "identify", True)
    assert (oldest["into"], oldest["verified"], oldest["at"]) == (contact(rest, "u-1"), False, rest.now - 2)
    assert newest.keys() == {"type", "id", "from", "into", "at", "by", "reason", "verified", "undone_at", "undone_by"}


def contact(rest: Rest, external_id: str) -> str:
    return str(rest.get(f"/contacts/find_by_external_id/{external_id}").json["id"])


def test_a_refused_claim_is_no_merge(rest: Rest) -> None:
    world = rest.world
    world.send(user_key("u-1"), world.event(), lead=new_lead())
    world.send(user_key("u-2"), world.event(), lead=new_lead())
    refused = world.rows("SELECT id FROM merges WHERE outcome = 'refused'")[0][0]
    assert [merge["into"] for merge in rest.get("/merges").json["data"]] == [contact(rest, "u-1")]
    assert problem(rest.post(f"/merges/{refused}/undo", {})) == (404, "not_found", None)


def test_the_journal_is_read_page_by_page_each_line_once(rest: Rest) -> None:
    for number in range(5):
        rest.world.send(user_key("u-1"), rest.world.event(), lead=new_lead(f"lead-{number}"))
        rest.clock.advance(1)
    whole = [merge["id"] for merge in rest.get("/merges").json["data"]]
    path, seen, pages = "/merges?per_page=2", [], []
    while path:
        answer = rest.get(path).json
        assert answer["total_count"] == 5
        seen += [merge["id"] for merge in answer["data"]]
        following = answer["pages"].pop("next")
        pages.append(answer["pages"])
        path = following and f"/merges?per_page={following['per_page']}&starting_after={following['starting_after']}"
    assert seen == whole
    assert len(set(seen)) == 5
    assert pages == [{"type": "pages", "page": page, "per_page": 2, "total_pages": 3} for page in (1, 2, 3)]


@pytest.mark.parametrize(
    "query", ["per_page=0", "per_page=151", "per_page=x", "starting_after=x", "starting_after=1-", "starting_after=-1"]
)
def test_a_page_that_is_none_is_refused(rest: Rest, query: str) -> None:
    assert problem(rest.get(f"/merges?{query}")) == (400, "field_invalid", query.partition("=")[0])


@pytest.mark.parametrize("merge", ["0", "1", "x", "-1", "9" * 18, "9" * 19, "1.5", "%00"])
def test_what_is_no_merge_is_not_undone(rest: Rest, merge: str) -> None:
    assert problem(rest.post(f"/merges/{merge}/undo", {})) == (404, "not_found", None)


def test_with_two_leads_one_is_undone_and_the_other_stays(rest: Rest, pair: tuple[str, str]) -> None:
    first, known = pair
    second = rest.contact(role="lead")["id"]
    rest.event("created-report", id=second)
    for anonymous in (first, second):
        rest.clock.advance(1_000)
        assert rest.post("/contacts/merge", {"from": anonymous, "into": known}).status_code == 200
    assert rest.counts("user_id=u-1") == {"created-report": 3}
    newest, oldest = rest.get("/merges").json["data"]
    assert (newest["from"], oldest["from"]) == (second, first)
    assert rest.post(f"/merges/{oldest['id']}/undo", {}).json == {**oldest, "undone_at": rest.now, "undone_by": "rest"}
    assert rest.counts("user_id=u-1") == {"created-report": 2}
    assert rest.get("/merges").json["data"] == [newest, {**oldest, "undone_at": rest.now, "undone_by": "rest"}]
    assert rest.get(f"/contacts/{second}").status_code == 410


def test_a_second_undo_changes_nothing_and_keeps_the_time_of_the_first(rest: Rest, pair: tuple[str, str]) -> None:
    lead_id, known = pair
    rest.post("/contacts/merge", {"from": lead_id, "into": known})
    merge = rest.get("/merges").json["data"][0]["id"]
    first = rest.post(f"/merges/{merge}/undo", {}).json
    rest.clock.advance(60_000)
    rest.post("/contacts/merge", {"from": lead_id, "into": known})
    assert rest.post(f"/merges/{merge}/undo", {}).json == first
    assert rest.get(f"/contacts/{lead_id}").status_code == 410, "the later merge stands"


def test_merges_of_somebody_deleted_are_gone(rest: Rest, pair: tuple[str, str]) -> None:
    lead_id, known = pair
    rest.post("/contacts/merge", {"from": lead_id, "into": known})
    merge = rest.get("/merges").json["data"][0]["id"]
    rest.send("DELETE", f"/contacts/{known}")
    assert rest.get("/merges").json["data"] == []
    assert problem(rest.post(f"/merges/{merge}/undo", {})) == (404, "not_found", None)


def test_an_undone_merge_leaves_two_contacts(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    merge = rest.get("/merges").json["data"][0]["id"]
    undone = rest.post(f"/merges/{merge}/undo", {})
    assert undone.status_code == 200
    assert undone.json["undone_at"] is not None
    assert rest.post(f"/merges/{merge}/undo", {}).json == undone.json
    for contact in pair:
        summary = rest.get(f"/events?type=user&intercom_user_id={contact}&summary=true").json
        assert [event["count"] for event in summary["events"]] == [1]


def test_asked_for_again_a_pair_merges_although_it_was_undone(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    rest.post(f"/merges/{rest.get('/merges').json['data'][0]['id']}/undo", {})
    assert rest.post("/contacts/merge", {"from": lead, "into": user}).status_code == 200
    assert rest.get(f"/contacts/{lead}").status_code == 410


def test_what_cannot_merge_is_said(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    other = rest.contact(external_id="u-2")["id"]
    assert rest.post("/contacts/merge", {"from": user, "into": other}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.post("/contacts/merge", {"from": lead, "into": lead}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.post("/contacts/merge", {"from": lead}).json["errors"][0]["field"] == "into"
    assert rest.post("/contacts/merge", {"from": lead, "into": "nobody"}).status_code == 404
    rest.post("/contacts/merge", {"from": lead, "into": user})
    assert rest.post("/contacts/merge", {"from": lead, "into": other}).json["errors"][0]["code"] == "merge_invalid"


def test_a_merged_lead_is_no_user_to_merge_into(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    another = rest.contact(role="lead")["id"]
    assert rest.post("/contacts/merge", {"from": another, "into": lead}).json["errors"][0]["code"] == "merge_invalid"
    assert rest.get(f"/contacts/{another}").status_code == 200


def test_a_user_is_named_by_the_contact_id_of_its_user_id_too(rest: Rest) -> None:
    """Known by an email first, then given a user id: each of the two has a contact id, and the first is the person's."""
    lead, known = rest.contact(role="lead")["id"], rest.contact(email="ann@example.com")["id"]
    assert rest.put(f"/contacts/{known}", {"external_id": "u-1"}).status_code == 200
    added = rest.world.rows("SELECT public_id FROM identities WHERE kind = 'user'")[0][0]
    answer = rest.post("/contacts/merge", {"from": lead, "into": added})
    assert (answer.status_code, answer.json["id"], answer.json["external_id"]) == (200, known, "u-1")
    assert rest.get(f"/contacts/{lead}").headers["Link"].endswith(f'/api/contacts/{known}>; rel="canonical"')


def test_another_site_sees_and_undoes_nothing(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    rest.post("/contacts/merge", {"from": lead, "into": user})
    merge = rest.get("/merges").json["data"][0]["id"]
    stranger = rest.other_site()
    assert stranger.get("/merges").json["data"] == []
    assert stranger.post(f"/merges/{merge}/undo", {}).status_code == 404
    assert stranger.post("/contacts/merge", {"from": lead, "into": user}).status_code == 404


BOUGHT = {"event": "bought", "field": "count", "operator": ">", "value": 0}


def test_once_it_is_undone_the_numbers_of_messages_are_each_persons_own(rest: Rest, pair: tuple[str, str]) -> None:
    lead, user = pair
    goal = {"query": BOUGHT, "days": 7}
    message = create(rest.world, goal=goal)
    deliver(rest.world, message, "lead")
    rest.post("/contacts/merge", {"from": lead, "into": user})
    assert rest.event("bought", id=user).status_code == 202
    keeper = GoalKeeper(rest.world.services)
    keeper.look(rest.clock())
    assert rest.get(f"/auto_messages/{message}/stats").json["goal"] == 1
    (line,) = rest.get("/merges").json["data"]
    assert rest.post(f"/merges/{line['id']}/undo", {}).status_code == 200
    assert rest.get(f"/auto_messages/{message}/stats").json["goal"] == 0
    keeper.look(rest.clock())
    keeper.stop()
    assert rest.get(f"/auto_messages/{message}/stats").json["goal"] == 0


def deliver(world: World, message: str, kind: str) -> None:
    """Let the one of a kind have got a message."""
    sql = "SELECT i.id, m.id FROM identities i, auto_messages m WHERE i.kind = ? AND m.public_id = ?"
    ((identity, number),) = world.rows(sql, kind, message)
    row = Delivery(identity, number, 1, 1, SHOWN, "nonce", world.clock(), None, None, None, None, None, None, None, 0)
    world.services.writer.run(world.site.id, lambda tx: insert(tx, world.site.id, row))
