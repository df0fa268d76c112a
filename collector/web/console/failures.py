"""What the console shows where something went wrong: a page of its own for each error, and where a later try may help, when."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError

from collector.domain.secrets import KeyMissing
from collector.ingest.failures import log_failure
from collector.storage.faults import is_unavailable
from collector.storage.writer import Overloaded
from collector.web.api.errors import RETRY_AFTER, request_id

_EXPLAINED = {
    400: "That request could not be read.",
    403: "This request did not come from the console itself, so nothing was changed. Go back, reload the page and try again.",
    404: "There is no such page on this site. The link may be old, or belong to another site.",
    405: "This address does not take requests of that kind.",
    409: "That cannot be done as things are by now. Go back, reload the page and look again.",
    413: "That is more than is taken at once.",
}


def register(bp: Blueprint) -> None:
    """Add the pages to the console."""

    @bp.errorhandler(HTTPException)
    def explain(error: HTTPException) -> ResponseReturnValue:
        """Show an error as a page of the console."""
        status = error.code or 500
        if error.response is not None or status < 400:
            return error.get_response()
        return _page(status, error.name, _explained(status)), status

    @bp.errorhandler(Overloaded)
    def explain_overload(_error: Overloaded) -> ResponseReturnValue:
        """Ask to come again: nothing can be written just now."""
        return _not_now("Too much waits to be written just now. Wait a few seconds, then try again.")

    @bp.errorhandler(KeyMissing)
    def explain_missing_key(error: KeyMissing) -> ResponseReturnValue:
        """Say what this collector lacks."""
        return _not_now(f"{error}.", "Not here")

    @bp.errorhandler(Exception)
    def explain_failure(error: Exception) -> ResponseReturnValue:
        """Ask to come again where the database is at fault; anything else is a fault of ours. Either way the log says what."""
        log_failure(request_id(), error)
        if is_unavailable(error):
            return _not_now("The database cannot be used just now. Wait a few seconds, then try again.")
        return _page(500, InternalServerError().name, _explained(500)), 500


def _page(status: int, name: str, text: str) -> str:
    return render_template("error.html", status=status, name=name, text=text)


def _not_now(text: str, name: str = "Not now") -> ResponseReturnValue:
    return _page(503, name, text), 503, [RETRY_AFTER]


def _explained(status: int) -> str:
    """Return what to say of an error; where the fault is ours, under which id the log tells more."""
    if status < 500:
        return _EXPLAINED.get(status, _EXPLAINED[400])
    return f"Something went wrong on our side. Try again; if it stays, the log of the collector says why, at request {request_id()}."
