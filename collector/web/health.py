"""Whether this process lives (`/healthz`) and whether it can take traffic (`/readyz`)."""

from flask import Blueprint, Response, jsonify

from collector.domain import rounds
from collector.services import Services
from collector.storage.faults import is_unavailable
from collector.storage.migrations import steps
from collector.values.clock import EARLIEST


def blueprint(services: Services) -> Blueprint:
    """Return the health views."""
    bp = Blueprint("health", __name__)

    @bp.get("/healthz")
    def healthz() -> Response:
        """Say that the process answers."""
        return jsonify(status="ok")

    @bp.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """Say whether the database answers and takes commits, its schema is this version's, its secrets can be read, the writer keeps up.

        What it says of upkeep makes nobody less ready: `late` where no round was done whole for two days. Nor do messages: of how many
        sites they rest in this process, because deciding them failed or took too long.
        """
        upkeep: dict[str, object] = {}
        messages = {"sites_resting": len(services.breaker.resting())}
        checks = {
            "database": False,
            "schema": False,
            "secret_key": False,
            "writer": services.writer.alive() and services.writer.waiting() < services.settings.queue_limit,
        }
        try:
            with services.lookups.read() as connection:
                applied = {row[0] for row in connection.rows("SELECT version FROM schema_migrations")}
                checks["database"] = True
                checks["schema"] = applied >= {number for number, _ in steps()}
                checks["secret_key"] = services.sites.are_readable(connection)
                if checks["schema"]:
                    last = rounds.last_whole(connection)
                    upkeep["last_round_at"] = None if last is None else last // 1_000
                    upkeep["late"] = rounds.is_late(connection, services.clock())
        except Exception as error:
            if not is_unavailable(error):
                raise
        is_set = services.clock() >= EARLIEST  # else no event is taken
        checks["commits"] = all(checks.values()) and is_set and services.writer.takes(rounds.try_to_write)
        ready = all(checks.values())
        return jsonify(status="ok" if ready else "unavailable", checks=checks, upkeep=upkeep, messages=messages), 200 if ready else 503

    return bp
