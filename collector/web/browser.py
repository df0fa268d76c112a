"""The addresses the tracker speaks to: `collect`, `claim`, `handover` and `handover/take`.

`Responder` decides everything, from a request that is already in memory to a whole answer. Three entries call it: the Flask view,
`WsgiEntry` in front of Flask under any WSGI server, and the RSGI entry (web/rsgi) under granian. One test suite runs on all. CORS
belongs to these paths alone: the answer names the exact origin, whatever the status, so that the tracker can read a refusal.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Blueprint, Response, request

from collector.ingest.claims import claim
from collector.ingest.effects import Exchange, Record, Write
from collector.ingest.failures import log_failure
from collector.ingest.handovers import hand_over, take_over
from collector.ingest.offers import Offers
from collector.ingest.pipeline import collect
from collector.ingest.senders import Headers
from collector.services import Services
from collector.storage.faults import is_unavailable, require_set
from collector.values.errors import Problem, Reason, problem
from collector.values.ids import new_nonce
from collector.web.addresses import Addresses
from collector.web.bodies import ROOM, Missing, Room, decoded

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATHS = ("/collect", "/claim", "/handover", "/handover/take")

_PART = 65_536  # bytes that are given to be inflated at once, since what is left of them is copied each time; and most that come of them

_encode = msgspec.json.Encoder().encode
_REASONS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class TrackerRequest(msgspec.Struct, frozen=True):
    """A request of the tracker. `body` is as it was sent, or why there is none."""

    method: str
    headers: Headers
    encoding: str
    body: bytes | Missing
    room: Room | None = None
    """Whom to ask for room for what becomes of it; None where nobody counts."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Responder:
    """Answers the tracker's requests for one installation."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.limit = services.settings.body_limit
        self.addresses = Addresses.of(services.settings)
        offers = Offers(services)
        self._work: dict[str, tuple[Callable[[bytes, Headers], Exchange[Any]], int]] = {
            "/collect": (lambda body, headers: collect(services, offers, body, headers), 202),
            "/claim": (lambda body, headers: claim(services, body, headers), 200),
            "/handover": (lambda body, headers: hand_over(services, body, headers), 200),
            "/handover/take": (lambda body, headers: take_over(services, body, headers), 200),
        }

    def exchange(self, path: str, asked: TrackerRequest) -> Exchange[Answer]:
        """Answer a request to one of PATHS; yields what it waits for."""
        cors = _cors(asked.headers.origin)
        if asked.method == "OPTIONS":
            return Answer(204, [*cors, *_PREFLIGHT], b"")
        work, status = self._work[path]
        headers: list[tuple[str, str]] = []
        try:
            _check_method(asked.method)
            require_set(self.services.clock())
            body = _encode((yield from work(_inflated(asked, self.limit), asked.headers)))
        except Problem as error:
            status, headers = error.status, error.headers
            body = _encode(error.as_json(new_nonce()))
        except Exception as error:  # the last line of defence: a defect of ours must still be answered in the one shape
            request_id = new_nonce()
            log_failure(request_id, error)
            status, code = (503, Reason.OVERLOADED) if is_unavailable(error) else (500, Reason.INTERNAL)
            headers = [("Retry-After", "5")] if status == 503 else []
            body = _encode(problem(status, code).as_json(request_id))
        return Answer(status, [*_COMMON, ("Content-Length", str(len(body))), *cors, *headers], body)

    def wait(self, path: str, asked: TrackerRequest) -> Answer:
        """Answer a request in this thread, which waits for what the request waits for."""
        exchange = self.exchange(path, asked)
        try:
            effect = next(exchange)
            while True:
                try:
                    if isinstance(effect, Record):
                        result = self.services.writer.record(effect.site, effect.payload, effect.size)
                    elif isinstance(effect, Write):
                        result = self.services.writer.run(effect.site, effect.work)
                    else:
                        result = effect.call()
                except Exception as error:
                    effect = exchange.throw(error)
                else:
                    effect = exchange.send(result)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


class WsgiEntry:
    """A WSGI application that answers the tracker's addresses itself and leaves the rest to Flask."""

    def __init__(self, responder: Responder, others: "WSGIApplication") -> None:
        self._responder = responder
        self._others = others

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI asks for."""
        path = environ["PATH_INFO"]
        if path not in PATHS:
            return self._others(environ, start_response)
        answer = self._responder.wait(path, from_environ(environ, self._responder.limit, self._responder.addresses))
        start_response(_REASONS[answer.status], answer.headers)
        return [answer.body]


def blueprint(responder: Responder) -> Blueprint:
    """Return the Flask views of the same addresses, for any WSGI server."""
    bp = Blueprint("browser", __name__)

    def view() -> Response:
        """Answer the tracker."""
        answer = responder.wait(request.path, from_environ(request.environ, responder.limit, responder.addresses))
        return Response(answer.body, answer.status, answer.headers)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    for path in PATHS:
        bp.add_url_rule(path, path[1:].replace("/", "_"), view, methods=methods, provide_automatic_options=False)
    return bp


def from_environ(environ: "WSGIEnvironment", limit: int, addresses: Addresses | None = None) -> TrackerRequest:
    """Return the request of a WSGI environment; at most one byte more than `limit` is read. Where it comes from is told by `addresses`."""
    length = environ.get("CONTENT_LENGTH") or ""
    known = int(length) if length.isascii() and length.isdigit() else None
    body: bytes | Missing = b""
    if known is not None:
        body = environ["wsgi.input"].read(known) if known <= limit else Missing.TOO_LARGE
    elif environ.get("wsgi.input_terminated"):  # a server that does not end the input would let us wait for ever
        body = environ["wsgi.input"].read(limit + 1)
    headers = Headers(
        origin=environ.get("HTTP_ORIGIN"),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        accept_language=environ.get("HTTP_ACCEPT_LANGUAGE", ""),
        gpc=environ.get("HTTP_SEC_GPC", "").strip() == "1",
        internal=addresses is not None
        and addresses.is_internal(environ.get("REMOTE_ADDR", ""), lambda: environ.get("HTTP_X_FORWARDED_FOR", "")),
    )
    return TrackerRequest(environ["REQUEST_METHOD"], headers, environ.get("HTTP_CONTENT_ENCODING", ""), body, environ.get(ROOM))


def read_body(environ: "WSGIEnvironment", limit: int) -> bytes:
    """Return the body of a WSGI environment, inflated.

    Raises:
        Problem: 413 where it is larger than `limit` bytes, 400 or 415 where it does not inflate, 503 where there is no room for it.
    """
    return _inflated(from_environ(environ, limit), limit)


def _inflated(asked: TrackerRequest, limit: int) -> bytes:
    """Return the body, inflated where it is gzip or deflate, with room for what its JSON takes once it is decoded.

    Raises:
        Problem: 413 where it is larger than `limit` bytes, 400 or 415 where it does not inflate, 503 where there is no room for it; or
            what kept it from arriving.
    """
    body, encoding = asked.body, asked.encoding.strip().lower()
    if body is Missing.TOO_LARGE:
        raise _too_large(limit)
    if isinstance(body, Missing):
        raise body.problem()
    if encoding in ("gzip", "deflate"):
        try:
            body = b"".join(_parts(body, encoding, limit + 1, asked.room))
        except zlib.error:
            raise problem(400, Reason.BODY_INVALID, None, f"the body is not {encoding}") from None
    elif encoding not in ("", "identity", "gzip", "deflate"):
        raise problem(415, Reason.BODY_INVALID, None, "expected gzip, deflate or no Content-Encoding")
    if len(body) > limit:
        raise _too_large(limit)
    if asked.room is not None and not asked.room(decoded(body)):
        raise Missing.NO_ROOM.problem()
    return body


def _too_large(limit: int) -> Problem:
    return problem(413, Reason.BODY_TOO_LARGE, None, f"expected at most {limit} bytes")


def _parts(body: bytes, encoding: str, most: int, room: Room | None) -> Iterator[bytes]:
    """Yield at most so many bytes of what a body inflates to, for each of which there was room.

    Raises:
        zlib.error: it does not inflate.
        Problem: 400 where it inflates to less and is not whole, or more follows it; 503 where there is no room.
    """
    inflater, rest = zlib.decompressobj(wbits=47), memoryview(body)  # either format, by its header
    while most > 0 and not inflater.eof:
        given: bytes | memoryview = inflater.unconsumed_tail
        if not given:
            given, rest = rest[:_PART], rest[_PART:]
        part = inflater.decompress(given, min(most, _PART))
        if part:
            if room is not None and not room(len(part)):
                raise Missing.NO_ROOM.problem()
            yield part
            most -= len(part)
        elif not rest:  # not before all of it is given: a part of it may be of headers alone
            break
    if most > 0 and (not inflater.eof or inflater.unused_data or rest):
        raise problem(400, Reason.BODY_INVALID, None, f"the {encoding} body is not whole, or more follows it")


def _check_method(method: str) -> None:
    if method != "POST":
        raise problem(405, Reason.METHOD_NOT_ALLOWED, None, "expected POST", [("Allow", "POST, OPTIONS")])


def _cors(origin: str | None) -> list[tuple[str, str]]:
    if origin is None:
        return [("Vary", "Origin")]
    return [("Vary", "Origin"), ("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true"), _EXPOSED]


_EXPOSED = ("Access-Control-Expose-Headers", "Retry-After")
_COMMON = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "content-type"),
    ("Access-Control-Max-Age", "86400"),
]
