"""Typical traffic of one site, so that its statements can be looked at: visitors, a back end, the console, and what goes on beside."""

import hashlib
import hmac
from typing import Any
from unittest.mock import patch

import msgspec
from werkzeug.test import Client

from collector import backfill
from collector.domain import changes, simulation_runs
from collector.domain.simulation import scene_of, simulate
from collector.domain.simulation_runs import DONE
from collector.goal_keeper import GoalKeeper
from collector.upkeep import Report, purge_feed, round_of
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import new_uuid7
from tests.support.browserless import Tracker, new_lead
from tests.web.test_api_support import Rest
from tests.web.test_console_support import Console

PRICING = {"field": "path", "operator": "is", "value": "/pricing"}
OFTEN = {"event": "page-view", "field": "count", "operator": ">", "value": 0}
LATELY = {**OFTEN, "within_days": 3}
PRO = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
BOUGHT = {"event": "bought", "field": "count", "operator": ">", "value": 0}
DEAR = {**BOUGHT, "where": [{"field": "metadata.price", "operator": ">", "value": 5}]}
QUESTION = {"kind": "rating", "attribute": "stars"}
BESIDES = {
    "/api/events": "?type=user&user_id=u-1",
    "/api/segments": "?include_count=true",
    "/api/events/top": "?event_name=page-view&within_days=7",
    "/api/contacts/<contact_id>/explain/<message_id>": "?url=https://shop.example/pricing",
    "/console/people": "?query=ann",
    "/console/people/find": "?user_id=u-1",
    "/console/events/top": "?event=page-view&days=7",
    "/console/messages/<public_id>/people": "?step=seen",
}
"""What addresses are asked for beside their variables."""


