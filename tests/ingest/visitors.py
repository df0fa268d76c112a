"""Generated people in generated visits, who are served for real: what they do, and a messenger that claims as the browser's does."""

import hashlib
import hmac
import random
from collections.abc import Callable
from typing import Any

import msgspec

from collector.values.clock import DAY, HOUR, MINUTE, SECOND
from collector.values.ids import derived_event_id, new_uuid7
from tests.support.browserless import Tracker
from tests.support.world import World

PATHS = ("/", "/pricing", "/pricing/team", "/docs", "/cart?utm_source=mail&utm_campaign=spring")
AT_ONCE = frozenset({"scroll", "exit_intent"})


class Visitor:
    """One browser of somebody: a page that is shown, and what waits or stands in it."""

    def __init__(self, tracker: Tracker, *, dismisses: bool = False) -> None:
        """Open it. Who `dismisses` closes whatever is shown."""
        self.dismisses = dismisses
        self.tracker = tracker
        self.world = tracker.world
        self.view: str | None = None
        self.visit: str | None = None
        self.shows = False
        self.waiting: dict[str, tuple[int, int, str]] = {}
        """When messages that wait for something in the page are due (ms), their place among what was offered, and what they wait for."""

    def look(self, path: str) -> None:
        """Go to a page."""
        self.shows, self.waiting = False, {}
        self.tracker.url = f"https://shop.example{path}"
        event = self.tracker.event(visit=self.visit)
        self.view, self.viewed_at = event["id"], self.world.clock()
        self.hear(self.tracker.collect(event))

    def do(self, name: str, metadata: dict[str, Any]) -> None:
        """Do something in the page now shown."""
        self.hear(self.tracker.collect(self.tracker.event(name, visit=self.visit, view=self.view, metadata=metadata)))

    def leave(self) -> None:
        """Close the page."""
        self.waiting = {}

    def hear(self, answer: Any) -> None:
        """Do what the messenger does with the collector's answer: claim the best, and arm what waits. Whoever looks scrolls at once."""
        now = self.world.clock()
        for place, offer in enumerate(answer.get("messages", [])):
            kind = offer["trigger"]
            if kind == "time":
                due = max(round(self.viewed_at + offer["seconds"] * SECOND), now)
                self.waiting.setdefault(offer["id"], (due, place, kind))
            elif kind in AT_ONCE:
                self.waiting[offer["id"]] = (now, place, kind)
            else:
                self.claim(offer["id"], event=offer.get("event"))
        self.claim_due()

    @property
    def due(self) -> int | None:
        """When something that waits is due (ms)."""
        return min(self.waiting.values())[0] if self.waiting else None

    def claim_due(self) -> None:
        """Claim what is due by now."""
        for (due, _, kind), message in sorted((when, message) for message, when in self.waiting.items()):
            if due <= self.world.clock():
                del self.waiting[message]
                self.claim(message, trigger=kind)

    def claim(self, message: str, **fields: Any) -> None:
        """Claim a message where none stands in the page, and see it."""
        if self.shows:
            return
        given = {name: value for name, value in fields.items() if value is not None}
        shown = self.tracker.claim(message, view=self.view, **given)["message"]
        if shown is not None:
            self.shows = True
            self.tracker.report(message, shown["delivery"], "seen")
            if self.dismisses:
                self.tracker.report(message, shown["delivery"], "dismissed")


