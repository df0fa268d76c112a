"""A visitor's browser and its tabs, in short words; waiting without guessing how long."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.engines.wire import Refused, Wire

T = TypeVar("T")

SECONDS = 20.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""What stands for an element on the wire."""

KEYS = {"Escape": "\ue00c", "Tab": "\ue004", "Enter": "\ue007"}


def until(condition: Callable[[], T], seconds: float = SECONDS) -> T:
    """Return the first true answer of `condition`; the last one, whatever it is, after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Visitor:
    """A running browser of somebody who was never here. `tab` is its first tab."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.looking_at: str = wire.send("GetWindowHandle", {})
        self.tab = Tab(self, self.looking_at)

    def new_tab(self) -> "Tab":
        """Open one more tab."""
        return Tab(self, self.wire.send("NewWindow", {"type": "tab"})["handle"])


class Tab:
    """One tab; each command is preceded by a look at it, where another was looked at last."""

    def __init__(self, visitor: Visitor, handle: str) -> None:
        self.visitor = visitor
        self.handle = handle

    def send(self, command: str, **parameters: Any) -> Any:
        """Send one command of the wire to this tab."""
        if self.visitor.looking_at != self.handle:
            self.visitor.wire.send("SwitchToWindow", {"handle": self.handle})
            self.visitor.looking_at = self.handle
        return self.visitor.wire.send(command, parameters)

    def open(self, address: str) -> None:
        """Go to an address and wait until the page has loaded."""
        self.send("Navigate", url=address)

    def visit(self, address: str) -> None:
        """Go to a page with the tracker and wait until that works."""
        self.open(address)
        self.ready()

    def run(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page's with these arguments and return what it answers."""
        return self.send("ExecuteScript", script=f"return ({function})(...arguments)", args=list(arguments))

    def wait_for(self, function: str, *arguments: Any) -> Any:
        """Wait until a function of the page's answers true, also over a change of page."""

        def ask() -> Any:
            try:
                return self.run(function, *arguments)
            except Refused:  # between two pages
                return None

        found = until(ask)
        assert found, function
        return found

    def ready(self) -> None:
        """Wait until the tracker works in this page."""
        self.wait_for("() => window.leadlight?.v")

    def arrives(self, path: str) -> None:
        """Wait until the page of this path has loaded."""
        self.wait_for("path => location.pathname == path && document.readyState == 'complete'", path)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call `leadlight(method, ...)` and return what it answers."""
        return self.run("(method, ...given) => leadlight(method, ...given)", method, *arguments)

    def track(self, name: str, *numbers: int) -> None:
        """Track one event for each number, with the number as `n`."""
        self.run("(name, ...numbers) => numbers.forEach(n => leadlight('track', name, {n}))", name, *numbers)

    def leave(self, name: str, address: str) -> None:
        """Track an event and leave for another page in the same task."""
        self.run("(name, address) => { leadlight('track', name, {n: 1}); location.href = address }", name, address)

    @property
    def status(self) -> dict[str, Any]:
        """What `leadlight('status')` says."""
        found: dict[str, Any] = self.call("status")
        return found

    @property
    def lead(self) -> str:
        """The public half of the lead."""
        return str(self.status["lead"])

    def fence(self) -> None:
        """Return when all that the page did so far is stored: order is kept, and an event tracked after it has arrived."""
        before = self.status
        self.call("track", "fence")
        self.wait_for("sent => { const now = leadlight('status'); return now.sent > sent && !now.queued }", before["sent"])
        assert self.status["refused"] == before["refused"]

    def cookies(self) -> list[dict[str, Any]]:
        """Return the cookies that a request of this page's host would carry."""
        found: list[dict[str, Any]] = self.send("GetCookies")
        return found

    def click(self, function: str) -> None:
        """Click the element that a function of the page's returns, as a mouse would."""
        self.send("ElementClick", id=self.run(function)[ELEMENT])

    def press(self, key: str) -> None:
        """Press a key."""
        value = KEYS[key]
        actions = [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self.send("PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def close(self) -> None:
        """Close this tab; another has to be open."""
        self.send("CloseWindow")
        self.visitor.looking_at = ""
