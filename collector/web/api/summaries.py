"""POST /events/summaries: what happened before Leadlight counted, as a count with first and last per event name."""

import functools
from datetime import tzinfo
from typing import Any

from flask import Response, jsonify

from collector.domain.identities import Key
from collector.domain.imports import LARGEST_COUNT, Base, Outdated, look, set_bases
from collector.domain.names import EVENT
from collector.domain.sites import Site
from collector.services import Services
from collector.values.clock import REST_AHEAD
from collector.values.errors import Problem, Reason, Refusal, problem
from collector.values.fields import clean_created_at, clean_event_name, clean_user_id, shown
from collector.web.api import body, lookup, owners
from collector.web.api.event_input import Address
from collector.web.api.views import Route

MOST_SUMMARIES = 1_000
_LOOKS = 5
_FIELDS = frozenset({"user_id", "event_summaries", "create_contact"})
_ENTRY = frozenset({"event_name", "count", "first", "last"})


def create(services: Services, site: Site) -> Response:
    """Set the imported base of a user for each name, all or none; the same again changes nothing."""
    sent = body.read_object(services)
    now = services.clock()
    try:
        unknown = body.unknown_key(sent, _FIELDS)
        if unknown is not None:
            raise problem(400, Reason.FIELD_UNKNOWN, unknown)
        address = Address("user", clean_user_id(sent.get("user_id")))
        bases = _bases(sent.get("event_summaries"), site.zone, now)
    except Refusal as refusal:
        raise Problem(422, [refusal]) from None
    with services.database.read() as connection:
        owner = owners.find(connection, site.id, [address])[address]
    if not (owner.exists or sent.get("create_contact") is True or site.settings.create_contacts):
        raise lookup.user_not_found()
    services.names.ensure(site.id, EVENT, {base.name for base in bases}, now)
    try:
        _set(services, site, now, owner.key, bases)
    except Refusal as refusal:  # whom it is about was deleted later than this happened
        raise Problem(422, [refusal]) from None
    return jsonify({})


def _set(services: Services, site: Site, now: int, key: Key, bases: list[Base]) -> None:
    """Set bases by what was seen of the timeline before; of somebody who never rests it is read with everybody waiting in the end."""
    work = functools.partial(set_bases, site=site.id, names=services.names, maker=services.maker, now_ms=now, key=key, bases=bases)
    for _ in range(_LOOKS):
        with services.database.read() as connection:
            seen = look(connection, site.id, services.names, key, bases)
        try:
            services.writer.run(site.id, functools.partial(work, seen=seen))
        except Outdated:
            continue
        return
    services.writer.run(site.id, work)


def _bases(raw: Any, time_zone: tzinfo, now: int) -> list[Base]:
    """Return the entries of a list, or of the one object that Intercom's own description shows."""
    entries = raw if isinstance(raw, list) else [raw]
    if len(entries) > MOST_SUMMARIES:
        raise problem(413, Reason.TOO_MANY_ITEMS, "event_summaries", f"expected at most {MOST_SUMMARIES}, got {len(entries)}")
    bases = [_base(entry, f"event_summaries[{index}]", time_zone, now) for index, entry in enumerate(entries)]
    names = [base.name for base in bases]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Refusal(Reason.FIELD_INVALID, f"event_summaries[{index}].event_name", "the name stands there twice")
    return bases


def _base(raw: Any, field: str, time_zone: tzinfo, now: int) -> Base:
    if not isinstance(raw, dict):
        raise Refusal(Reason.FIELD_INVALID, field, f"expected an object, not {shown(raw)}")
    unknown = body.unknown_key(raw, _ENTRY)
    if unknown is not None:
        raise Refusal(Reason.FIELD_UNKNOWN, f"{field}.{unknown}")
    name = clean_event_name(raw.get("event_name"), field=f"{field}.event_name")
    count = raw.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= LARGEST_COUNT:
        raise Refusal(Reason.FIELD_INVALID, f"{field}.count", f"expected a whole number from 0 to {LARGEST_COUNT}, not {shown(count)}")
    if count == 0:
        return Base(name, 0, None, None)
    first = clean_created_at(raw.get("first"), field=f"{field}.first", time_zone=time_zone)
    last = clean_created_at(raw.get("last"), field=f"{field}.last", time_zone=time_zone)
    if first > last:
        raise Refusal(Reason.TIME_INVALID, f"{field}.last", "last is before first")
    if last > now + REST_AHEAD:
        raise Refusal(Reason.IN_FUTURE, f"{field}.last")
    return Base(name, count, first, last)


ROUTES: tuple[Route, ...] = (("POST", "/events/summaries", create),)