class Traffic:
    """What happens at a site: each step uses what the one before left."""

    def __init__(self, on: Console) -> None:
        self.on = on
        self.world = on.world
        self.services = on.services
        self.clock = on.clock
        self.rest = Rest(on.world, on.world.access_token)
        self.client = Client(on.app)
        self.visitor = Tracker(on.world, self.client)

    def run(self) -> None:
        """Let all of it happen."""
        self.define()
        self.visit()
        self.sign_in()
        self.call()
        self.read()
        self.go_on()
        self.look_after()
        self.delete()
        self.look_after()

    def define(self) -> None:
        """Rules, a segment, and messages that ask for everything."""
        self.rule = self.made("/event_rules", {"event_name": "saw-pricing", "page": PRICING})
        self.made("/event_rules", {"event_name": "added", "source": "click", "selector": "a > b"})
        self.segment = self.made("/segments", {"name": "Often", "query": OFTEN})
        audience = {"operator": "AND", "value": [OFTEN, {"field": "segment_id", "operator": "=", "value": self.segment}]}
        self.message = self.made(
            "/auto_messages",
            {
                "name": "Hello",
                "type": "popup",
                "state": "live",
                "content": {"title": "Hi {{name | fallback: 'you'}}", "body": "[Read](https://shop.example/)", "question": QUESTION},
                "audience": audience,
                "goal": {"query": BOUGHT, "days": 7},
                "ignore_caps": True,
            },
        )
        self.put(f"/auto_messages/{self.message}", {"content": {"body": "Hello", "question": QUESTION}})
        self.put(f"/segments/{self.segment}", {"query": {"operator": "OR", "value": [OFTEN, LATELY, PRO, DEAR]}})

    def visit(self) -> None:
        """Somebody comes, is shown the message, answers, and goes to another domain of the site."""
        visit = new_uuid7(self.clock())
        for path in ("/", "/pricing", "/docs"):
            self.visitor.view(path, visit=visit)
            self.clock.advance(MINUTE)
        self.visitor.collect({"type": "identify", "at": self.clock(), "attributes": {"name": "Ann", "custom_attributes": {"plan": "pro"}}})
        shown = self.visitor.claim(self.message)["message"]
        for action, fields in (("seen", {}), ("clicked", {"link": "Read"}), ("answered", {"answer": 4})):
            self.visitor.report(self.message, shown["delivery"], action, **fields)
        around = {"v": 1, "site": self.world.site.key, "sent_at": self.clock()}
        given = self.visitor.post("/handover", {**around, "lead": self.visitor.lead, "to": "shop.example"})
        assert given.status_code == 200, given.text
        taken = self.visitor.post("/handover/take", {**around, "lead": new_lead(), "handover": given.json["handover"]})
        assert taken.status_code == 200, taken.text
        self.visitor.post("/handover", {**around, "lead": self.visitor.lead, "to": "shop.example"})  # nobody arrives

    def sign_in(self) -> None:
        """The visitor turns out to be a user, and another visitor too; a third user is refused the lead."""
        for name in ("u-1", "u-2"):
            secret = self.world.site.identity_secrets[0].encode()
            self.visitor.identify(name, hash=hmac.new(secret, name.encode(), hashlib.sha256).hexdigest())
            self.visitor.view("/app", visit=new_uuid7(self.clock()))
        other = Tracker(self.world, self.client)
        other.view("/pricing")
        self.clock.advance(DAY)
        other.identify("u-1")
        other.view("/app")
        self.alone = Tracker(self.world, self.client)
        self.alone.view("/")

    def call(self) -> None:
        """A back end makes contacts, changes them, tells events, searches, merges and undoes."""
        rest, now = self.rest, self.rest.now
        self.contact = self.made("/contacts", {"email": "bob@example.com"}, 200)
        self.put(f"/contacts/{self.contact}", {"email": "bert@example.com", "name": "Bert"})
        self.put(f"/contacts/{self.contact}", {"external_id": "u-3"})
        assert rest.event("bought", user_id="u-1", metadata={"price": 7}).status_code == 202
        rest.batch({"user_id": "u-3", "event_name": "bought", "created_at": now})
        base = {"event_name": "bought", "count": 2, "first": now - 100, "last": now - 50}
        assert rest.post("/events/summaries", {"user_id": "u-3", "event_summaries": [base]}).status_code == 200
        for query in (OFTEN, LATELY, PRO, DEAR, {"message": self.message, "field": "seen", "operator": "has_any_value"}):
            assert rest.post("/contacts/search", {"query": query}).status_code == 200
            assert rest.post(f"/contacts/{self.contact}/explain", {"query": query}).status_code == 200
        lead = self.on.contact_id(("lead", self.alone.lead.partition(".")[0]))
        assert rest.post("/contacts/merge", {"from": lead, "into": self.contact}).status_code == 200
        self.merge = rest.get("/merges").json["data"][0]["id"]
        assert rest.post(f"/merges/{self.merge}/undo", {}).status_code == 200
        copy = rest.send("POST", f"/auto_messages/{self.message}/duplicate").json["id"]
        assert rest.send("DELETE", f"/auto_messages/{copy}").status_code == 200
        other = self.made("/segments", {"name": "Other", "query": PRO})
        assert rest.send("DELETE", f"/segments/{other}").status_code == 200
        self.put("/auto_messages/paused", {"paused": False})

    def read(self) -> None:
        """Every page of the console and everything that REST gives out."""
        for rule in sorted(self.on.app.url_map.iter_rules(), key=str):
            if "GET" not in (rule.methods or ()) or rule.endpoint.endswith("static") or "<path:anything>" in rule.rule:
                continue
            path = rule.rule
            for name, value in self.variables(path).items():
                path = path.replace(f"<{name}>", value)
            path += BESIDES.get(rule.rule, "")
            if path.startswith("/api/"):
                assert self.rest.get(path.removeprefix("/api")).status_code == 200, path
            elif path.startswith("/console/"):
                assert self.on.get(path.removeprefix("/console")).status_code in (200, 302, 303), path

    def variables(self, path: str) -> dict[str, str]:
        """What stands for each variable of an address."""
        person = self.on.contact_id(("user", "u-1"))
        public = self.segment if "/segments/" in path else self.message
        return {
            **{"contact_id": person, "path:external_id": "u-1", "public_id": public, "message_id": self.message},
            **{"segment_id": self.segment, "rule_id": self.rule, "merge_id": self.merge, "run_id": self.run_id, "run": self.run_id},
        }

    def go_on(self) -> None:
        """What threads do: go back for a rule, look for goals, write decisions and losses down."""
        self.clock.advance(HOUR)
        goals = GoalKeeper(self.services)
        with patch.object(backfill, "SETTLED_SECONDS", 0):  # so that a new rule need not wait
            going_back = backfill.Backfill(self.services)
            going_back._look()
        goals.look(self.clock())
        going_back.stop()
        goals.stop()
        self.services.decisions.write()
        self.services.losses.note(self.world.site.id, 3, self.clock())
        self.services.losses.write()
        assert self.client.get("/readyz").status_code == 200

    def look_after(self) -> None:
        """A round of upkeep, weeks later, and what is purged each minute."""
        self.clock.advance(self.services.settings.retention + 30 * DAY)
        self.visitor.view("/late", visit=new_uuid7(self.clock()))
        for _ in round_of(self.services, self.services.written.transact, Report(), trusted=True):
            pass
        self.clock.advance(changes.KEPT + 1)
        purge_feed(self.services, self.services.written.transact)

    def delete(self) -> None:
        """Somebody asks to be deleted."""
        assert self.rest.send("DELETE", f"/contacts/{self.on.contact_id(('user', 'u-2'))}").status_code == 200

    @property
    def run_id(self) -> str:
        """A simulation of the message that is done, made where there is none."""
        services, site, now = self.services, self.world.site, self.clock()
        with services.database.read() as connection:
            message = services.auto_messages.get(connection, site.id, self.message)
            assert message is not None
            runs = simulation_runs.of_message(connection, site.id, message.id, now)
        if runs:
            return runs[0].id
        begun = services.writer.run(site.id, lambda tx: simulation_runs.begin(tx, site.id, message.id, message.version, 7, now))
        scene = scene_of(services.database, site, message, [], 7, now, services.settings.retention)
        result = msgspec.to_builtins(simulate(services.database, services.names, scene, lambda _: None))
        services.writer.run(site.id, lambda tx: simulation_runs.beat(tx, site.id, begun.id, 50, now))
        services.writer.run(site.id, lambda tx: simulation_runs.end(tx, site.id, begun.id, DONE, now, result=result))
        return str(begun.id)

    def made(self, path: str, value: Any, status: int = 201) -> str:
        answer = self.rest.post(path, value)
        assert answer.status_code == status, answer.text
        return str(answer.json["id"])

    def put(self, path: str, value: Any) -> None:
        answer = self.rest.put(path, value)
        assert answer.status_code == 200, answer.text
