"""The public pages: home, pricing, the guide and the contact form."""

import re

from flask import Blueprint, Response, redirect, render_template, request, send_from_directory, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from demo_site.catalogue import GUIDE, PRODUCTS
from demo_site.leadlight import call_on_next_page

blueprint = Blueprint("pages", __name__)

EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
TOPICS = {"sales": "Buying Plainsheet", "help": "Help with a report", "other": "Something else"}
SHORTEST_MESSAGE = 20


@blueprint.get("/")
def home() -> str:
    """What Plainsheet is."""
    return render_template("home.html", guide=GUIDE, products=list(PRODUCTS.values())[:3])


@blueprint.get("/pricing")
def pricing() -> str:
    """The plans."""
    return render_template("pricing.html")


@blueprint.get("/whitepaper")
def whitepaper() -> str:
    """The guide, described."""
    link = url_for("pages.whitepaper_file", _external=True)
    metadata = {"title": GUIDE.title, "whitepaper": {"url": link, "value": GUIDE.file}, "pages": GUIDE.pages, "gated": False}
    return render_template("whitepaper.html", guide=GUIDE, metadata=metadata)


@blueprint.get("/whitepaper/download")
def whitepaper_file() -> Response:
    """The guide itself."""
    return send_from_directory(str(blueprint.root_path) + "/static", GUIDE.file, as_attachment=True)


@blueprint.route("/contact", methods=["GET", "POST"])
def contact() -> BaseResponse | tuple[str, int] | str:
    """The contact form; what it refuses it says at the field, and tells Leadlight once."""
    if request.method == "GET":
        return render_template("contact.html", topics=TOPICS, form={}, errors={})
    form = {key: request.form.get(key, "").strip() for key in ("name", "email", "topic", "message")}
    errors = contact_errors(form)
    if not errors:
        session.pop("contact_attempts", None)
        call_on_next_page("track", "sent-contact-form", {"topic": TOPICS[form["topic"]], "length": len(form["message"])})
        return redirect(url_for("pages.contact_sent"), 303)
    session["contact_attempts"] = session.get("contact_attempts", 0) + 1
    field, problem = next(iter(errors.items()))
    call_on_next_page(
        "track",
        "form-error",
        # The names of fields and what is wrong with them, never what people typed.
        {
            "form": "contact",
            "field": field,
            "problem": problem,
            "problems": len(errors),
            "attempts": session["contact_attempts"],
            "page_link": url_for("pages.contact", _external=True),
        },
    )
    return render_template("contact.html", topics=TOPICS, form=form, errors=errors), 422


def contact_errors(form: dict[str, str]) -> dict[str, str]:
    """What is wrong with the form, by field, in the order of the page."""
    errors: dict[str, str] = {}
    if not form["name"]:
        errors["name"] = "Please enter your name."
    if not EMAIL.fullmatch(form["email"]):
        errors["email"] = "Please enter an email address, such as you@example.com."
    if form["topic"] not in TOPICS:
        errors["topic"] = "Please choose a topic."
    if len(form["message"]) < SHORTEST_MESSAGE:
        errors["message"] = f"Please write at least {SHORTEST_MESSAGE} characters, so that we can help at once."
    return errors


@blueprint.get("/contact/sent")
def contact_sent() -> str:
    """Where the contact form ends."""
    return render_template("contact_sent.html")
