"""Goals asked, and what came of it noted, message by message: by the thread that looks, and at once where two people were parted."""

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from collector.domain import goals, reached_together
from collector.domain.auto_messages import AutoMessage
from collector.domain.goals import Receipt
from collector.domain.reached_together import Parted
from collector.domain.sites import Site
from collector.ingest.failures import described
from collector.services import Services
from collector.storage.faults import is_outage
from collector.storage.writer import Overloaded

log = logging.getLogger(__name__)


def ask_parted(services: Services, site: Site, merge_id: int, now_ms: int) -> None:
    """Ask two whose merge was undone which goals they reached alone, at once, as far as the database lets us.

    The thread does it again: it may be looking now, at what they had done together, and must not note that.
    """
    with contextlib.suppress(Overloaded):
        try:
            messages, parted = to_ask(services, site)
            with services.database.read() as connection:
                two = connection.row("SELECT lead, target FROM merges WHERE site = ? AND id = ?", (site.id, merge_id)) or ()
            both = {person: parted[person] for person in two if person in parted}
            ask_again(services, site, messages, both, now_ms, threading.Event())
        except Exception as error:  # each driver has its own for an outage
            if not is_outage(error):
                raise
            log.warning("the goals of two who were parted are asked later: %s", described(error))


def to_ask(services: Services, site: Site) -> tuple[list[AutoMessage], dict[int, Parted]]:
    """Return a site's messages with goals, and who is to be asked again."""
    with services.database.read() as connection:
        parted = reached_together.waiting(connection, site.id)
        return [one for one in services.auto_messages.all(connection, site.id) if one.definition.goal is not None], parted


def ask_again(
    services: Services, site: Site, messages: list[AutoMessage], parted: Mapping[int, Parted], now_ms: int, stopping: threading.Event
) -> bool:
    """Ask those who were parted, and say whether all of it was done."""
    done = True
    for message in messages if parted else ():
        if stopping.is_set():
            return False
        with apart(message) as failed:
            found = goals.met_alone(services.database, site, services.names, message, now_ms, parted, services.settings.retention)
            note(services, site, message, found, now_ms, stopping)
        done = done and not failed
    return done and not stopping.is_set()


def note(services: Services, site: Site, message: AutoMessage, found: list[Receipt], now_ms: int, stopping: threading.Event) -> None:
    """Note what was found, in steps, unless it is to stop."""
    for start in range(0, len(found), goals.STEP):
        if stopping.is_set():
            return
        step = found[start : start + goals.STEP]
        services.writer.run(site.id, functools.partial(goals.note, site=site.id, message=message, receipts=step, now_ms=now_ms))


@contextmanager
def apart(message: AutoMessage) -> Iterator[list[str]]:
    """Log that a message's goal could not be asked, which keeps no other from being noted, and note it in what is given out."""
    failed: list[str] = []
    try:
        yield failed
    except Exception as error:  # one goal that cannot be asked keeps no other from being noted
        if is_outage(error):
            raise
        failed.append(message.public_id)
        log.warning("the goal of message %s could not be looked for: %s", message.public_id, described(error))
