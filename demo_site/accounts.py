"""Signing up, in and out, and how the other pages find the account of a request."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from flask import Blueprint, current_app, g, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from demo_site.catalogue import PLANS
from demo_site.config import SiteConfig
from demo_site.leadlight import call_on_next_page
from demo_site.pages import EMAIL
from demo_site.store import EmailTakenError, Store, User

blueprint = Blueprint("accounts", __name__)

SHORTEST_PASSWORD = 8

P = ParamSpec("P")
R = TypeVar("R")


def config() -> SiteConfig:
    """The settings of the site that answers this request."""
    return cast(SiteConfig, current_app.extensions["demo_config"])


def store() -> Store:
    """The accounts and reports of the site that answers this request."""
    return cast(Store, current_app.extensions["demo_store"])


def signed_in(view: Callable[P, R]) -> Callable[P, R | Response]:
    """Send whoever is not signed in to the sign-in page, and back afterwards."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
        if g.user is None:
            return redirect(url_for("accounts.sign_in", next=request.full_path.rstrip("?")), 303)
        return view(*args, **kwargs)

    return guarded


def _start_session(user: User) -> Response:
    """Remember the account in a fresh session; cart and pending calls of the visitor stay, as the visitor is the same."""
    session["user_id"] = user.id
    return redirect(_next_page(), 303)


def _next_page() -> str:
    """Where to go after signing in: a path of this site, never an address somebody put into a link."""
    wanted = request.form.get("next", "")
    parts = urlsplit(wanted.replace("\\", "/"))
    is_local = wanted.startswith("/") and not parts.scheme and not parts.netloc
    return wanted if is_local else url_for("workspace.reports")


@blueprint.route("/sign-up", methods=["GET", "POST"])
def sign_up() -> Response | str | tuple[str, int]:
    """Make an account. Everybody starts on the free plan; who came for another is shown it next."""
    if request.method == "GET":
        plan = request.args.get("plan", "")
        wanted = url_for("workspace.plan", plan=plan) if plan in PLANS and plan != "free" else ""
        return render_template("sign_up.html", form={"next": wanted}, errors={})
    form = {key: request.form.get(key, "").strip() for key in ("name", "email", "next")}
    password = request.form.get("password", "")
    newsletter = request.form.get("newsletter") == "yes"
    errors: dict[str, str] = {}
    if not form["name"]:
        errors["name"] = "Please enter your name."
    if not EMAIL.fullmatch(form["email"]):
        errors["email"] = "Please enter an email address, such as you@example.com."
    if len(password) < SHORTEST_PASSWORD:
        errors["password"] = f"Please choose a password of at least {SHORTEST_PASSWORD} characters."
    if not errors:
        try:
            user = store().add_user(form["email"], form["name"], password, newsletter=newsletter)
        except EmailTakenError:
            errors["email"] = "There is an account with this email address. Sign in instead?"
        else:
            call_on_next_page(
                "track",
                "signed-up",
                {
                    "plan": PLANS[user.plan].name,
                    "newsletter": newsletter,
                    "signed_up_at": user.created_at,
                    "invited": False,
                    "workspace": url_for("workspace.reports", _external=True),
                },
            )
            return _start_session(user)
    field, problem = next(iter(errors.items()))
    call_on_next_page("track", "form-error", {"form": "sign-up", "field": field, "problem": problem, "problems": len(errors)})
    return render_template("sign_up.html", form=form, errors=errors), 422


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response | str | tuple[str, int]:
    """Sign in to an account."""
    if request.method == "GET":
        return render_template("sign_in.html", form={"next": request.args.get("next", "")}, errors={})
    form = {key: request.form.get(key, "").strip() for key in ("email", "next")}
    user = store().sign_in(form["email"], request.form.get("password", ""))
    if user is None:
        errors = {"password": "Email and password do not match an account here."}
        return render_template("sign_in.html", form=form, errors=errors), 422
    return _start_session(user)


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Sign out, and have the next page forget the visitor, so that whoever comes next starts as somebody new.

    The reset is made by the page after this one and not on the way out: a call left behind on a closing page could be lost.
    """
    session.clear()
    call_on_next_page("reset")
    return redirect(url_for("pages.home"), 303)
