"""Joining a visitor to a user, and undoing a merge: what equal emails suggest and a person decides."""

import msgspec
from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import attributes, contacts, journal, merging, people
from collector.domain.journal import Merge, NoMerge
from collector.domain.names import Names
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.ingest.goals_asked import ask_parted
from collector.services import Services
from collector.storage.database import Connection
from collector.web.console import current

_MOST = 10
_LONGEST = 18  # digits of a row id


class Namesake(msgspec.Struct, frozen=True):
    """Somebody else with the same email. `lead` and `user` are contact ids where the two could be joined, else None."""

    person: Person
    lead: str | None
    user: str | None


def namesakes(connection: Connection, site: Site, names: Names, person: Person) -> list[Namesake]:
    """Return the other people with this person's email; of a user and a visitor it is said that they could be joined."""
    email = attributes.of_person(connection, site.id, names, person.id).get("email")
    if not isinstance(email, str):
        return []
    found: list[Namesake] = []
    for number in contacts.with_email(connection, site.id, email)[: _MOST + 1]:
        if number == person.id:
            continue
        try:
            other = people.load(connection, site.id, number)
        except people.NoPerson:  # became part of another since, or is gone
            continue
        pair = {person.role: person.contact_id, other.role: other.contact_id}
        joinable = len(pair) == 2
        found.append(Namesake(other, pair["lead"] if joinable else None, pair["user"] if joinable else None))
    return found[:_MOST]


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.post("/people/<contact_id>/join")
    def join(contact_id: str) -> ResponseReturnValue:
        """Merge the visitor of the form into this user."""
        site, user = current.site(), current.public_id(contact_id)
        lead = current.public_id(request.form.get("lead", ""))

        def work(tx: Connection) -> merging.Claim:
            return merging.merge_contacts(tx, site.id, lead, user, services.row_ids, services.clock(), by="console")

        try:
            services.writer.run(site.id, work)
        except people.NoPerson:
            abort(404)
        except merging.CannotMerge:
            abort(409)
        return redirect(url_for("console.profile", contact_id=user, _anchor="journal"), 303)

    @bp.post("/merges/<merge_id>/undo")
    def undo(merge_id: str) -> ResponseReturnValue:
        """Undo a merge and show the user it was undone for. Undone already, it only shows."""
        site = current.site()
        if not (merge_id.isascii() and merge_id.isdigit() and len(merge_id) <= _LONGEST):
            abort(404)

        def work(tx: Connection) -> Merge:
            merging.undo(tx, site.id, int(merge_id), services.clock(), by="console")
            return journal.line(tx, site.id, int(merge_id))

        try:
            undone: Merge = services.writer.run(site.id, work)
        except NoMerge:
            abort(404)
        ask_parted(services, site, int(merge_id), services.clock())
        return redirect(url_for("console.profile", contact_id=undone.into, _anchor="journal"), 303)
