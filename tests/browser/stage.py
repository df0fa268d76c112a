"""A page on which every type and state of a message is shown, one after another, without loading it again.

The messages are real ones that the page asks for. The page has the strictest policy that pages have.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.messages import Message
from tests.browser.tabs import call, fence, push, visit
from tests.support.client import Client
from tests.support.pages import Page as Served
from tests.support.pages import Pages

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "static" / "node_modules" / "axe-core" / "axe.min.js"
PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 360"><rect width="720" height="360" fill="#dfe8fb"/>
<path d="M60 300V190h90v110zm130 0V120h90v180zm130 0v-70h90v70zm130 0V80h90v220zm130 0V150h90v150z" fill="#5b83e0"/></svg>"""

LINK = {"label": "See the new reports", "action": "url", "url": "https://shop.example/reports"}
NO = {"label": "Not now", "action": "dismiss"}
SEND = {"label": "Send", "action": "answer"}
BODY = "Totals now update **while you look at them**, and every chart can be [shared by a link](https://shop.example/sharing)."
LONG = (
    "### What is new\n\nReports have become *faster*:\n\n- totals update by themselves\n- charts are shared by a link\n\n"
    "1. Open a report\n2. Press `Share`\n\n> Nobody has to sign in to look.\n\n"
    "```\nGET /reports/latest?columns=all&order=newest\n```\n\n---\n\nEnjoy."
)
CHOICES = ["I work alone", "With a few others", "In a company of more than a hundred people, in several offices"]

Fields = dict[str, Any]

MESSAGES: dict[str, Fields] = {
    "corner": {"title": "Your reports are live now", "body": BODY, "buttons": [LINK, NO]},
    "words": {"body": LONG},
    "tall": {"title": "A long story", "body": "\n\n".join(["Nothing here leads anywhere, and there is a lot of it to read."] * 30)},
    "picture": {"title": "Your reports are live now", "body": BODY, "image_url": "PICTURE", "buttons": [LINK]},
    "centre": {"title": "Welcome to the new reports", "body": BODY, "position": "center", "image_url": "PICTURE", "buttons": [LINK, NO]},
    "email": {"title": "Where shall we write to?", "body": "One letter a month.", "question": {"kind": "email"}, "buttons": [SEND, NO]},
    "text": {"title": "What did you miss?", "question": {"kind": "text"}},
    "choice": {"title": "How do you work?", "question": {"kind": "choice", "choices": CHOICES}},
    "rating": {"title": "How do you like the new reports?", "question": {"kind": "rating", "scale": "1-5"}},
    "eleven": {
        "title": "How likely are you to recommend us?",
        "body": "From 0, not at all, to 10, at once.",
        "position": "center",
        "question": {"kind": "rating", "scale": "0-10"},
        "buttons": [SEND, NO],
    },
    "corner-eleven": {"title": "How likely are you to recommend us?", "question": {"kind": "rating", "scale": "0-10"}},
    "banner": {
        "type": "banner",
        "title": "Maintenance on Sunday",
        "body": "From 6 to 7 in the morning, nothing is saved.",
        "buttons": [LINK],
    },
    "banner-below": {
        "type": "banner",
        "position": "bottom",
        "body": "We have written down what is new in our reports.",
        "buttons": [LINK, NO],
    },
    "banner-email": {
        "type": "banner",
        "title": "One letter a month",
        "question": {"kind": "email"},
        "buttons": [{**SEND, "label": "Sign up"}],
    },
    "banner-eleven": {
        "type": "banner",
        "position": "bottom",
        "title": "How likely are you to recommend us?",
        "question": {"kind": "rating", "scale": "0-10"},
    },
    "chat": {"type": "chat", "sender": "Ada", "body": "Hello! Shall I show you how to **share** a [report](https://shop.example/sharing)?"},
}
ASKING = [name for name, fields in MESSAGES.items() if "question" in fields or fields.get("type") == "chat"]


