"""Clients that do what browsers and a customer's servers do, all of them with the same few people, and what the laws make of it."""

import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from collector.domain.identities import LEAD, USER, Key
from collector.storage.database import Connection
from collector.values.ids import event_id_text
from tests.support.client import Answer, Client
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.orders import CLAIM, MERGE, UNDO, Act, endings
from tests.support.servers import Collector

USERS = ("u-0", "u-1", "u-2")
NAMES = ("page-view", "saved")
EXPECTED = {
    "collect": {202},
    "contacts": {200},
    "update": {200},
    "merges": {200},
    "merge": {200, 400},  # another user's already
    "undo": {200},
}
"""Which answers there may be, by what is asked."""


def now() -> int:
    """Return the machine's time in ms."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Happened:
    """An event that was acknowledged: whose it is, its name, time (ms) and metadata."""

    owner: Key
    name: str
    at: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Parted:
    """A merge whose undoing was acknowledged at a time (ms), of a lead into a user, by their contact ids."""

    lead: str
    user: str
    at: int


@dataclass
class Shared:
    """What all clients know: the leads that are used by many, what was acknowledged, what was answered."""

    leads: list[str] = field(default_factory=lambda: [new_lead() for _ in range(5)])
    events: dict[str, Happened] = field(default_factory=dict)
    called: list[tuple[Key, int, str]] = field(default_factory=list)
    """The names that browsers gave identities, and when (ms)."""
    plans: list[tuple[Key, int, int, str]] = field(default_factory=list)
    """The plans that a server set of users, between which times (ms)."""
    parted: list[Parted] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    """What was asked about leads and users, each named by its id or contact id, and answered."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Somebody(threading.Thread):
    """One client. Its times are exact: it has measured that its clock is the collector's."""

    def __init__(self, chance: random.Random, fleet: Sequence[Collector], shared: Shared, gate: threading.Barrier, acts: int) -> None:
        super().__init__()
        self.chance = chance
        self.fleet, self.shared, self.gate, self.acts = fleet, shared, gate, acts
        self.lead = chance.choice(shared.leads)
        self.sent: list[dict[str, Any]] = []

    def run(self) -> None:
        """Act, as soon as everybody is there."""
        self.gate.wait(60)
        whatever = (self.track, self.track, self.identify, self.retry, self.merge, self.undo, self.reset, self.describe, self.set_plan)
        try:
            for _ in range(self.acts):
                self.chance.choice(whatever)()
        except Exception as error:
            self.shared.wrong.append(f"{type(error).__name__}: {error}")
            raise

    def client(self) -> Client:
        """Return a client of one of the collectors."""
        return self.chance.choice(self.fleet).client

    def expect(self, what: str, answer: Answer) -> Answer:
        """Note an answer, and whether there may be such."""
        self.shared.answers[(what, answer.status)] += 1
        if answer.status not in EXPECTED[what]:
            self.shared.wrong.append(f"{what}: {answer.status} {answer.text}")
        return answer

    def send(self, sent: dict[str, Any]) -> None:
        """Send an envelope and note what was acknowledged by it."""
        began = time.monotonic_ns()
        answer = self.expect("collect", self.client().post_json("/collect", {**sent, "sent_at": now()}))
        if answer.status != 202:
            return
        if "user" in sent:
            lead, joined = sent["lead"].split(".")[0], answer.json.get("lead") != "rotate"
            self.shared.acts.append(Act(CLAIM, lead, sent["user"]["id"], began, time.monotonic_ns(), joined))
        if answer.json["refused"]:
            self.shared.wrong.append(f"refused: {answer.json['refused']}")
        owner = (USER, sent["user"]["id"]) if "user" in sent else (LEAD, sent["lead"].split(".")[0])
        for item in sent["items"]:
            if item["type"] == "identify":
                self.shared.called.append((owner, item["at"], item["attributes"]["name"]))
            else:
                metadata = item.get("metadata", {"url": item["page"]["url"], "path": "/"})
                self.shared.events[item["id"]] = Happened(owner, item["name"], item["at"], metadata)

    def say(self, lead: str, *items: dict[str, Any], user: str | None = None) -> None:
        """Send something new, which may be sent again."""
        fields = {} if user is None else {"user": {"id": user}}
        self.sent.append(envelope(self.fleet[0].site_key, lead, *items, offset=0, **fields))
        self.send(self.sent[-1])

    def event(self, name: str) -> dict[str, Any]:
        """Return something that happens now; what page views say of themselves follows from their page."""
        return new_event(name) if name == "page-view" else new_event(name, metadata={"number": self.chance.randrange(1_000)})

    def calling(self) -> dict[str, Any]:
        """Return what gives its owner a name."""
        return {"type": "identify", "at": now(), "attributes": {"name": secrets.token_hex(4)}}

    def track(self) -> None:
        """Do something on a page, signed in or not."""
        events = [self.event(self.chance.choice(NAMES)) for _ in range(self.chance.randint(1, 3))]
        self.say(self.chance.choice((self.lead, *self.shared.leads)), *events, user=self.chance.choice((None, *USERS)))

    def identify(self) -> None:
        """Sign in."""
        self.say(self.lead, self.calling(), self.event("signed-in"), user=self.chance.choice(USERS))

    def describe(self) -> None:
        """Say one's name without signing in."""
        self.say(self.chance.choice((self.lead, *self.shared.leads)), self.calling())

    def retry(self) -> None:
        """Send again what was sent before."""
        if self.sent:
            self.send(self.chance.choice(self.sent))

    def reset(self) -> None:
        """Go on with a new lead."""
        self.lead = new_lead()

    def contacts(self) -> list[dict[str, Any]]:
        """Return the newest contacts."""
        found = self.expect("contacts", self.client().api("GET", "/contacts?per_page=50"))
        return list(found.json["data"]) if found.status == 200 else []

    def set_plan(self) -> None:
        """Set a user's attribute by REST."""
        users = [one for one in self.contacts() if one["role"] == "user"]
        if users:
            user, plan, began = self.chance.choice(users), secrets.token_hex(4), now()
            body = {"custom_attributes": {"plan": plan}}
            self.expect("update", self.client().api("PUT", f"/contacts/{user['id']}", body))
            self.shared.plans.append(((USER, user["external_id"]), began, now(), plan))

    def merge(self) -> None:
        """Merge a lead into a user."""
        contacts = self.contacts()
        leads = [one["id"] for one in contacts if one["role"] == "lead"]
        users = [one["id"] for one in contacts if one["role"] == "user"]
        if leads and users:
            lead, user, began = self.chance.choice(leads), self.chance.choice(users), time.monotonic_ns()
            answer = self.expect("merge", self.client().api("POST", "/contacts/merge", {"from": lead, "into": user}))
            self.shared.acts.append(Act(MERGE, lead, user, began, time.monotonic_ns(), answer.status == 200))

    def undo(self) -> None:
        """Undo a merge, which may be undone already."""
        listed = self.expect("merges", self.client().api("GET", "/merges?per_page=20"))
        merges = [one["id"] for one in listed.json["data"]] if listed.status == 200 else []
        if merges:
            merge, began = self.chance.choice(merges), time.monotonic_ns()
            undone = self.expect("undo", self.client().api("POST", f"/merges/{merge}/undo", {}))
            if undone.status == 200:
                lead, user = undone.json["from"], undone.json["into"]
                self.shared.parted.append(Parted(lead, user, now()))
                self.shared.acts.append(Act(UNDO, lead, user, began, time.monotonic_ns(), joined=False, merge=merge))


