"""Short words for what tests do with a tab that has the tracker, and for waiting without guessing how long."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from playwright.sync_api import BrowserContext, Page

T = TypeVar("T")

SECONDS = 15.0

STUB = "window.leadlight = function () { (leadlight.q = leadlight.q || []).push(arguments) };"
"""What takes calls before the tracker is there, as pages paste it."""

LEAVE = "([name, n, address]) => { leadlight('track', name, {n}); location.href = address }"
"""Tracks an event and leaves in the same task."""


def until(page: Page, condition: Callable[[], T], seconds: float = SECONDS) -> T:
    """Return the first true answer of `condition`; the page goes on meanwhile. The last answer, whatever it is, after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    return found


def visit(page: Page, url: str) -> None:
    """Open a page and wait for its tracker."""
    page.goto(url)
    ready(page)


def ready(page: Page) -> None:
    """Wait until the tracker works in this page."""
    wait_for(page, "() => window.leadlight?.v")


def wait_for(page: Page, condition: str, argument: Any = None) -> None:
    """Wait until a function of the page's answers true. It is asked from outside: a strict policy lets no tool wait inside of the page."""
    assert until(page, lambda: page.evaluate(condition, argument)), condition


def call(page: Page, method: str, *arguments: Any) -> Any:
    """Call `leadlight(method, ...)` and return what it answers."""
    return page.evaluate("([method, ...given]) => leadlight(method, ...given)", [method, *arguments])


def status(page: Page) -> dict[str, Any]:
    """Return `leadlight('status')`."""
    found: dict[str, Any] = call(page, "status")
    return found


def lead(page: Page) -> str:
    """Return the public half of the lead."""
    return str(status(page)["lead"])


def fence(page: Page, *, refusals: bool = False) -> None:
    """Return when all that the page did so far is stored: order is kept, and an event tracked after it has arrived.

    With `refusals` some of it may have been refused.
    """
    before = status(page)
    call(page, "track", "fence")
    wait_for(page, "sent => { const now = leadlight('status'); return now.sent > sent && !now.queued }", before["sent"])
    assert refusals or status(page)["refused"] == before["refused"]


HEARD = """
window.heard = {};
{
  const {json} = Response.prototype;
  Response.prototype.json = function () {
    const {pathname} = new URL(this.url);
    const end = () => setTimeout(() => { heard[pathname] = (heard[pathname] || 0) + 1 });
    const read = json.call(this);
    read.then(end, end);
    return read;
  };
}"""
"""A script that counts in `heard`, by path, the answers that the page has read, and has acted upon as far as it does so at once."""


def heard(page: Page, path: str, act: Callable[[], object]) -> None:
    """Do something, and return when the page has read and acted upon one more answer of a path. The page has the script HEARD.

    That an answer has arrived, as a network's events tell, says nothing yet of who awaits it in the page.
    """
    before = page.evaluate("path => heard[path] || 0", path)
    act()
    wait_for(page, "([path, before]) => heard[path] > before", [path, before])


def cookie(context: BrowserContext, name: str) -> Any:
    """Return a cookie of this visitor, or None."""
    return next((one for one in context.cookies() if one["name"] == name), None)


def storage(page: Page) -> dict[str, str]:
    """Return what lies in both storages of the page."""
    found: dict[str, str] = page.evaluate("() => ({...localStorage, ...sessionStorage})")
    return found


def push(page: Page, address: str) -> None:
    """Go to another address inside the document, as routers do."""
    page.evaluate("address => history.pushState({}, '', address)", address)


def track(page: Page, name: str, *numbers: int) -> None:
    """Track one event for each number, with the number as `n`."""
    page.evaluate("([name, numbers]) => numbers.forEach(n => leadlight('track', name, {n}))", [name, list(numbers)])
