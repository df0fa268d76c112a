"""The REST interface under `/api`: one file per resource, and the one place that turns errors into answers."""

from flask import Blueprint

from collector.services import Services
from collector.web.api.errors import answer_http_error

__all__ = ["answer_http_error", "blueprint"]


def blueprint(services: Services) -> Blueprint:
    """Return the views of the REST interface of one installation."""
    return Blueprint("api", __name__)