class Crowd:
    """Some people and all that they do within some days, drawn from a seed."""

    def __init__(
        self,
        world: World,
        tracker: Callable[[], Tracker],
        people: int,
        days: int,
        seed: int,
        *,
        lingers: bool = False,
        returns: bool = False,
        dismisses: bool = False,
        says: dict[str, Any] | None = None,
    ) -> None:
        """Draw them. Who `lingers` stays in a visit's last page; who `returns`, in one browser, does something in it after long, and some
        pages say only then who is signed in; users say attributes of themselves in the second half of the days.
        """
        self.world = world
        self.tracker = tracker
        self.days = days
        self.lingers = lingers
        self.returns = returns
        self.dismisses = dismisses
        self.says = says
        self.draw = random.Random(seed)
        self.visitors: list[Visitor] = []
        self.acts: list[tuple[int, int, Callable[[], None]]] = []
        for number in range(people):
            self.person(f"u-{seed}-{number}")

    def serve(self) -> None:
        """Let everything happen, in order of time."""
        began = self.world.clock()
        for after, _, act in sorted(self.acts, key=lambda one: one[:2]):
            self.wait(began + after)
            self.world.clock.now = began + after
            act()
        self.wait(began + self.days * DAY)
        self.world.clock.now = began + self.days * DAY

    def wait(self, until: int) -> None:
        """Let time pass for who waits in a page."""
        while due := [
            (visitor.due, place) for place, visitor in enumerate(self.visitors) if visitor.due is not None and visitor.due <= until
        ]:
            at, place = min(due)
            self.world.clock.now = max(at, self.world.clock.now)
            self.visitors[place].claim_due()

    def at(self, after: int, act: Callable[[], None]) -> None:
        self.acts.append((after, len(self.acts), act))

    def browser(self) -> Visitor:
        self.visitors.append(Visitor(self.tracker(), dismisses=self.dismisses))
        return self.visitors[-1]

    def person(self, user: str) -> None:
        """Draw a person: a browser or two, which may sign up in the middle, come back with its session over, and a back end that tells."""
        draw, span = self.draw, (self.days - 2) * DAY
        signs_up, proved = draw.random() < 0.5, draw.random() < 0.7
        first, free, joined = self.browser(), 0, 0
        for place in range(draw.randint(1, 4)):
            begins = max(free, draw.randrange(span))
            state = "lead" if not signs_up or place == 0 else "user" if draw.random() < 0.8 else "signed out"
            if joined and draw.random() < 0.3:
                self.at(max(joined + 1, begins - HOUR // 2), lambda: self.tell(user))
            joined = joined or (begins if state == "user" else 0)
            free = self.visit(first, begins, state, user, proved) + HOUR
            if free > span:
                break
        if joined and not self.returns and draw.random() < 0.4:
            other = self.browser()
            free = self.visit(other, draw.randrange(span), "lead", user, proved) + HOUR
            self.visit(other, max(free, joined), "user", user, proved)
        for _ in range(draw.randint(0, 2) if joined else 0):
            self.at(draw.randrange(joined, span + DAY), lambda: self.tell(user))

    def visit(self, visitor: Visitor, begins: int, state: str, user: str, proved: bool) -> int:
        """Draw a visit and return when it is over."""
        draw = self.draw

        def arrive() -> None:
            visitor.visit = new_uuid7(self.world.clock())
            visitor.tracker.user = None
            if not late:
                sign_in()

        def sign_in() -> None:
            if state == "user":
                secret = self.world.site.identity_secrets[0].encode()
                proof = {"hash": hmac.new(secret, user.encode(), hashlib.sha256).hexdigest()} if proved else {}
                visitor.tracker.identify(user, **proof)
                if self.says and begins > self.days * DAY // 2:
                    visitor.tracker.collect({"type": "identify", "at": self.world.clock(), "attributes": self.says})

        def return_later() -> None:
            sign_in()
            visitor.visit = new_uuid7(self.world.clock())
            visitor.do("saved", {"plan": "pro"})

        late = self.returns and draw.random() < 0.4
        self.at(begins, arrive)
        at = begins + 1
        for _ in range(draw.randint(1, 5)):
            at += draw.choice((5 * SECOND, 40 * SECOND, 12 * MINUTE)) + draw.randrange(SECOND)
            path = draw.choice(PATHS)
            self.at(at, lambda path=path: visitor.look(path))  # type: ignore[misc]  # bound now
            if draw.random() < 0.35:
                at += draw.randrange(SECOND, 2 * MINUTE)
                name, plan = draw.choice(("saved", "cart", "checked-out")), draw.choice(("pro", "free"))
                self.at(at, lambda name=name, plan=plan: visitor.do(name, {"plan": plan}))  # type: ignore[misc]
        for _ in range(draw.randint(0, 2) if self.returns else 0):
            at += 31 * MINUTE + draw.randrange(2 * HOUR)
            self.at(at, return_later)
        if not self.lingers:
            self.at(at, visitor.leave)
        return at

    def tell(self, user: str) -> None:
        """Record what the back end knows of a user."""
        event = self.world.event("paid", metadata='{"plan":"pro"}')
        event = msgspec.structs.replace(event, id=derived_event_id(self.world.site.salt, event.at, "rest", event.id))
        assert self.world.send(("user", user), event, browser=False).error is None
