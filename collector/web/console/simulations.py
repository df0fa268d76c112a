"""Simulations of a message: started, watched, cancelled, and what came of them."""

from flask import Blueprint, abort, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from collector.domain import simulation_runs
from collector.domain.auto_messages import AutoMessage
from collector.domain.simulation_runs import Run
from collector.services import Services
from collector.values.errors import Problem, Refusal
from collector.web.api import dry_runs
from collector.web.console import current
from collector.web.console.messages import find


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages/<public_id>/simulation")
    def message_simulations(public_id: str) -> ResponseReturnValue:
        """Say what a simulation does, offer one, and list those that are kept."""
        return _page(services, public_id)

    @bp.post("/messages/<public_id>/simulation")
    def message_simulate(public_id: str) -> ResponseReturnValue:
        """Begin one."""
        site, days = current.site(), current.field("days")
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
        try:
            chosen = dry_runs.clean_days(services, int(days) if days.isascii() and days.isdigit() and len(days) < 5 else days)
            run = dry_runs.begin(services, site, found, chosen)
        except Problem as problem:
            return _page(services, public_id, problem.errors), problem.status, problem.headers
        return redirect(url_for("console.message_simulation", public_id=public_id, run=run.id), 303)

    @bp.get("/messages/<public_id>/simulation/<run>")
    def message_simulation(public_id: str, run: str) -> ResponseReturnValue:
        """Show how far one is, or what came of it."""
        message, found = _find(services, public_id, run)
        return render_template("simulation.html", message=message, run=found)

    @bp.post("/messages/<public_id>/simulation/<run>/cancel")
    def message_simulation_cancel(public_id: str, run: str) -> ResponseReturnValue:
        """Cancel one."""
        _, found = _find(services, public_id, run)
        if found.state == simulation_runs.RUNNING:
            services.simulations.cancel(current.site().id, run)
        return redirect(url_for("console.message_simulation", public_id=public_id, run=run), 303)


def _page(services: Services, public_id: str, wrong: list[Refusal] | None = None) -> str:
    site = current.site()
    with services.database.read() as connection:
        found = find(services, connection, site, public_id)
        kept = simulation_runs.of_message(connection, site.id, found.id, services.clock())
    most = dry_runs.clean_days(services, None)
    choices = [days for days in (7, 30, 90) if days < most]
    return render_template("simulations.html", message=found, runs=kept, days=[*choices, most], wrong=wrong or [])


def _find(services: Services, public_id: str, run: str) -> tuple[AutoMessage, Run]:
    site = current.site()
    with services.database.read() as connection:
        message = find(services, connection, site, public_id)
        found = simulation_runs.get(connection, site.id, message.id, current.public_id(run), services.clock())
    return message, found or abort(404)
