"""Whether this process lives (`/healthz`) and whether it can take traffic (`/readyz`)."""

from flask import Blueprint, Response, jsonify

from collector.services import Services
from collector.storage.database import is_unavailable
from collector.storage.migrations import steps


def blueprint(services: Services) -> Blueprint:
    """Return the health views."""
    bp = Blueprint("health", __name__)

    @bp.get("/healthz")
    def healthz() -> Response:
        """Say that the process answers."""
        return jsonify(status="ok")

    @bp.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """Say whether the database answers, its schema is this version's, and the writer keeps up."""
        checks = {
            "database": False,
            "schema": False,
            "writer": services.writer.alive() and services.writer.waiting() < services.settings.queue_limit,
        }
        try:
            with services.database.read() as connection:
                applied = {row[0] for row in connection.rows("SELECT version FROM schema_migrations")}
            checks["database"] = True
            checks["schema"] = applied >= {number for number, _ in steps()}
        except Exception as error:
            if not is_unavailable(error):
                raise
        ready = all(checks.values())
        return jsonify(status="ok" if ready else "unavailable", checks=checks), 200 if ready else 503

    return bp
