"""Errors as answers: the one JSON shape, or a short page where people look. Logs hold the request id and code places, no values."""

from flask import Response, g, has_request_context, jsonify, request
from markupsafe import escape
from werkzeug.exceptions import HTTPException

from collector.domain.names import NameGone
from collector.ingest.failures import log_failure
from collector.storage.faults import is_unavailable
from collector.storage.writer import Overloaded
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.ids import new_nonce

RETRY_AFTER = ("Retry-After", "5")
_REASONS = {
    401: Reason.UNAUTHORIZED,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.BODY_TOO_LARGE,
    503: Reason.OVERLOADED,
}


def request_id() -> str:
    """Return the id of this request, the same in its header, its body and the log."""
    if not has_request_context():
        return new_nonce()
    if "request_id" not in g:
        g.request_id = new_nonce()
    return str(g.request_id)


def finish(response: Response) -> Response:
    """Add what every answer of the API carries."""
    response.headers["X-Request-Id"] = request_id()
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def answer_problem(error: Problem) -> Response:
    """Answer in the one shape."""
    response = jsonify(error.as_json(request_id()))
    response.status_code = error.status
    for name, value in error.headers:
        response.headers[name] = value
    return finish(response)


def answer_refusal(error: Refusal) -> Response:
    """Answer a body of which one field is refused."""
    return answer_problem(Problem(400, [error]))


def answer_http_error(error: HTTPException) -> Response:
    """Answer an error of HTTP itself: JSON in the one shape, a short page below `/console`."""
    status = error.code or 500
    kept = [(name, value) for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")]
    if is_console(request.path):
        return Response(short_page(status, error.name), status, kept, content_type="text/html; charset=utf-8")
    reason = _REASONS.get(status, Reason.INTERNAL if status >= 500 else Reason.BODY_INVALID)
    message = None if status in _REASONS else error.name
    return answer_problem(problem(status, reason, None, message, kept))


def answer_exception(error: Exception) -> Response:
    """Answer what nobody expected: 503 where a retry helps, else 500 and a line in the log."""
    if isinstance(error, Overloaded | NameGone):
        return answer_problem(problem(503, Reason.OVERLOADED, headers=[RETRY_AFTER]))
    log_failure(request_id(), error)
    return answer_problem(unexpected(error))


def unexpected(error: Exception) -> Problem:
    """Return what to answer to what nobody expected: 503 where a retry helps, else 500."""
    return problem(503, Reason.OVERLOADED, headers=[RETRY_AFTER]) if is_unavailable(error) else problem(500, Reason.INTERNAL)


def is_console(path: str) -> bool:
    """Say whether people look at what an address answers."""
    return path == "/console" or path.startswith("/console/")


def short_page(status: int, name: str) -> str:
    """Return the page that says a status and no more."""
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{status}</title><p>{status} {escape(name)}</p></html>'
