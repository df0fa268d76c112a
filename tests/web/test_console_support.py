"""What the tests of the console share: a whole application in the test's own process, and a browser that keeps cookies."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from unittest.mock import patch

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from collector.app import create_app
from collector.domain import accounts
from collector.domain.auto_messages import AutoMessage
from collector.domain.identities import Key, NewIdentity
from collector.domain.sites import Site
from collector.domain.submissions import Event
from collector.values.messages import clean_auto_message
from tests.support.clock import FakeClock
from tests.support.world import World, id_at, world

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


class Console:
    """A console with one site and an account that sees it, and that account's browser."""

    def __init__(self, running: World, base_url: str = "http://127.0.0.1:8000") -> None:
        self.world = running
        self.services = running.services
        self.clock = running.clock
        self.site: Site = running.site
        self.app = create_app(running.services)
        self.base_url = base_url
        self.browser = self.new_browser()
        self.account(EMAIL, running.site)

    def new_browser(self) -> FlaskClient:
        return self.app.test_client()

    def account(self, email: str, *sites: Site, operator: bool = False) -> int:
        """Make an account that sees these sites."""

        def work(tx: Any) -> int:
            number = accounts.create(tx, self.services.row_ids, email, PASSWORD, operator=operator, now_ms=self.clock())
            for site in sites:
                accounts.add_site(tx, number, site.id)
            return number

        return int(self.services.writer.run(0, work))

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.browser.get(f"/console{path}", base_url=self.base_url, **options)

    def post(self, path: str, data: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> TestResponse:
        return self.browser.post(f"/console{path}", data=data, headers=OWN_PAGE if headers is None else headers, base_url=self.base_url)

    def sign_in(self, email: str = EMAIL, password: str = PASSWORD, **fields: str) -> TestResponse:
        return self.post("/sign-in", {"email": email, "password": password, **fields})

    def page(self, path: str) -> str:
        """Return a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.headers.get("Location"))
        return answer.text

    def profile(self, who: NewIdentity | Key) -> str:
        return self.page(f"/people/{self.contact_id(who)}")

    def contact_id(self, who: NewIdentity | Key) -> str:
        return self.world.person(who.key if isinstance(who, NewIdentity) else who).contact_id

    def message(self, site: Site | None = None, **fields: Any) -> AutoMessage:
        """Make a live message."""
        raw = {"name": "Hello", "type": "popup", "state": "live", "content": {"title": "Hi", "body": "There"}, **fields}
        definition = clean_auto_message(raw, retention_days=90)
        where = (site or self.site).id
        made: AutoMessage = self.services.writer.run(
            where, lambda tx: self.services.auto_messages.create(tx, where, definition, self.clock())
        )
        return made

    def did(self, who: NewIdentity | Key, name: str, metadata: dict[str, Any] | None = None, at: int | None = None, **fields: Any) -> None:
        """Have somebody do something; unverified unless `verified` says otherwise."""
        at = self.clock() if at is None else at
        self.world.send(who, Event(id_at(at), name, at, None, None, json.dumps(metadata) if metadata else None), **fields)

    def viewed(self, who: NewIdentity | Key, path: str, title: str = "", at: int | None = None, **fields: Any) -> None:
        """Have somebody look at a page."""
        metadata = {"url": f"https://shop.example{path}", "path": path, **({"title": title} if title else {})}
        self.did(who, "page-view", metadata, at, **fields)


@contextmanager
def console(database_url: str, clock: FakeClock, base_url: str = "http://127.0.0.1:8000", **settings: Any) -> Iterator[Console]:
    """Start a console on an empty database; nobody is signed in. Passwords are stretched a little only, to save time."""
    with patch.object(accounts, "_N", 16), world(database_url, clock, **settings) as running:
        yield Console(running, base_url)


class Parsed(HTMLParser):
    """A page taken apart: its links, the tags in it, and what one reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "a":
            self.links.append({name: value or "" for name, value in attrs})

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def hrefs(self) -> list[str]:
        return [link.get("href", "") for link in self.links]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def section(html: str, name: str) -> str:
    """Return the section of a page that carries this id."""
    start = html.index(f'<section id="{name}"') if f'<section id="{name}"' in html else html.index(f'id="{name}"')
    return html[start : html.index("</section>", start)]
