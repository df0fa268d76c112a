"""Colours: how they are written, how well one is told from another (WCAG 2.2), and what a brand's colour becomes on a card."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from collector.values.errors import Reason, Refusal
from collector.values.fields import shown

TEXT_CONTRAST = 4.5
"""Least contrast of text and what is behind it (success criterion 1.4.3)."""
PART_CONTRAST = 3.0
"""Least contrast of a button, a mark or a ring and what is beside it (1.4.11)."""

Scheme = Literal["light", "dark"]

GROUNDS: dict[Scheme, tuple[str, ...]] = {"light": ("#ffffff", "#f2f4f7"), "dark": ("#1b202b", "#2a3140")}
"""What lies behind everything on a card: its paper, and the quieter fill of bubbles and code. The messenger's sheet has the same."""
_AWAY: dict[Scheme, str] = {"light": "#000000", "dark": "#ffffff"}
"""The end of the scale that is farthest from the grounds."""
_STEPS = 100


class Shades(msgspec.Struct, frozen=True):
    """What a brand's colour becomes on cards of one scheme: `accent` of edges, marks and rings, `link` of text; each `#rrggbb`."""

    accent: str
    link: str


class Brand(msgspec.Struct, frozen=True):
    """What a brand's colour becomes: `fill` of buttons, which is the colour itself, `on` of text upon it, and what depends on the card."""

    fill: str
    on: str
    light: Shades
    dark: Shades


def clean_colour(raw: object) -> str:
    """Return a colour as `#rrggbb`.

    Raises:
        Refusal: FIELD_INVALID, it is neither `#rgb` nor `#rrggbb`.
    """
    text = raw.strip().lower().removeprefix("#") if isinstance(raw, str) else ""
    if len(text) == 3:
        text = "".join(digit * 2 for digit in text)
    if len(text) != 6 or not set(text) <= set("0123456789abcdef"):
        raise Refusal(Reason.FIELD_INVALID, None, f"expected a colour such as #1f4fd1, not {shown(raw)}")
    return f"#{text}"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours `#rrggbb`, from 1 (the same) to 21 (black and white)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def brand(colour: str) -> Brand:
    """Return what a colour `#rrggbb` becomes on cards.

    No colour is refused, a brand is what it is: fills have it unchanged, within an edge that can be told from the card (3:1), and text
    upon them is white where that can be read (4.5:1), else black, which then always can. Edges and links take the colour too where it
    suffices (links 4.5:1), else it is made as little darker, or on dark cards lighter, as that takes.
    """
    on = "#ffffff" if contrast(colour, "#ffffff") >= TEXT_CONTRAST else "#000000"
    return Brand(colour, on, _shades(colour, "light"), _shades(colour, "dark"))


def _shades(colour: str, scheme: Scheme) -> Shades:
    def told_apart(least: float) -> str:
        return next(one for one in _towards(colour, _AWAY[scheme]) if all(contrast(one, ground) >= least for ground in GROUNDS[scheme]))

    return Shades(told_apart(PART_CONTRAST), told_apart(TEXT_CONTRAST))


def _towards(colour: str, end: str) -> Iterator[str]:
    """The colours from one to another, both among them."""
    for step in range(_STEPS + 1):
        mixed = (round(a + (b - a) * step / _STEPS) for a, b in zip(_parts(colour), _parts(end), strict=True))
        yield "#" + "".join(f"{part:02x}" for part in mixed)


def _parts(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it for sRGB."""
    parts = (part / 255 for part in _parts(colour))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
