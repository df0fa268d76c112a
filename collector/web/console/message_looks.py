"""The site's colour in messages: chosen, looked at on light and on dark cards, and taken back."""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from collector.services import Services
from collector.values.colours import GROUNDS, brand, clean_colour, contrast
from collector.values.errors import Refusal
from collector.web.console import current
from collector.web.console.rule_form import Wrong

_LONGEST = 40


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages/looks")
    def messages_looks() -> ResponseReturnValue:
        """Show the colour, and ask for another."""
        return _form(current.site().settings.brand_color or "")

    @bp.post("/messages/looks")
    def messages_looks_save() -> ResponseReturnValue:
        """Set the colour; left empty, the messenger's own."""
        site, text = current.site(), current.field("colour", _LONGEST)
        try:
            colour = clean_colour(text) if text else None
        except Refusal as refusal:
            return _form(text, [Wrong(f"{refusal.message[0].upper()}{refusal.message[1:]}.", "", "colour")]), 400
        services.writer.run(site.id, lambda tx: services.sites.change(tx, site.id, brand_color=colour))
        services.sites.forget()
        return redirect(url_for("console.messages_looks", saved=1), 303)


def _form(text: str, wrong: list[Wrong] | None = None) -> str:
    made = None if wrong or not text else brand(text)
    samples = [] if made is None else [(scheme, getattr(made, scheme), GROUNDS[scheme][0]) for scheme in GROUNDS]
    ratio = 0.0 if made is None else contrast(made.fill, made.on)
    return render_template("message_looks.html", text=text, wrong=wrong or [], brand=made, samples=samples, ratio=ratio)
