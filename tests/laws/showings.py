"""Messages played to two collectors on one database by browsers that speak the wire, and beside them what PRODUCT's rules come to when
they are followed one by one over a list of everything that was ever given out.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.domain import message_numbers
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import HELD_OUT, SHOWN
from collector.domain.identities import LEAD, USER, Key
from collector.domain.merging import Claim as Claimed
from collector.domain.submissions import Event
from collector.ingest.senders import Headers
from collector.values.clock import DAY, MINUTE
from collector.values.ids import new_uuid7, uuid7_bytes
from collector.values.messages import clean_auto_message
from collector.web.browser import Responder, TrackerRequest
from tests.laws import acts as ledger_acts
from tests.laws.play import Play
from tests.laws.showing_acts import DEVICES, LINKS, Act, Claim, Merge, Report, Rule, Save, Sign, Turn, Undo, View
from tests.support.browserless import CHROME, ORIGIN

SAVED = "saved"
PAGE = {"url": f"{ORIGIN}/", "title": "A page"}
HEADERS = Headers(origin=ORIGIN, user_agent=CHROME, accept_language="", gpc=False)
SEEN = ("seen", "clicked", "answered")
"""What says that it was seen."""


@dataclass
class Given:
    """One permission, or what stands for it where somebody is held out."""

    owner: Key
    message: int
    nonce: str
    arm: str
    at: int
    event: bytes | None
    view: bytes | None
    times: dict[str, int] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    answer: str | None = None

    @property
    def acted(self) -> bool:
        return bool({"clicked", "answered", "dismissed"} & self.times.keys())


@dataclass
class Device:
    """A browser: its lead, the user its pages assert, the view now shown, and the nonces that it used."""

    number: int
    leads: int = 0
    user: str | None = None
    view: str = ""
    nonces: list[str] = field(default_factory=list)

    @property
    def lead(self) -> str:
        return f"lead-{self.number}-{self.leads}".ljust(22, "_")

    @property
    def owner(self) -> Key:
        return (LEAD, self.lead) if self.user is None else (USER, self.user)


class Showings:
    """The people and browsers of one play, its messages, and all that was given out."""

    def __init__(self, play: Play, rules: Sequence[Rule]) -> None:
        self.play = play
        self.clock = play.clock
        self.responders = [Responder(services) for services in play.processes]
        self.devices = [Device(number) for number in range(DEVICES)]
        self.rules = rules
        self.messages: list[AutoMessage] = [self._create(rule) for rule in rules]
        self.given: list[Given] = []
        self.saved: list[dict[str, Any]] = []
        self.reported: list[tuple[int, Device, dict[str, Any]]] = []
        self.draws: dict[tuple[int, Key], str] = {}

    def _create(self, rule: Rule) -> AutoMessage:
        services, site = self.play.processes[0], self.play.world.site
        raw = {
            "name": "Message",
            "type": "popup",
            "state": "live",
            "content": {"title": "Hello", "question": {"kind": "text"}},
            "trigger": {"type": "event", "event": SAVED} if rule.trigger == "event" else {"type": "page"},
            "frequency": rule.frequency,
            "ignore_caps": rule.ignore_caps,
            "holdout_percent": rule.holdout,
            "priority": rule.priority,
        }
        definition = clean_auto_message(raw, retention_days=90)
        made = services.writer.run(site.id, lambda tx: services.auto_messages.create(tx, site.id, definition, self.clock()))
        self.clock.advance(1)
        return made

    def act(self, act: Act) -> None:
        """Let one thing happen to both, and compare what is answered."""
        self.clock.advance(1)  # so that of any two things one was first
        match act:
            case View():
                self.view(act)
            case Save():
                self.save(act)
            case Claim():
                self.claim(act)
            case Report():
                self.report(act)
            case Sign():
                device = self.devices[act.device]
                device.user = act.user
                device.leads += act.reset
            case Merge():
                self.play.merge(ledger_acts.Merge(act.process, self.devices[act.device].lead, act.user))
            case Undo():
                self.play.undo(ledger_acts.Undo(act.process, self.devices[act.device].lead))
            case Turn():
                self.clock.advance(act.ms)

    def view(self, act: View) -> None:
        device = self.devices[act.device]
        item = self.event("page-view")
        device.view = item["id"]
        offered = {offer["id"] for offer in self.collect(act.process, device, item).get("messages", [])}
        assert offered == self.claimable(device)

    def save(self, act: Save) -> None:
        if act.again is None or not self.saved:
            self.saved.append(self.event(SAVED))
            item = self.saved[-1]
        else:
            item = self.saved[act.again % len(self.saved)]
        self.collect(act.process, self.devices[act.device], item)

    def event(self, name: str) -> dict[str, Any]:
        return {"type": "event", "id": new_uuid7(self.clock()), "name": name, "at": self.clock(), "page": PAGE}

    def collect(self, process: int, device: Device, item: dict[str, Any]) -> dict[str, Any]:
        """Send an item. Told that the lead is somebody else's, a browser makes a new one, as the tracker does."""
        owner, lead = device.owner, (LEAD, device.lead)
        answer = self.post(process, "/collect", device, {"items": [item]})
        events = [Event(uuid7_bytes(item["id"]) or b"", item["name"], item["at"])] if item["type"] == "event" else []
        told = self.play.model.send(owner, lead, events, [], self.clock())
        assert (answer.get("lead") == "rotate") is (told.claim in (Claimed.REFUSED, Claimed.BLOCKED))
        if events:
            assert (answer["accepted"], answer["duplicates"]) == ((1, 0) if told.events == [True] else (0, 1))
        device.leads += "lead" in answer
        return answer

    def post(self, process: int, path: str, device: Device, body: dict[str, Any]) -> dict[str, Any]:
        site = self.play.world.site
        sender: dict[str, Any] = {"v": 1, "site": site.key, "lead": f"{device.lead}.{'s' * 22}", "sent_at": self.clock()}
        if device.user is not None:
            proof = hmac.new(site.identity_secrets[0].encode(), device.user.encode(), hashlib.sha256).hexdigest()
            sender["user"] = {"id": device.user, "hash": proof}
        asked = TrackerRequest("POST", HEADERS, "", json.dumps({**sender, **body}).encode())
        answer = self.responders[process].wait(path, asked)
        assert answer.status in (200, 202), answer.body
        read: dict[str, Any] = json.loads(answer.body)
        return read

    def claim(self, act: Claim) -> None:
        device, message = self.devices[act.device], act.message
        again = [nonce for nonce in device.nonces if not self.is_of_another(nonce, device.owner)]
        if act.nonce is None or not again:
            device.nonces.append(secrets.token_urlsafe(16))
            nonce = device.nonces[-1]
        else:
            nonce = again[act.nonce % len(again)]
        body: dict[str, Any] = {"message": self.messages[message].public_id, "nonce": nonce, "page": PAGE}
        event = None
        if self.saved and self.rules[message].trigger == "event":
            body["event"] = self.saved[act.event % len(self.saved)]["id"]
            event = uuid7_bytes(body["event"])
        if act.in_view and device.view:
            body["view"] = device.view
        answer = self.post(act.process, "/claim", device, body)
        expected = self.expected(device, message, nonce, event, uuid7_bytes(body.get("view", "")), answer.get("reason"))
        assert ("shown" if answer["message"] else answer["reason"]) == expected

    def is_of_another(self, nonce: str, owner: Key) -> bool:
        """Say whether a nonce names what was given to somebody else: a report of it could mean either, were both the same person later."""
        mine = self.of_person(owner) if owner in self.play.model.known else []
        return any(one.nonce == nonce and one not in mine for one in self.given)

    def expected(self, device: Device, message: int, nonce: str, event: bytes | None, view: bytes | None, reason: str | None) -> str:
        """Say what a claim comes to, and note what is given out. Whose arm is drawn now is read off the reason."""
        owner, model = device.owner, self.play.model
        if owner not in model.known:
            return "audience"
        mine = self.of_person(owner, message)
        same = [one for one in mine if one.nonce == nonce]
        if any(one.owner != owner or one.acted for one in same):
            return "frequency"
        if same:
            return "shown" if same[0].arm == SHOWN else "holdout"
        if not self.triggered(device, message, event):
            return "trigger"
        person = model.known[owner].person
        drawn = HELD_OUT if reason == "holdout" else SHOWN
        arm = mine[0].arm if mine else self.draws.setdefault((message, person), drawn)
        assert arm == SHOWN or self.rules[message].holdout
        often, caps = self.not_too_often(owner, message, view), self.within_caps(owner, message)
        if often and caps:
            self.given.append(Given(owner, message, nonce, arm, self.clock(), event, view))
        if arm == HELD_OUT:
            return "holdout"
        return "frequency" if not often else "shown" if caps else "caps"

    def of_person(self, owner: Key, message: int | None = None) -> list[Given]:
        """Return what was given out to a person's identities, as they are now, the oldest first."""
        members = self.play.model.members(self.play.model.known[owner].person)
        return [one for one in self.given if one.owner in members and message in (None, one.message)]

    def triggered(self, device: Device, message: int, event: bytes | None) -> bool:
        """An event opens a message once, for a day, for its own person; who is not signed in hears of nothing but this browser's own."""
        if self.rules[message].trigger != "event":
            return True
        model = self.play.model
        person = model.known[device.owner].person
        stored = model.events.get(event or b"")
        return (
            stored is not None
            and model.known[stored.owner].person == person
            and (device.user is not None or person[0] == LEAD or stored.owner == device.owner)
            and self.clock() - stored.at < DAY
            and not any(one.event == event for one in self.of_person(device.owner, message))
        )

    def not_too_often(self, owner: Key, message: int, view: bytes | None) -> bool:
        """Once in a view, not again while it is about to be seen, and as often as the message itself says."""
        mine, now, rule = self.of_person(owner, message), self.clock(), self.rules[message].frequency
        for one in mine:
            about_to_be_seen = not one.acted and "seen" not in one.times and now - one.at < MINUTE
            if (view is not None and one.view == view) or about_to_be_seen:
                return False
        if not mine or rule["type"] == "every_time":
            most, days = rule.get("max"), rule.get("every_days")
            enough = isinstance(most, int) and len(mine) >= most
            return not enough and not (mine and isinstance(days, int) and now - mine[-1].at < days * DAY)
        return rule["type"] == "until_acted" and not any(one.acted or one.arm == HELD_OUT for one in mine)

    def within_caps(self, owner: Key, message: int) -> bool:
        """Three in 24 hours, ten minutes between two, of whichever message; `ignore_caps` lifts both for this one."""
        if self.rules[message].ignore_caps:
            return True
        times = [one.at for one in self.of_person(owner)]
        now = self.clock()
        return len([at for at in times if now - at < DAY]) < 3 and all(now - at >= 10 * MINUTE for at in times)

    def claimable(self, device: Device) -> set[str]:
        """Return what a view may offer: all that a claim with a new nonce would get, or be held out from."""
        found = set()
        for number, message in enumerate(self.messages):
            events = [uuid7_bytes(item["id"]) for item in self.saved] if self.rules[number].trigger == "event" else [None]
            opened = any(self.triggered(device, number, event) for event in events)
            if opened and self.not_too_often(device.owner, number, None) and self.within_caps(device.owner, number):
                found.add(message.public_id)
        return found

    def report(self, act: Report) -> None:
        if not self.given:
            return
        device, delivery = self.devices[act.device], self.given[act.delivery % len(self.given)]
        item = {
            "type": "message",
            "message": self.messages[delivery.message].public_id,
            "delivery": delivery.nonce,
            "action": act.action,
            "at": self.clock() - act.ago,
        }
        if act.action == "clicked":
            item["link"] = act.link
        if act.action == "answered":
            item["answer"] = f"answer {act.ago}"
        for _ in range(act.times):
            self.say(act.process, device, delivery, item)
        self.reported.append((act.process, device, item))

    def say(self, process: int, device: Device, delivery: Given, item: dict[str, Any]) -> None:
        """Send a report. The earliest time of each step stays, and the first answer that arrives."""
        owner = device.owner
        answer = self.collect(process, device, item)
        if delivery.arm == HELD_OUT or delivery not in self.of_person(owner):
            assert [one["code"] for one in answer["refused"]] == ["delivery_unknown"]
            return
        action, at, new = item["action"], item["at"], item["action"] not in delivery.times
        assert (answer["accepted"], answer["duplicates"], answer["refused"]) == (int(new), int(not new), [])
        if action == "answered" and not new:
            return
        for step in {action, "seen"} if action in SEEN else {action}:
            delivery.times[step] = min(at, delivery.times.get(step, at))
        if action == "clicked":
            delivery.links.setdefault(item["link"], at)
        if action == "answered":
            delivery.answer = item["answer"]

    def finish(self) -> None:
        """Compare what is stored and what is counted; then let everything be reported once more, and compare again."""
        self.check(0)
        for process, device, item in self.reported:
            delivery = next(one for one in self.given if one.nonce == item["delivery"] and self._named(one, item))
            theirs = device.owner in self.play.model.known and delivery in self.of_person(device.owner)
            if theirs and item["action"] in delivery.times:  # what was refused might be taken by now
                late = {**item, "at": self.clock(), **({"answer": "late"} if "answer" in item else {})}
                self.say(1 - process, device, delivery, late)
        self.check(1)

    def _named(self, delivery: Given, item: dict[str, Any]) -> bool:
        return self.messages[delivery.message].public_id == item["message"]

    def check(self, process: int) -> None:
        stored = self.play.world.rows(
            "SELECT i.kind, i.value, d.message, d.nonce, d.arm, d.claimed_at, d.seen_at, d.clicked_at, d.answered_at, d.dismissed_at, "
            "d.answer FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity WHERE d.site = ?",
            self.play.world.site.id,
        )
        steps = ("seen", "clicked", "answered", "dismissed")
        given = [
            (
                *one.owner,
                self.messages[one.message].id,
                one.nonce,
                one.arm,
                one.at,
                *(one.times.get(step) for step in steps),
                None if one.answer is None else json.dumps(one.answer),
            )
            for one in self.given
        ]
        assert sorted(stored, key=repr) == sorted(given, key=repr)
        for number, message in enumerate(self.messages):
            self.check_numbers(process, number, message)

    def check_numbers(self, process: int, number: int, message: AutoMessage) -> None:
        """Count each person once for each step, by the arm of what was given out first; and look at the people behind each number."""
        model, site = self.play.model, self.play.world.site
        had: dict[Key, list[Given]] = {}
        for one in self.given:
            if one.message == number:
                had.setdefault(model.known[one.owner].person, []).append(one)
        shown = {person: all_of_it for person, all_of_it in had.items() if all_of_it[0].arm == SHOWN}
        expected = {"matched": set(had), "held_out": set(had) - set(shown), "sent": set(shown)}
        for step in ("seen", "clicked", "answered", "dismissed"):
            expected[step] = {person for person, all_of_it in shown.items() if any(step in one.times for one in all_of_it)}
        links = {link: {person for person, all_of_it in shown.items() if any(link in one.links for one in all_of_it)} for link in LINKS}
        with self.play.processes[process].database.read() as connection:
            found = message_numbers.stats(connection, site.id, message)
            keys = {row[0]: (row[1], row[2]) for row in connection.rows("SELECT id, kind, value FROM identities")}
            for step, people in expected.items():
                listed, total = message_numbers.behind(connection, site.id, message, message_numbers.Behind(step), 100, 0)
                assert found[step] == total == len(people)
                assert {keys[person] for person, _ in listed} == people
            for line in found["links"]:
                behind = message_numbers.Behind("clicked", link=line["link"])
                listed, total = message_numbers.behind(connection, site.id, message, behind, 100, 0)
                assert line["clicked"] == total == len(links[line["link"]])
                assert {keys[person] for person, _ in listed} == links[line["link"]]
            assert {line["link"] for line in found["links"]} == {link for link, people in links.items() if people}
