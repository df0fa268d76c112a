"""One segment: made of a query, looked at, renamed, edited and deleted."""

import json
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import segments
from collector.domain.segments import NoSegment, Segment, SegmentExists, SegmentInUse
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Refusal
from collector.values.query_tree import Node, to_json
from collector.web.console import asked, current
from collector.web.console.asked import Asked
from collector.web.console.segments import count, find, people

_LONGEST_QUERY = 200_000


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/segments/new")
    def segment_new() -> ResponseReturnValue:
        """Show an empty form, or one with the query that somebody just asked on the page of people."""
        text = current.argument("query", asked.LONGEST)
        return _form(services, None, "", _read(services, text) if text else Asked())

    @bp.post("/segments/new")
    def segment_create() -> ResponseReturnValue:
        """Store what the form says."""
        return _take(services, None)

    @bp.get("/segments/<public_id>")
    def segment(public_id: str) -> ResponseReturnValue:
        """Show a segment: how many people are in it, its query, and the form that changes it."""
        with services.database.read() as connection:
            found = find(connection, current.site(), public_id)
        return _form(services, found, found.name, _as_written(found), saved="saved" in request.args)

    @bp.post("/segments/<public_id>")
    def segment_save(public_id: str) -> ResponseReturnValue:
        """Change a segment into what the form says."""
        with services.database.read() as connection:
            found = find(connection, current.site(), public_id)
        return _take(services, found)

    @bp.post("/segments/<public_id>/delete")
    def segment_delete(public_id: str) -> ResponseReturnValue:
        """Delete a segment that no message asks for."""
        site = current.site()
        with services.database.read() as connection:
            found = find(connection, site, public_id)

        def work(tx: Connection) -> None:
            segments.delete(tx, site.id, found.public_id, services.auto_messages.queries)

        try:
            services.writer.run(site.id, work)
        except NoSegment:
            abort(404)
        except SegmentInUse as error:
            return _form(services, found, found.name, _as_written(found), in_use=error.name), 409
        return redirect(url_for("console.segments_list", deleted=1), 303)


def _take(services: Services, present: Segment | None) -> ResponseReturnValue:
    """Store the form as a segment, or show it again with what is wrong; asked to, only count whom its query describes."""
    site, text, name = current.site(), current.field("query", _LONGEST_QUERY), current.field("name", segments.LONGEST_NAME + 1)
    query = _read(services, text) if text else Asked(problem="Write a query: it says who is in the segment.")
    if request.form.get("do") == "count":
        return _form(services, present, name, query, counted=True), 400 if query.problem else 200
    problem = ""
    try:
        name = segments.clean_name(name)
    except Refusal:
        problem = f"Give it a name of 1 to {segments.LONGEST_NAME} characters."
    try:
        if query.node is not None and not problem:
            made = _store(services, site, present, name, query.node)
            return redirect(url_for("console.segment", public_id=made.public_id, saved=1), 303)
    except Refusal as refusal:
        query = Asked(text, problem=refusal.message, place=refusal.field or "")
    except SegmentExists:
        problem = "A segment of this name exists already."
    except NoSegment:
        abort(404)
    return _form(services, present, name, query, name_problem=problem), 400


def _store(services: Services, site: Site, present: Segment | None, name: str, query: Node) -> Segment:
    now = services.clock()

    def work(tx: Connection) -> Segment:
        queries = services.auto_messages.queries
        if present is None:
            return segments.create(tx, site.id, services.row_ids, name, query, queries, now)
        return segments.update(tx, site.id, present.public_id, name, query, queries, now)

    made: Segment = services.writer.run(site.id, work)
    services.auto_messages.forget(site.id)  # messages hold the queries of the segments they ask for
    return made


def _form(services: Services, present: Segment | None, name: str, query: Asked, *, counted: bool = False, **shown: Any) -> str:
    """Return the page of a segment; `counted` says to count whom the query in the form describes."""
    site = current.site()
    with services.database.read() as connection:
        counts = None if present is None else count(services, connection, site, [present])
        described = people(services, connection, site, query.node) if counted and query.node is not None else None
    return render_template("segment.html", segment=present, name=name, asked=query, counts=counts, described=described, **shown)


def _read(services: Services, text: str) -> Asked:
    return asked.understood(text, lambda raw: segments.clean_query(raw, services.settings.retention_days, current.site().zone))


def _as_written(one: Segment) -> Asked:
    return Asked(json.dumps(to_json(one.query), indent=2, ensure_ascii=False), one.query)
