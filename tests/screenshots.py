"""Pictures of messages and console for `docs/`, taken of the product as it is: `make screenshots`."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.stage import MESSAGES, Stage, answered, error_of
from tests.environment import find_chromium
from tests.support.pages import page_server
from tests.support.servers import Collector

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
COLOURS = 96
"""In a picture: enough for edges of letters, and a quarter of the bytes."""
AROUND = 24
"""Pixels of the page around a card."""
BRAND = "#5b3fd6"

Act = Callable[[Locator], None]


def nothing(card: Locator) -> None:
    """Leave a card as it came."""


def chosen(number: int) -> Act:
    """Return what chooses an answer by its place."""
    return lambda card: card.get_by_role("radio").nth(number).check()


PICTURES: dict[str, tuple[str, Act, dict[str, Any]]] = {
    "popup-corner": ("corner", nothing, {}),
    "popup-corner-dark": ("corner", nothing, {"scheme": "dark"}),
    "popup-picture": ("picture", nothing, {}),
    "popup-centre": ("centre", nothing, {}),
    "popup-centre-dark": ("centre", nothing, {"scheme": "dark"}),
    "body": ("words", nothing, {}),
    "question-email": ("email", nothing, {}),
    "question-error": ("email", error_of, {}),
    "question-choice": ("choice", chosen(1), {}),
    "question-text": ("text", lambda card: card.get_by_role("textbox").fill("A calendar of all reports."), {}),
    "rating-five": ("rating", chosen(3), {}),
    "rating-eleven": ("eleven", chosen(9), {}),
    "chat": ("chat", nothing, {}),
    "chat-answered": ("chat", answered, {}),
    "banner-top": ("banner", nothing, {}),
    "banner-bottom-dark": ("banner-eleven", nothing, {"scheme": "dark"}),
    "banner-email": ("banner-email", nothing, {}),
    "right-to-left": ("choice", chosen(0), {"direction": "rtl"}),
    "phone-popup": ("picture", nothing, {"width": 320}),
    "phone-banner": ("banner-eleven", nothing, {"width": 320}),
    "brand": ("rating", chosen(3), {"brand": BRAND}),
    "brand-dark": ("corner", nothing, {"brand": BRAND, "scheme": "dark"}),
}
CONSOLE = {"messages": "/messages", "message": "/messages/{message}", "colour": "/messages/looks"}


def main() -> None:
    """Take all pictures anew and say how large they are."""
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pages = stack.enter_context(page_server())
        collector = Collector(folder, f"sqlite:///{folder / 'leadlight.db'}", origins=[pages.origin])
        stack.callback(collector.kill)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        stack.callback(browser.close)
        page = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce").new_page()
        address = collector.url_as("collect.other")
        snippet = f'<script async src="{address}/tracker.js" data-site="{collector.site_key}" data-automation="count"></script>'
        stage = Stage(page, pages, collector.client, snippet, MESSAGES, address)
        for name, (message, act, more) in PICTURES.items():
            take(stage, name, message, act, **more)
        console(browser, collector, stage.messages["rating"].id)
    total = sum(small(path) for path in sorted(FOLDER.glob("*.png")))
    print(f"{total:,} bytes in all")


def take(
    stage: Stage,
    name: str,
    message: str,
    act: Act,
    direction: str = "ltr",
    scheme: Any = "light",
    width: int = 1280,
    brand: str | None = None,
) -> None:
    """Take the picture of one message, with a little of the page around it."""
    page = stage.page
    page.set_viewport_size({"width": width, "height": 800 if width > 400 else 568})
    page.emulate_media(color_scheme=scheme)
    stage.client.api("PUT", "/auto_messages/looks", {"brand_color": brand})
    card = stage.show(message, direction)
    act(card)
    page.mouse.move(5, 300)
    box = card.bounding_box()
    assert box
    left, top = max(box["x"] - AROUND, 0), max(box["y"] - AROUND, 0)
    size = page.viewport_size
    assert size
    right, bottom = min(box["x"] + box["width"] + AROUND, size["width"]), min(box["y"] + box["height"] + AROUND, size["height"])
    page.screenshot(path=FOLDER / f"{name}.png", clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def console(browser: Browser, collector: Collector, message: str) -> None:
    """Take the console's pages about messages."""
    collector.client.api("PUT", "/auto_messages/looks", {"brand_color": BRAND})
    page = browser.new_context(viewport={"width": 1120, "height": 700}).new_page()
    sign_in(page, collector)
    for name, path in CONSOLE.items():
        page.goto(collector.console_url + path.format(message=message))
        page.screenshot(path=FOLDER / f"console-{name}.png")


def sign_in(page: Page, collector: Collector) -> None:
    """Sign in to the console."""
    page.goto(collector.console_url)
    page.get_by_label("Email").fill(collector.console_email)
    page.get_by_label("Password").fill(collector.console_password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation", name="Console")).to_be_visible()


def small(path: Path) -> int:
    """Write a picture with few colours and return its bytes."""
    with Image.open(path) as picture:
        flat = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    flat.save(path, optimize=True)
    print(f"{path.stat().st_size:7,} {path.name}")
    return path.stat().st_size


if __name__ == "__main__":
    main()