def check_the_laws(connection: Connection, client: Client, shared: Shared) -> None:
    """Make sure that what stands in the tables, and what is given out of everybody, is what was acknowledged."""
    check_events(connection, shared)
    check_journal(connection, shared)
    check_acts(connection, shared)
    rows = connection.rows("SELECT id, principal_id, kind, value, public_id FROM identities")
    contact_ids = {(kind, value): public_id for _, _, kind, value, public_id in rows}
    for number, principal, _, _, contact_id in rows:
        if number == principal:
            members = {(kind, value) for _, of, kind, value, _ in rows if of == number}
            assert person_totals(connection, number) == expected_totals(members, shared)
            check_attributes(client.api("GET", f"/contacts/{contact_id}").json, members, shared)
            assert timeline(client, contact_id) == expected_timeline(members, contact_ids, shared)


def check_events(connection: Connection, shared: Shared) -> None:
    """Every acknowledged event is stored once, with the identity that it was sent as."""
    sql = (
        "SELECT e.id, i.kind, i.value, n.text, e.at FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity "
        "JOIN names n ON n.site = e.site AND n.id = e.name"
    )
    stored = [(event_id_text(bytes(event)), *rest) for event, *rest in connection.rows(sql)]
    assert Counter(stored) == Counter((event, *one.owner, one.name, one.at) for event, one in shared.events.items())