class Stage:
    """Shows messages by name; `page` is there for what else is done to it."""

    def __init__(self, page: Page, pages: Pages, client: Client, snippet: str, messages: Mapping[str, Fields], collector: str) -> None:
        self.page = page
        self.client = client
        picture = pages.url("/stage.svg")
        pages.by_path["/stage.svg"] = Served(PICTURE, content_type="image/svg+xml")
        policy = f"default-src 'none'; script-src {collector}; connect-src {collector}; img-src 'self'; require-trusted-types-for 'script'"
        address = pages.add(
            "/stage",
            '<main><h1>A page</h1><p>Of a site.</p><input id="field" aria-label="A field of the page"></main>',
            '<meta name="viewport" content="width=device-width">' + snippet,
            headers={"Content-Security-Policy": policy + "; trusted-types 'none'"},
        )
        self.messages: dict[str, Message] = {}
        for name, fields in messages.items():
            kind, content = fields.get("type", "popup"), {key: value for key, value in fields.items() if key != "type"}
            if content.get("image_url") == "PICTURE":
                content["image_url"] = picture
            whole = {"type": kind, "state": "live", "ignore_caps": True, "frequency": {"type": "every_time"}, "trigger": {"type": "manual"}}
            self.messages[name] = Message(client, {"name": fields.get("title", name.capitalize())[:80], "content": content, **whole})
        self._shown = 0
        visit(page, address)
        fence(page)
        page.evaluate(AXE.read_text("utf-8"))

    @property
    def card(self) -> Locator:
        """What is on show."""
        return self.page.locator("leadlight-message .card")

    def show(self, name: str, direction: str = "ltr") -> Locator:
        """Show a message in a view of its own and return its card. What was shown before is dismissed, so that it may be shown again."""
        self._shown += 1
        for close in self.card.get_by_role("button", name="Close").all():
            close.press("Enter")
        expect(self.card).to_have_count(0)
        push(self.page, f"/stage-{self._shown}")
        fence(self.page)
        self.page.evaluate("direction => { document.body.dir = document.documentElement.dir = direction }", direction)
        call(self.page, "showMessage", self.messages[name].id)
        expect(self.card).to_be_visible()
        self.card.locator("img").evaluate_all("all => Promise.all(all.map(image => image.decode()))")
        return self.card

    def complaints(self) -> list[str]:
        """What axe-core finds in the page: broken rules, and contrasts that it could not tell."""
        found: list[str] = self.page.evaluate(_LOOK)
        return found

    def archive(self) -> None:
        """Take the messages out of everybody's way."""
        for message in self.messages.values():
            message.archive()


_LOOK = """async () => {
    // What lies behind a text axe-core looks for below the body; messages hang on the document element.
    const root = document.querySelector('leadlight-message');
    if (root && root.parentNode != document.body) {
        document.body.append(root);
        const dialog = root.shadowRoot.querySelector('dialog');
        dialog?.removeAttribute('open');
        dialog?.showModal();
    }
    const rules = {'target-size': {enabled: true}};
    const {violations, incomplete} = await axe.run(document, {rules, resultTypes: ['violations', 'incomplete']});
    return [...violations, ...incomplete.filter(({id}) => id == 'color-contrast')]
        .flatMap(({id, nodes}) => nodes
            .filter(({any}) => !['shortTextContent', 'emptyValue'].includes(any[0]?.data?.messageKey))
            .map(({target, failureSummary}) => `${id}: ${target.flat().join(' ')} ${failureSummary}`));
}"""


def error_of(card: Locator) -> None:
    """Send a question without an answer."""
    card.locator("[type=submit]").click()
    expect(card.get_by_role("alert")).not_to_be_empty()


def answered(card: Locator) -> None:
    """Write a reply in a chat and send it."""
    card.get_by_role("textbox").fill("Yes, please. On Thursday at ten?")
    card.locator("[type=submit]").click()
    expect(card.locator(".reply")).to_be_visible()


ACTS: dict[str, tuple[str, Callable[[Locator], None]]] = {
    **{f"{name}, an error": (name, error_of) for name in ASKING},
    "text, typed": ("text", lambda card: card.get_by_role("textbox").fill("A calendar.\nAnd a clock.")),
    "choice, chosen": ("choice", lambda card: card.get_by_role("radio").first.check()),
    "rating, chosen": ("rating", lambda card: card.get_by_role("radio").nth(3).check()),
    "eleven, chosen": ("eleven", lambda card: card.get_by_role("radio").nth(9).check()),
    "chat, typed": ("chat", lambda card: card.get_by_role("textbox").fill("Yes, please.")),
    "chat, sent": ("chat", answered),
}
"""States that come of what somebody does."""

STATES: dict[str, tuple[str, Callable[[Locator], None]]] = {**{name: (name, lambda card: None) for name in MESSAGES}, **ACTS}
"""Every state: which message, and what is done to it."""
