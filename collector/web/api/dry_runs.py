"""Simulations of messages: POST /auto_messages/{id}/dry_run; one of them read and cancelled."""

from typing import Any

from flask import Response, jsonify

from collector.domain import rewinding, simulation_runs
from collector.domain.auto_messages import AutoMessage
from collector.domain.simulation_runs import AlreadyRunning, Run
from collector.domain.sites import Site
from collector.services import Services
from collector.simulations import Busy
from collector.storage.database import Connection
from collector.values.errors import Problem, Reason, problem
from collector.values.fields import shown
from collector.values.text import storable
from collector.web.api.body import read_object, unknown_key
from collector.web.api.errors import RETRY_AFTER
from collector.web.api.views import Route

MOST_DAYS = 90


def start(services: Services, site: Site, message_id: str) -> tuple[Response, int]:
    """Begin to simulate a message over the last days: 202 and the run."""
    body = read_object(services)
    unknown = unknown_key(body, frozenset({"days"}))
    if unknown is not None:
        raise problem(400, Reason.FIELD_UNKNOWN, unknown)
    days = clean_days(services, body.get("days"))
    with services.database.read() as connection:
        message = _message(services, connection, site, message_id)
    return jsonify(begin(services, site, message, days).as_json()), 202


def index(services: Services, site: Site, message_id: str) -> Response:
    """List the runs of a message that are kept, the newest first."""
    with services.database.read() as connection:
        message = _message(services, connection, site, message_id)
        data = [run.as_json() for run in simulation_runs.of_message(connection, site.id, message.id, services.clock())]
    return jsonify(type="list", data=data, total_count=len(data))


def show(services: Services, site: Site, message_id: str, run_id: str) -> Response:
    """Give out how far a run is, and what came of it."""
    return jsonify(_run(services, site, message_id, run_id).as_json())


def cancel(services: Services, site: Site, message_id: str, run_id: str) -> Response:
    """End a run; one that has ended stays as it is."""
    if _run(services, site, message_id, run_id).state == simulation_runs.RUNNING:
        services.simulations.cancel(site.id, run_id)
    return jsonify(_run(services, site, message_id, run_id).as_json())


def clean_days(services: Services, raw: Any) -> int:
    """Return for how many days to simulate: as many as there are, unless it is said.

    Raises:
        Problem: 400.
    """
    most = min(MOST_DAYS, services.settings.retention_days)
    if raw is None:
        return most
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= most:
        raise problem(400, Reason.FIELD_INVALID, "days", f"expected whole days from 1 to {most}, not {shown(raw)}")
    return raw


def begin(services: Services, site: Site, message: AutoMessage, days: int) -> Run:
    """Begin to simulate a message.

    Raises:
        Problem: 422, its past cannot be told; 409, the site has a simulation under way; 503, the collector has too many.
    """
    with services.database.read() as connection:
        refusal = rewinding.refusal(connection, site.id, message)
    if refusal is not None:
        raise Problem(422, [refusal])
    try:
        return services.simulations.start(site.id, message, days)
    except AlreadyRunning:
        raise problem(409, Reason.SIMULATION_RUNNING) from None
    except Busy:
        raise problem(503, Reason.OVERLOADED, None, "Other sites' simulations are under way; try again later.", [RETRY_AFTER]) from None


def _message(services: Services, connection: Connection, site: Site, message_id: str) -> AutoMessage:
    found = services.auto_messages.get(connection, site.id, message_id) if storable(message_id) else None
    if found is None:
        raise problem(404, Reason.NOT_FOUND, None, "Auto message not found")
    return found


def _run(services: Services, site: Site, message_id: str, run_id: str) -> Run:
    with services.database.read() as connection:
        message = _message(services, connection, site, message_id)
        found = simulation_runs.get(connection, site.id, message.id, run_id, services.clock()) if storable(run_id) else None
    if found is None:
        raise problem(404, Reason.NOT_FOUND, None, "Simulation not found")
    return found


ROUTES: tuple[Route, ...] = (
    ("POST", "/auto_messages/<message_id>/dry_run", start),
    ("GET", "/auto_messages/<message_id>/dry_run", index),
    ("GET", "/auto_messages/<message_id>/dry_run/<run_id>", show),
    ("DELETE", "/auto_messages/<message_id>/dry_run/<run_id>", cancel),
)
