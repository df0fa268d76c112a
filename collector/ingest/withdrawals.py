"""Which of the messages that a page may have on show are withdrawn: no longer live, out of their schedule, or paused with all others.

A page hears of it with the answer to whatever it sends next. Like offers this is a guest of the collect path: its failure is nobody's.
Most envelopes ask the database nothing: what a page shows was live when its view began, so only what was withdrawn since can be on show.
"""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from collector.domain import deliveries, identities
from collector.domain.auto_messages import AutoMessages, Live
from collector.domain.deliveries import SHOWN, Delivery
from collector.domain.identities import Key
from collector.domain.sites import Site
from collector.services import Services
from collector.values.clock import DAY
from collector.values.ids import event_id_time

_WRONG_CLOCK = DAY  # ms by which the clock that a view's id was minted by may be ahead

Question = Callable[[], list[dict[str, Any]]]


class Sight(msgspec.Struct, frozen=True):
    """What an envelope tells of its pages: the views that something happened in, and the deliveries that something became of."""

    person: int | None
    """None where it is not known yet: then it is that of `owner`."""
    owner: Key
    views: frozenset[bytes]
    nonces: frozenset[str]
    now: int

    def shows(self, delivery: Delivery) -> bool:
        """Say whether one of the pages may have this on show."""
        return delivery.arm == SHOWN and not delivery.acted and (delivery.view in self.views or delivery.nonce in self.nonces)


def question(services: Services, site: Site, sight: Sight) -> Question | None:
    """Return the call that finds what is withdrawn, or None where nothing can be. It returns `{"id", "trigger": "withdrawn"}` for each."""
    if not (sight.views or sight.nonces):
        return None
    live = services.auto_messages.kept(site.id)
    return None if live is not None and not _possible(site, live, sight) else functools.partial(_ask, services, site, sight)


def _possible(site: Site, live: Live, sight: Sight) -> bool:
    since = 0 if sight.nonces else min(event_id_time(view) for view in sight.views) - _WRONG_CLOCK
    withdrawn = live.withdrawn_at and live.withdrawn_at >= since
    return bool(withdrawn) or site.settings.messages_paused or len(_open(site, live, sight.now)) < len(live.messages)


def _ask(services: Services, site: Site, sight: Sight) -> list[dict[str, Any]]:
    live = services.auto_messages.live(site.id)
    return _find(services, site, live, sight) if _possible(site, live, sight) else []


def _find(services: Services, site: Site, live: Live, sight: Sight) -> list[dict[str, Any]]:
    good = set() if site.settings.messages_paused else _open(site, live, sight.now)
    with services.guests.read() as connection:
        person = sight.person
        if person is None:
            known = identities.find(connection, site.id, {sight.owner}).get(sight.owner)
            if known is None:
                return []
            person = known.principal_id
        had = deliveries.of_person(connection, site.id, person)
        gone = sorted({delivery.message for delivery in had if sight.shows(delivery)} - good)
        return [{"id": public_id, "trigger": "withdrawn"} for public_id in AutoMessages.public_ids(connection, site.id, gone)]


def _open(site: Site, live: Live, now_ms: int) -> set[int]:
    return {message.id for message in live.messages if message.definition.schedule.is_open(now_ms, site.zone)}
