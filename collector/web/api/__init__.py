"""The REST interface under `/api`: one file per resource, and the one place that turns errors into answers."""

from flask import Blueprint
from werkzeug.exceptions import HTTPException

from collector.services import Services
from collector.values.errors import Problem, Refusal
from collector.web.api import (
    auto_messages,
    batch,
    contacts,
    dry_runs,
    event_rules,
    events,
    explain,
    export,
    me,
    merges,
    message_actions,
    rankings,
    search,
    segments,
    summaries,
    timeline,
    why,
)
from collector.web.api.errors import answer_exception, answer_http_error, answer_problem, answer_refusal, finish, request_id
from collector.web.api.views import authenticate, bind

__all__ = ["answer_exception", "answer_http_error", "blueprint", "request_id"]

_RESOURCES = (
    me,
    search,
    segments,
    contacts,
    timeline,
    explain,
    why,
    export,
    merges,
    events,
    rankings,
    batch,
    summaries,
    event_rules,
    auto_messages,
    message_actions,
    dry_runs,
)


def blueprint(services: Services) -> Blueprint:
    """Return the views of the REST interface of one installation."""
    bp = Blueprint("api", __name__)

    @bp.before_request
    def check_token() -> None:
        """Let nobody in without a token."""
        authenticate(services)

    bp.after_request(finish)
    bp.register_error_handler(Problem, answer_problem)
    bp.register_error_handler(Refusal, answer_refusal)
    bp.register_error_handler(HTTPException, answer_http_error)
    bp.register_error_handler(Exception, answer_exception)
    for resource in _RESOURCES:
        for method, path, view in resource.ROUTES:
            endpoint = f"{resource.__name__.rpartition('.')[2]}_{view.__name__}"
            bp.add_url_rule(path, endpoint, bind(services, view), methods=[method])
    return bp
