"""A message simulated: who would have got it, had it been live for some days until now, beside the messages that are live today.

Reads only, a few people at a time, and writes nothing down: no delivery, no decision, no number of any message.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import msgspec

from collector.domain import past, rewinding
from collector.domain.assumptions import Assumption
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import SHOWN
from collector.domain.names import Names
from collector.domain.past import Past, Wanted
from collector.domain.replay import Scene, replay
from collector.domain.sites import Site
from collector.storage.database import Database
from collector.values.clock import DAY

Progress = Callable[[int], None]
"""Is told how much is done, in whole percent."""


class Day(msgspec.Struct):
    """One day of the site's zone: how many people would have got the message, how often, and how often somebody was held out."""

    day: str
    people: int = 0
    times: int = 0
    held_out: int = 0


class Result(msgspec.Struct):
    """What came of it. `held_out` counts people, as `people` does; `looked_at` are those who were in a browser at all."""

    looked_at: int
    people: int
    times: int
    held_out: int
    per_day: list[Day]
    assumptions: list[str]


def scene_of(
    database: Database, site: Site, message: AutoMessage, others: list[AutoMessage], days: int, now_ms: int, retention_ms: int
) -> Scene:
    """Return what is replayed for a message beside `others`, the live ones: the last `days`, or as many as the timeline has."""
    oldest = now_ms - retention_ms
    with database.read() as connection:
        found = rewinding.rewound(connection, site, message, others, now_ms, oldest)
    unpaused = msgspec.structs.replace(site, settings=msgspec.structs.replace(site.settings, messages_paused=False))
    return Scene(unpaused, found, Wanted(found.live.messages), oldest, max(now_ms - days * DAY, oldest), now_ms)


def simulate(database: Database, names: Names, scene: Scene, progress: Progress) -> Result:
    """Replay everybody's past up to now."""
    site = scene.site.id
    total = past.number_of_people(database, site, scene.since)
    days = {day: Day(day) for day in _days(scene)}
    result = Result(0, 0, 0, 0, list(days.values()), [])
    left_out = internal = 0
    for found in past.everybody(database, names, site, scene.wanted, scene.oldest, scene.since):
        if isinstance(found, int):
            left_out += found
            continue
        for person in found:
            result.looked_at += 1
            if person.internal:
                internal += 1
            else:
                _add(result, days, scene, person)
        progress(min(99, result.looked_at * 100 // max(total, 1)))
    sentences = dict(scene.rewound.assumptions)
    if internal:
        sentences[Assumption.INTERNAL] = Assumption.INTERNAL.sentence
    if left_out:
        sentences[Assumption.TOO_MANY] = Assumption.TOO_MANY.sentence.format(most=past.MOST, people=left_out)
    result.assumptions = [sentences[one] for one in Assumption if one in sentences]
    return result


def _add(result: Result, days: dict[str, Day], scene: Scene, person: Past) -> None:
    shown_on: set[str] = set()
    shown = held_out = 0
    for given in replay(scene, person):
        if given.message.id != scene.rewound.message.id:
            continue
        day = days[_day(scene.site, given.at).isoformat()]
        if given.arm != SHOWN:
            held_out += 1
            day.held_out += 1
            continue
        shown += 1
        day.times += 1
        day.people += day.day not in shown_on
        shown_on.add(day.day)
    result.times += shown
    result.people += shown > 0
    result.held_out += held_out > 0


def _days(scene: Scene) -> Iterator[str]:
    day, last = _day(scene.site, scene.since), _day(scene.site, scene.until)
    while day <= last:
        yield day.isoformat()
        day += timedelta(days=1)


def _day(site: Site, at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, site.zone).date()
