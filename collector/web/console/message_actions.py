"""What is done to messages as a whole: one goes live, is paused, archived, duplicated, copied; all of a site are paused."""

import msgspec
from flask import Blueprint, abort, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from collector.domain import copies
from collector.domain.auto_messages import AutoMessage, MessageChanged, NoMessage, stamp_of
from collector.domain.reach import reach
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Problem, Refusal
from collector.values.messages import STATES
from collector.web.console import current
from collector.web.console.messages import find


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages/<public_id>/live")
    def message_live(public_id: str) -> ResponseReturnValue:
        """Say what going live means, and ask."""
        return _ask(services, public_id)

    @bp.post("/messages/<public_id>/state")
    def message_state(public_id: str) -> ResponseReturnValue:
        """Put a message into another state; live only what was confirmed, as it was then."""
        site, state, stamp = current.site(), current.field("state"), current.field("stamp")
        if state not in STATES:
            abort(400)
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
        if state == "live" and not stamp:
            return redirect(url_for("console.message_live", public_id=found.public_id), 303)
        now, confirmed = services.clock(), stamp if state == "live" else None
        try:
            services.writer.run(site.id, lambda tx: services.auto_messages.set_state(tx, site.id, found.public_id, state, now, confirmed))
        except NoMessage:
            abort(404)
        except MessageChanged:
            return _ask(services, public_id, changed=True), 409
        except Problem as problem:
            return _ask(services, public_id, wrong=problem.errors), problem.status
        services.auto_messages.forget(site.id)
        return redirect(url_for("console.message", public_id=found.public_id, saved=1), 303)

    @bp.post("/messages/<public_id>/duplicate")
    def message_duplicate(public_id: str) -> ResponseReturnValue:
        """Make a draft like a message, and show it."""
        site = current.site()
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
        return _copy(services, site, site, found)

    @bp.get("/messages/<public_id>/copy")
    def message_copy_form(public_id: str) -> ResponseReturnValue:
        """Ask to which of the account's other sites."""
        with services.database.read() as connection:
            return _ask_where(find(services, connection, current.site(), public_id))

    @bp.post("/messages/<public_id>/copy")
    def message_copy(public_id: str) -> ResponseReturnValue:
        """Make a draft like a message on another site that the account sees, and show it there."""
        site, key = current.site(), current.field("to")
        target = next((one for one in current.current().sites if one.key == key and one.id != site.id), None) or abort(404)
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
        return _copy(services, site, target, found)

    @bp.get("/messages/pause")
    def messages_pause_form() -> ResponseReturnValue:
        """Say what pausing all messages does, and ask."""
        site = current.site()
        with services.database.read() as connection:
            live = [one for one in services.auto_messages.all(connection, site.id) if one.definition.state == "live"]
        return render_template("message_pause.html", live=live)

    @bp.post("/messages/pause")
    def messages_pause() -> ResponseReturnValue:
        """Pause all messages of the site, or lift that."""
        site, paused = current.site(), current.field("paused")
        if paused not in ("yes", "no"):
            abort(400)
        services.writer.run(site.id, lambda tx: services.sites.change(tx, site.id, messages_paused=paused == "yes"))
        services.sites.forget()
        return redirect(url_for("console.messages_list"), 303)


def _ask(services: Services, public_id: str, *, changed: bool = False, wrong: list[Refusal] | None = None) -> str:
    """Return the page that says what going live means."""
    site = current.site()
    with services.database.read() as connection:
        found = find(services, connection, site, public_id)
        now = services.clock()
        numbers = reach(connection, services.columns, site, services.names, found.definition, now, services.settings.retention)
    audience = found.as_json()["audience"]
    return render_template(
        "message_live.html",
        message=found,
        reach=numbers,
        over=found.definition.schedule.is_over(now, site.zone),
        counted_at=now,
        query=msgspec.json.encode(audience).decode() if audience else None,
        stamp=stamp_of(found.definition.as_json()),
        changed=changed,
        wrong=wrong or [],
    )


def _ask_where(found: AutoMessage, wrong: list[Refusal] | None = None, to: str = "") -> str:
    site = current.site()
    others = [one for one in current.current().sites if one.id != site.id]
    return render_template("message_copy.html", message=found, others=others, wrong=wrong or [], to=to)


def _copy(services: Services, source: Site, target: Site, found: AutoMessage) -> ResponseReturnValue:
    now, retention = services.clock(), services.settings.retention_days
    make = copies.duplicate if source.id == target.id else copies.copy_to

    def work(tx: Connection) -> AutoMessage:
        return make(tx, services.auto_messages, target, found, retention, now)

    try:
        made: AutoMessage = services.writer.run(target.id, work)
    except Problem as problem:
        return _ask_where(found, problem.errors, target.key), problem.status
    chosen = target.key if len(current.current().sites) > 1 else None
    return redirect(url_for("console.message", public_id=made.public_id, saved=1, site=chosen), 303)
