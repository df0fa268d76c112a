"""The two addresses the tracker speaks to, `collect` and `claim`, answered from a WSGI environment.

`Responder` decides everything. The Flask views call it, and so does `BrowserEntry`, which stands in front of Flask and saves its
cost where every page view pays it; one test suite runs on both. CORS belongs to these paths alone: the answer names the exact
origin, whatever the status, so that the tracker can read a refusal.
"""

import logging
import zlib
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Blueprint, Response, request

from collector.ingest.claims import claim
from collector.ingest.offers import Offers
from collector.ingest.pipeline import collect
from collector.ingest.senders import Headers
from collector.services import Services
from collector.values.errors import Problem, Reason, problem
from collector.values.ids import new_nonce

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
PATHS = ("/collect", "/claim")
_REASONS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Responder:
    """Answers the tracker's requests for one installation."""

    def __init__(self, services: Services) -> None:
        self._services = services
        offers = Offers(services)
        self._work: dict[str, tuple[Callable[[bytes, Headers], Any], int]] = {
            "/collect": (lambda body, headers: collect(services, offers, body, headers), 202),
            "/claim": (lambda body, headers: claim(services, body, headers), 200),
        }

    def __call__(self, path: str, environ: "WSGIEnvironment") -> Answer:
        """Answer a request to one of PATHS."""
        work, status = self._work[path]
        return _respond(work, status, self._services.settings.body_limit, environ)


def _respond(work: Callable[[bytes, Headers], Any], status: int, limit: int, environ: "WSGIEnvironment") -> Answer:
    cors = _cors(environ.get("HTTP_ORIGIN"))
    method = environ["REQUEST_METHOD"]
    if method == "OPTIONS":
        preflight = [("Access-Control-Allow-Methods", "POST"), ("Access-Control-Allow-Headers", "content-type")]
        return Answer(204, [*cors, *preflight, ("Access-Control-Max-Age", "86400")], b"")
    headers: list[tuple[str, str]] = []
    try:
        _check_method(method)
        body = _encode(work(read_body(environ, limit), _headers(environ)))
    except Problem as error:
        status, headers = error.status, error.headers
        body = _encode(error.as_json(new_nonce()))
    except Exception:  # the last line of defence: a defect of ours must still be answered in the one shape
        request_id = new_nonce()
        log.exception("request %s failed", request_id)
        status = 500
        body = _encode(problem(500, Reason.INTERNAL).as_json(request_id))
    common = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    return Answer(status, [*common, ("X-Content-Type-Options", "nosniff"), *cors, *headers], body)


class BrowserEntry:
    """A WSGI application that answers the tracker's addresses itself and leaves the rest to Flask."""

    def __init__(self, respond: Responder, others: "WSGIApplication") -> None:
        self._respond = respond
        self._others = others

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI asks for."""
        path = environ["PATH_INFO"]
        if path not in PATHS:
            return self._others(environ, start_response)
        answer = self._respond(path, environ)
        start_response(_REASONS[answer.status], answer.headers)
        return [answer.body]


def blueprint(respond: Responder) -> Blueprint:
    """Return the Flask views of the same addresses, for any WSGI server."""
    bp = Blueprint("browser", __name__)

    def view() -> Response:
        """Answer the tracker."""
        answer = respond(request.path, request.environ)
        return Response(answer.body, answer.status, answer.headers)

    for path in PATHS:
        bp.add_url_rule(
            path, path[1:], view, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], provide_automatic_options=False
        )
    return bp


def read_body(environ: "WSGIEnvironment", limit: int) -> bytes:
    """Return the body, inflated where it is gzip or deflate.

    Raises:
        Problem: 413 where it is larger than `limit` bytes, 400 where it does not inflate.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise problem(413, Reason.BODY_TOO_LARGE, None, f"expected at most {limit} bytes")
    wanted = int(length) if length.isascii() and length.isdigit() else limit + 1
    body: bytes = environ["wsgi.input"].read(wanted)
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("gzip", "deflate"):
        inflater = zlib.decompressobj(wbits=47)  # either format, by its header
        try:
            body = inflater.decompress(body, limit + 1)
        except zlib.error:
            raise problem(400, Reason.BODY_INVALID, None, f"the body is not {encoding}") from None
    elif encoding not in ("", "identity"):
        raise problem(415, Reason.BODY_INVALID, None, "expected gzip, deflate or no Content-Encoding")
    if len(body) > limit:
        raise problem(413, Reason.BODY_TOO_LARGE, None, f"expected at most {limit} bytes")
    return body


def _check_method(method: str) -> None:
    if method != "POST":
        raise problem(405, Reason.METHOD_NOT_ALLOWED, None, "expected POST", [("Allow", "POST, OPTIONS")])


def _headers(environ: "WSGIEnvironment") -> Headers:
    return Headers(
        origin=environ.get("HTTP_ORIGIN"),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        gpc=environ.get("HTTP_SEC_GPC", "").strip() == "1",
    )


def _cors(origin: str | None) -> list[tuple[str, str]]:
    if origin is None:
        return [("Vary", "Origin")]
    return [("Vary", "Origin"), ("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true")]
