"""What Plainsheet sells: plans, goods and one guide. All prices are minor units of one currency."""

from dataclasses import dataclass
from typing import Any

CURRENCY = "EUR"


def money(amount: int) -> dict[str, Any]:
    """A price as Leadlight's money type: minor units and a currency code."""
    return {"amount": amount, "currency": CURRENCY}


def price_text(amount: int) -> str:
    """The same price for people: `€29`, `€18.50`."""
    whole, cents = divmod(amount, 100)
    return f"€{whole:,}" if cents == 0 else f"€{whole:,}.{cents:02}"


@dataclass(frozen=True)
class Plan:
    """One plan; `monthly` is its price for a month, `reports` how many reports it allows (0: as many as you like)."""

    key: str
    name: str
    monthly: int
    reports: int
    pitch: str
    features: tuple[str, ...]

    def price(self, *, yearly: bool) -> int:
        """What one invoice says: a month, or a year with two months free."""
        return self.monthly * 10 if yearly else self.monthly


@dataclass(frozen=True)
class Product:
    """Something in the shop, with the name of its picture in static/img."""

    slug: str
    name: str
    price: int
    summary: str
    description: str
    details: tuple[str, ...]
    image: str
    few_left: bool = False


@dataclass(frozen=True)
class Guide:
    """The whitepaper, and the file it is downloaded as."""

    title: str
    pages: int
    file: str
    topics: tuple[tuple[str, str], ...]


PLANS = {
    plan.key: plan
    for plan in (
        Plan(
            "free",
            "Free",
            0,
            10,
            "For finding out whether anybody reads it.",
            ("10 reports", "One source", "CSV export", "Read on any screen"),
        ),
        Plan(
            "team",
            "Team",
            2900,
            0,
            "For one team with one meeting a week.",
            ("Unlimited reports", "All sources", "Weekly delivery by email", "Notes in the margin"),
        ),
        Plan(
            "business",
            "Business",
            7900,
            0,
            "For several teams that should agree on the numbers.",
            ("Everything in Team", "Shared definitions", "Approval before sending", "Single sign-on"),
        ),
    )
}

PRODUCTS = {
    product.slug: product
    for product in (
        Product(
            "year-wall-chart",
            "Year wall chart",
            2400,
            "Fifty-two columns, one pen, the whole year at a glance.",
            "A sheet for the wall of the team's room. One column a week, wide enough for a mark and a word. People walk past it "
            "and know how the year is going, which is more than most dashboards achieve.",
            ("A1, 84 × 59 cm", "Heavy uncoated paper", "Folded flat or rolled"),
            "wall-chart.svg",
        ),
        Product(
            "desk-display",
            "Desk display",
            18900,
            "One number from your latest report, on electronic paper.",
            "Pick one number of one report. The display shows it, with last week's beside it, and changes every Monday. No glow, "
            "no notifications, three months on a charge.",
            ("7.5 inch electronic paper", "Wireless, USB-C to charge", "Beech frame"),
            "desk-display.svg",
            few_left=True,
        ),
        Product(
            "report-binder",
            "Report binder",
            1850,
            "For the meeting that still likes paper. Holds a quarter.",
            "Thirteen weekly reports, one after the other, with a tab for each month. The spine has a window for the quarter. "
            "It lies flat when open, so that two people can point at the same line.",
            ("A4, two rings", "Thirteen dividers", "Linen cover"),
            "report-binder.svg",
        ),
        Product(
            "chart-stencil",
            "Chart stencil",
            900,
            "Draw it first. Bars, lines and dots in brushed steel.",
            "A chart that does not work as a sketch does not work on a screen either. The stencil has three bar widths, a grid "
            "of dots and a ruler in millimetres, and fits in the binder.",
            ("20 × 9 cm", "Stainless steel", "Rounded corners"),
            "chart-stencil.svg",
        ),
    )
}

GUIDE = Guide(
    "The report people read",
    6,
    "the-report-people-read.pdf",
    (
        ("One page, or nobody", "Why the second page is where readers leave, and what to move into the appendix."),
        ("Name the number", "Writing a definition in one sentence that two departments can sign."),
        ("Say what changed", "A template for the three lines above the chart: what, since when, so what."),
        ("Stop sending it", "How to find the reports that nobody would miss, and end them kindly."),
    ),
)

SOURCES = {"sales": "Sales", "support": "Support", "website": "Website", "finance": "Finance"}
