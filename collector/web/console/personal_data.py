"""What somebody may ask for by law: everything stored about them, and to be deleted."""

import functools

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain import deletion
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.web.api.export import give_out
from collector.web.console import current, reading
from collector.web.console.profile import find, lead_on


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/people/<contact_id>/export")
    def export(contact_id: str) -> ResponseReturnValue:
        """Give out everything about a person as a file, the same that REST gives out."""
        site = current.site()
        with services.database.snapshot() as connection:
            person, merged_into = find(connection, site, current.public_id(contact_id))
            return lead_on(contact_id, merged_into) if person is None else give_out(services, connection, site, person)

    @bp.get("/people/<contact_id>/delete")
    def deletion_form(contact_id: str) -> ResponseReturnValue:
        """Say what a deletion does, and ask."""
        with services.database.read() as connection:
            return _ask(connection, contact_id, current.site())

    @bp.post("/people/<contact_id>/delete")
    def delete(contact_id: str) -> ResponseReturnValue:
        """Delete a person whole, once that was confirmed, and return to the people who are left."""
        site = current.site()
        with services.database.read() as connection:
            if request.form.get("sure") != "yes":
                return _ask(connection, contact_id, site)
            person, merged_into = find(connection, site, current.public_id(contact_id))
        if person is None:
            return lead_on(contact_id, merged_into)
        transact = functools.partial(services.writer.run, site.id)
        if not deletion.erase(services.written, services.slices, transact, services.keyring, site.id, person.id, services.clock):
            abort(404)  # deleted by somebody else, or merged, since it was read
        return redirect(url_for("console.people_list", deleted=1), 303)

    def _ask(connection: Connection, contact_id: str, site: Site) -> ResponseReturnValue:
        person, merged_into = find(connection, site, current.public_id(contact_id))
        if person is None:
            return lead_on(contact_id, merged_into)
        card = reading.cards(connection, site.id, services.names, [person.id]).get(person.id) or abort(404)
        unsure = request.method == "POST"
        return render_template("delete.html", person=person, card=card, unsure=unsure), 400 if unsure else 200
