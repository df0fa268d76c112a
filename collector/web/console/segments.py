"""The list of segments, with how many people are in each now, and the counts that its pages ask for while somebody looks at them."""

import msgspec
from flask import Blueprint, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from collector.domain import counting, segments
from collector.domain.segments import Segment
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.query_tree import Node
from collector.web.console import current, query_words, words


class Counts(msgspec.Struct, frozen=True):
    """How many people were in each segment, by public id, at a time (ms)."""

    at: int
    people: dict[str, int]


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/segments")
    def segments_list() -> ResponseReturnValue:
        """List the segments with how many people are in each now."""
        site = current.site()
        with services.database.read() as connection:
            found = segments.all_of(connection, site.id)
            counts = count(services, connection, site, found)
        in_words = {one.id: query_words.in_short(one.query) for one in found}
        return render_template("segments.html", segments=found, counts=counts, in_words=in_words, deleted="deleted" in request.args)

    @bp.get("/segments/counts")
    def segment_counts() -> ResponseReturnValue:
        """Count again, all segments or the one that `id` names."""
        site = current.site()
        with services.database.read() as connection:
            found = [find(connection, site, request.args["id"])] if "id" in request.args else segments.all_of(connection, site.id)
            counts = count(services, connection, site, found)
        shown = {public_id: f"{people:,}" for public_id, people in counts.people.items()}
        return jsonify(at=words.moment(counts.at, counts.at, site.zone).iso, clock=words.second(counts.at, site.zone), people=shown)


def find(connection: Connection, site: Site, public_id: str) -> Segment:
    """Return the segment that an address names, or answer 404."""
    return segments.get(connection, site.id, current.public_id(public_id)) or abort(404)


def count(services: Services, connection: Connection, site: Site, found: list[Segment]) -> Counts:
    """Count the people of segments. What was committed before the time that is returned is in every number."""
    at = services.clock()
    return Counts(at, {one.public_id: people(services, connection, site, one.query) for one in found})


def people(services: Services, connection: Connection, site: Site, node: Node) -> int:
    """Return how many people a query describes now."""
    return counting.count(connection, services.columns, site, services.names, node, services.clock(), services.settings.retention)
