"""Single events: POST /events, and GET /events as list or summary, both as Intercom has them."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import Response, jsonify, request

from collector.domain import attributes, people
from collector.domain.people import Person, TimelineEvent
from collector.domain.sites import Site
from collector.domain.submissions import Outcome
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.fields import shown
from collector.values.ids import event_id_bytes
from collector.web.api import event_input, lookup, owners
from collector.web.api.body import query_flag, query_number, query_text, read_object, sent_bytes
from collector.web.api.event_input import SINGLE, Draft
from collector.web.api.views import Route

DEFAULT_PER_PAGE = 15
MOST_PER_PAGE = 1_000
_LATEST = 253_402_300_799_999
_NO_TIME = -1


def create(services: Services, site: Site) -> Response:
    """Take one event: 202 with an empty body once it is stored, or was before; 422 where it is refused."""
    body = read_object(services)
    now = services.clock()
    try:
        create_contact = _creates(body, site)
        draft = event_input.clean(body, SINGLE, site.zone, now, services.settings.retention)
        _store(services, site, draft, create_contact=create_contact)
    except Refusal as refusal:
        raise Problem(422, [refusal]) from None
    answer = Response(status=202)
    del answer.headers["Content-Type"]  # there is nothing that could be of a type
    return answer


def index(services: Services, site: Site) -> Response:
    """Give out a user's or lead's events of the timeline, the newest first, or with `summary=true` the totals by name."""
    kind = query_text("type")
    if kind not in (None, "user", "lead", "contact"):
        raise problem(400, Reason.FIELD_INVALID, "type", f"expected user, not {shown(kind)}")
    summary = query_flag("summary")
    person = lookup.by_query(services, site)
    with services.database.read() as connection:
        email = attributes.of_person(connection, site.id, services.names, person.id).get("email")
        who = {"user_id": person.user_id, "email": email, "intercom_user_id": person.contact_id}
        return jsonify(_summary(services, connection, site, person, who) if summary else _list(services, connection, site, person, who))


def _creates(body: dict[str, Any], site: Site) -> bool:
    asked = body.get("create_contact")
    if asked is not None and not isinstance(asked, bool):
        raise Refusal(Reason.FIELD_INVALID, "create_contact", f"expected true or false, not {shown(asked)}")
    return site.settings.create_contacts if asked is None else asked


def _store(services: Services, site: Site, draft: Draft, *, create_contact: bool) -> None:
    """Write the event and return after the commit.

    Raises:
        Problem: 404. Refusal: the ledger refuses it.
    """
    with services.database.read() as connection:
        owner = owners.find(connection, site.id, [draft.address]).get(draft.address)
    if owner is None or not (owner.exists or create_contact):
        raise lookup.user_not_found()
    payload = [owners.submission(site, owner, [draft], create=create_contact)]
    outcome: Outcome = services.writer.record(site.id, payload, sent_bytes(), whole=True)[0]
    if outcome.error is not None:
        raise lookup.user_not_found()
    if isinstance(outcome.events[0], Reason):
        raise Refusal(outcome.events[0], event_input.field_of(outcome.events[0]))


def _summary(services: Services, connection: Connection, site: Site, person: Person, who: dict[str, Any]) -> dict[str, Any]:
    totals = people.totals(connection, site.id, services.names, person.id)
    entries = [
        {"name": name, "first": iso(total.first_ms), "last": iso(total.last_ms), "count": total.count, "description": None}
        for name, total in sorted(totals.items())
    ]
    return {"type": "event.summary", **who, "events": entries}


def _list(services: Services, connection: Connection, site: Site, person: Person, who: dict[str, Any]) -> dict[str, Any]:
    per_page = query_number("per_page", DEFAULT_PER_PAGE, 1, MOST_PER_PAGE)
    rows = _rows(services, connection, site, person, per_page + 1)
    page = rows[:per_page]
    more = len(rows) > per_page
    last = {"before": page[-1].at, "before_id": page[-1].id} if more else {}
    return {
        "type": "event.list",
        "events": [
            {
                "type": "event",
                "id": event.id,
                "event_name": event.name,
                "created_at": event.at // 1000,
                **who,
                "metadata": event.metadata,
            }
            for event in page
        ],
        "pages": {
            "next": _url(services, {**_kept("since"), **last}) if more else None,
            "since": _url(services, {"since": page[0].at}) if page else None,
        },
    }


def _rows(services: Services, connection: Connection, site: Site, person: Person, limit: int) -> list[TimelineEvent]:
    """Read a page of the timeline, the newest first.

    Times alone do not say where a page ends, since many events share a second: `before_id` names the last one given out.
    """
    before = query_number("before", _NO_TIME, 0, _LATEST)
    since = query_number("since", _NO_TIME, 0, _LATEST)
    text = query_text("before_id")
    last = None if text is None else event_id_bytes(text)
    if text is not None and last is None:
        raise problem(400, Reason.FIELD_INVALID, "before_id", "expected the value of pages.next")
    oldest = max(services.clock() - services.settings.retention, since + 1)
    behind = None if last is None or before == _NO_TIME else (before, last)
    until = None if before == _NO_TIME or behind is not None else before
    return people.timeline(connection, site.id, services.names, person.identities, oldest, before=until, behind=behind, limit=limit)


def _kept(*names: str) -> dict[str, str]:
    return {name: request.args[name] for name in names if name in request.args}


def _url(services: Services, added: dict[str, Any]) -> str:
    settings = services.settings
    # As the client addressed us, where no public address is set; a Host header that is none leaves the collector's own.
    base = settings.public_url.rstrip("/") or (request.root_url.rstrip("/") if request.host else settings.base_url())
    kept = _kept("user_id", "email", "intercom_user_id", "per_page")
    return f"{base}/api/events?{urlencode({'type': 'user', **kept, **added})}"


def iso(at_ms: int | None) -> str | None:
    """Return a time as summaries give it out, to the millisecond in UTC."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


ROUTES: tuple[Route, ...] = (("POST", "/events", create), ("GET", "/events", index))
