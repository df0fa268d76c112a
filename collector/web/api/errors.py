"""Errors as answers: the one JSON shape, or a short page where people look."""

from flask import Response, jsonify, request
from markupsafe import escape
from werkzeug.exceptions import HTTPException

from collector.values.errors import Reason, problem
from collector.values.ids import new_nonce

_REASONS = {
    401: Reason.UNAUTHORIZED,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.BODY_TOO_LARGE,
}


def answer_http_error(error: HTTPException) -> Response:
    """Answer an error of HTTP itself: JSON in the one shape, a short page below `/console`."""
    status = error.code or 500
    if request.path.startswith("/console"):
        return Response(f"<!doctype html><title>{status}</title><p>{escape(error.name)}", status, mimetype="text/html")
    reason = _REASONS.get(status, Reason.INTERNAL if status >= 500 else Reason.BODY_INVALID)
    response = jsonify(problem(status, reason).as_json(new_nonce()))
    response.status_code = status
    return response
