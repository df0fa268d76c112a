"""Signing in and out of the console."""

from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import accounts
from collector.domain.accounts import Account
from collector.services import Services
from collector.values.clock import MINUTE
from collector.web.addresses import Addresses, subscriber
from collector.web.api.errors import RETRY_AFTER
from collector.web.console import cookies
from collector.web.console.attempts import WINDOW, Attempts

_WRONG = "That email and password do not belong together."
_TOO_MANY = f"Too many attempts for this email. Wait {WINDOW // MINUTE} minutes, then try again."
_BUSY = "Many people are signing in right now. Try again in a moment."


class SignIn:
    """The views of signing in; they share the memory of attempts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._attempts = Attempts(services.clock, services.settings.console_threads)
        self._addresses = Addresses.of(services.settings)

    def register(self, bp: Blueprint) -> None:
        """Add the views to the console."""
        bp.add_url_rule("/sign-in", "sign_in", self.form, methods=["GET"])
        bp.add_url_rule("/sign-in", "sign_in_now", self.submit, methods=["POST"])
        bp.add_url_rule("/sign-out", "sign_out", self.sign_out, methods=["POST"])

    def form(self) -> ResponseReturnValue:
        """Show the form, or go on where somebody is signed in already."""
        wanted = safe_next(request.args.get("next", ""))
        if cookies.account_of(request, self._services) is not None:
            return redirect(wanted)
        return self._page(wanted)

    def submit(self) -> ResponseReturnValue:
        """Check the credentials. What is wrong with them is not told."""
        email, password = request.form.get("email", ""), request.form.get("password", "")
        wanted = safe_next(request.form.get("next", ""))
        if cookies.kind(request, self._services) is None:
            return self._page(wanted), 400
        key = accounts.clean_email(email)[: accounts.LONGEST_EMAIL]
        address = self._address()
        if not self._attempts.allow(key, address):
            return self._page(wanted, email, _TOO_MANY), 429
        with self._attempts.turn() as taken:
            if not taken:
                self._attempts.take_back(key, address)
                return self._page(wanted, email, _BUSY), 503, [RETRY_AFTER]
            account = self._authenticate(email, password)
        if account is None:
            return self._page(wanted, email, _WRONG), 401
        self._attempts.succeeded(key, address)
        response = redirect(wanted, 303)
        cookies.start(response, request, self._services, account)
        return response

    def sign_out(self) -> ResponseReturnValue:
        """End the session in this browser."""
        response = redirect(url_for("console.sign_in"), 303)
        cookies.end(response, request, self._services)
        return response

    def _address(self) -> str:
        """Return where the request comes from, or what the server calls the other end where that is no address."""
        peer = request.remote_addr or ""
        address = self._addresses.client(peer, lambda: request.environ.get("HTTP_X_FORWARDED_FOR", ""))
        return peer if address is None else subscriber(address)

    def _authenticate(self, email: str, password: str) -> Account | None:
        with self._services.database.read() as connection:
            return accounts.authenticate(connection, email, password)

    def _page(self, wanted: str, email: str = "", error: str = "") -> str:
        refused = cookies.kind(request, self._services) is None
        return render_template("sign_in.html", next=wanted, email=email, error=error, refused=refused)


def safe_next(text: str) -> str:
    """Return where to go after signing in: the address asked for where it lies within the console, else its home.

    Backslashes and control characters bend an address in browsers; `//host` leads elsewhere; `..` is followed before it is used.
    """
    home = url_for("console.home")
    prefix = home.rstrip("/")
    odd = "\\" in text or any(ord(sign) < 33 or ord(sign) == 127 for sign in text)
    if odd or not (text == prefix or text.startswith(f"{prefix}/")):
        return home
    parts = urlsplit(text)
    if (
        parts.scheme
        or parts.netloc
        or ".." in parts.path
        or "%2e" in parts.path.lower()
        or parts.path.startswith(url_for("console.sign_in"))
    ):
        return home
    return text
