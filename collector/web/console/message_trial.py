"""The test of a message on a real page: a signed link that shows it there, draft or not, and counts nowhere."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from collector.domain import facts, people, trials
from collector.domain.auto_messages import AutoMessage
from collector.domain.content import MissingValue, NothingToSee, render_example
from collector.domain.identities import USER
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.domain.trials import Trial
from collector.services import Services
from collector.storage.database import Connection
from collector.values.query_tree import NOTHING
from collector.web.console import current
from collector.web.console.messages import find
from collector.web.console.rule_form import Wrong


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages/<public_id>/test")
    def message_trial_form(public_id: str) -> ResponseReturnValue:
        """Ask on which page, and with whose values."""
        with services.database.read() as connection:
            found = find(services, connection, current.site(), public_id)
        return _form(found, _first_page(current.site()), "")

    @bp.post("/messages/<public_id>/test")
    def message_trial(public_id: str) -> ResponseReturnValue:
        """Give out a link."""
        site, page, who = current.site(), current.field("page", trials.LONGEST_PAGE + 1), current.field("who")
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
            wrong = _wrong_page(site, page)
            person = _person(connection, site, who) if who else None
            if who and person is None:
                wrong.append(Wrong("There is nobody of this user id, email or contact id.", "", "who"))
            against = _against(services, connection, site, found, person)
            if against is not None:
                wrong.append(Wrong(f"{against}: it would not be shown.", "", "who"))
        if wrong:
            return _form(found, page, who, wrong), 400
        trial = Trial(found.public_id, None if person is None else person.contact_id)
        return _form(found, page, who, link=trials.link(services.keyring, site, page, trial, services.clock()))


def _form(found: AutoMessage, page: str, who: str, wrong: list[Wrong] | None = None, link: str = "") -> str:
    return render_template("message_trial.html", message=found, page=page, who=who, wrong=wrong or [], link=link)


def _first_page(site: Site) -> str:
    """Return the start page of the site's first origin that is one host."""
    return next((f"{origin}/" for origin in site.origins if "*" not in origin), "")


def _wrong_page(site: Site, page: str) -> list[Wrong]:
    try:
        admitted = trials.is_page(site, page)
    except ValueError:
        return [Wrong("Write the whole address of a page, such as https://www.example.com/pricing.", "", "page")]
    where = ", ".join(site.origins)
    return [] if admitted else [Wrong(f"The page has to be one of this site, whose origins are {where}.", "", "page")]


def _person(connection: Connection, site: Site, who: str) -> Person | None:
    """Return who has this user id, contact id or email."""
    try:
        return (
            people.by_key(connection, site.id, (USER, who))
            or people.by_contact_id(connection, site.id, who)[0]
            or people.by_email(connection, site.id, who)
        )
    except people.NoPerson:  # gone since the first statement
        return None


def _against(services: Services, connection: Connection, site: Site, found: AutoMessage, person: Person | None) -> str | None:
    """Return in words why a message's content cannot be shown to this person."""
    if person is None:
        return None
    retention = services.settings.retention
    known = facts.load(connection, site, services.names, person, NOTHING, services.clock(), retention, everything=True).attributes
    try:
        render_example(found.definition, known, site.zone)
    except MissingValue as missing:
        if missing.unfit:
            return f"This person’s value for {missing.name} does not fit into the address that it stands in"
        return f"This person has no value for {missing.name}, and there is no fallback"
    except NothingToSee:
        return "All of it is blank for this person"
    return None