def check_journal(connection: Connection, shared: Shared) -> None:
    """Who belongs to whom is what the journal says, and whoever was parted stays apart until REST says otherwise."""
    opened = connection.rows("SELECT lead, target FROM merges WHERE outcome = 'merged' AND undone_at IS NULL")
    assert sorted(opened) == sorted(connection.rows("SELECT id, principal_id FROM identities WHERE id <> principal_id"))
    by_browsers = connection.rows(
        "SELECT l.public_id, t.public_id, m.at FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead "
        "JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.outcome = 'merged' AND m.by_whom = 'browser'"
    )
    again = [pair for pair, times in Counter((lead, user) for lead, user, _ in by_browsers).items() if times > 1]
    assert again == [], "merged by browsers twice, though that was undone in between"
    parted = {(one.lead, one.user): one.at for one in sorted(shared.parted, key=lambda one: -one.at)}
    late = [(lead, user, at) for lead, user, at in by_browsers if at > parted.get((lead, user), at)]
    assert late == [], "merged by a browser after that was undone"


def check_acts(connection: Connection, shared: Shared) -> None:
    """Whoever a lead belongs to, it can have come to that by what was asked about it, each answered as it was."""
    sql = "SELECT i.public_id, i.kind, i.value, p.value FROM identities i JOIN identities p ON p.site = i.site AND p.id = i.principal_id"
    rows = connection.rows(sql)
    ids = {contact_id: value for contact_id, _, value, _ in rows}
    acts: dict[str, list[Act]] = {}
    for act in shared.acts:
        named = replace(act, lead=ids.get(act.lead, act.lead), user=ids.get(act.user, act.user))
        acts.setdefault(named.lead, []).append(named)
    for _, kind, value, person in rows:
        possible = endings(acts.get(value, [])) if kind == LEAD else {None}
        assert (None if person == value else person) in possible, f"{value} is part of {person}, though {possible} after {acts.get(value)}"


Total = tuple[int, int, int]
"""How often, first and last (ms)."""


def person_totals(connection: Connection, person: int) -> dict[str, Total]:
    """Return a person's totals by name."""
    sql = (
        "SELECT n.text, t.count, t.first, t.last FROM totals t JOIN names n ON n.site = t.site AND n.id = t.name "
        "WHERE t.identity = ? AND t.count > 0"
    )
    return {name: (count, first, last) for name, count, first, last in connection.rows(sql, (person,))}


def expected_totals(members: set[Key], shared: Shared) -> dict[str, Total]:
    """Return what the totals of these identities come to."""
    times: dict[str, list[int]] = {}
    for one in shared.events.values():
        if one.owner in members:
            times.setdefault(one.name, []).append(one.at)
    return {name: (len(each), min(each), max(each)) for name, each in times.items()}


def check_attributes(contact: Mapping[str, Any], members: set[Key], shared: Shared) -> None:
    """A user's own name, set last, counts before its leads'; the plan is one that none was set after, for all that is known."""
    names = [(owner[0] == USER, at, name) for owner, at, name in shared.called if owner in members]
    assert contact["name"] == max(names, default=(False, 0, None))[2]
    plans = [(began, ended, plan) for owner, began, ended, plan in shared.plans if owner in members]
    possible: list[str | None] = [plan for _, ended, plan in plans if not any(began > ended for began, _, _ in plans)]
    assert contact["custom_attributes"].get("plan") in (possible or [None])


Line = tuple[str, str, int, str, dict[str, Any]]
"""An event of a timeline: id, name, seconds, contact id of who sent it, metadata."""


def timeline(client: Client, contact_id: str) -> list[Line]:
    """Return somebody's whole timeline, as it is given out."""
    found, after = [], ""
    while True:
        page = client.api("GET", f"/contacts/{contact_id}/timeline?per_page=50{after}").json
        found += [(one["id"], one["event_name"], one["created_at"], one["contact_id"], one["metadata"]) for one in page["data"]]
        if page["pages"]["next"] is None:
            return found
        after = f"&starting_after={page['pages']['next']['starting_after']}"


def expected_timeline(members: set[Key], contact_ids: Mapping[Key, str], shared: Shared) -> list[Line]:
    """Return what the timeline of these identities comes to, the newest first."""
    own = [(one.at, event, one) for event, one in shared.events.items() if one.owner in members]
    newest = sorted(own, key=lambda each: each[:2], reverse=True)
    return [(event, one.name, at // 1000, contact_ids[one.owner], one.metadata) for at, event, one in newest]
