"""Event rules by selector as a marketer makes them, by REST, and a tab in which they hold."""

from typing import Any

from playwright.sync_api import Page

from tests.browser.tabs import ready, wait_for
from tests.support.client import Client

# The last thing that the script of the rules does when it starts.
SPY = """
    const original = EventTarget.prototype.addEventListener;
    EventTarget.prototype.addEventListener = function (type, ...rest) {
        if (type == 'focusin' && this == document) window.ruled = (window.ruled || 0) + 1;
        return original.call(this, type, ...rest);
    };
"""


class Rules:
    """The rules that a test makes; all are archived after it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._made: list[str] = []

    def click(self, event: str, selector: str, **fields: Any) -> str:
        """Make a rule about clicks and return its id."""
        return self.new({"event_name": event, "source": "click", "selector": selector, **fields})

    def submit(self, event: str, selector: str, **fields: Any) -> str:
        """Make a rule about submits and return its id."""
        return self.new({"event_name": event, "source": "submit", "selector": selector, **fields})

    def new(self, definition: dict[str, Any]) -> str:
        answer = self._client.api("POST", "/event_rules", definition)
        assert answer.status == 201, answer.text
        made = str(answer.json["id"])
        self._made.append(made)
        return made

    def archive(self, rule: str) -> None:
        assert self._client.api("DELETE", f"/event_rules/{rule}").status == 200

    def archive_all(self) -> None:
        for rule in self._made:
            self.archive(rule)


def open_ruled(page: Page, url: str) -> None:
    """Open a page and wait until the rules hold in it."""
    page.add_init_script(SPY)
    page.goto(url)
    ready(page)
    ruled(page)


def ruled(page: Page, scripts: int = 1) -> None:
    """Wait until so many scripts with rules have started in the page."""
    wait_for(page, "count => window.ruled >= count", scripts)


def text(key: str, selector: str | None = None) -> dict[str, Any]:
    """Metadata of a text."""
    return {"key": key, "from": "text", **({} if selector is None else {"selector": selector})}


def attribute(key: str, name: str, selector: str | None = None) -> dict[str, Any]:
    """Metadata of an attribute."""
    return {"key": key, "from": "attribute", "attribute": name, **({} if selector is None else {"selector": selector})}
