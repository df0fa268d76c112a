"""Deliveries: one auto message for one person, claimed, seen, clicked, answered, dismissed.

Each step is a time set once; the earliest report wins, so that late and repeated reports change nothing. A delivery belongs to the
identity that claimed it; a person's are those of all its identities.
"""

import json
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from collector.domain.identities import marks
from collector.storage.database import Connection
from collector.storage.questions import Question
from collector.storage.slices import OVERFLOW, WEEK
from collector.values.clock import DAY
from collector.values.errors import Reason
from collector.values.ids import event_id_time
from collector.values.questions import Answer

ANSWERED = "answered"
ACTIONS = ("seen", "clicked", ANSWERED, "dismissed")
SHOWN = "shown"
HELD_OUT = "held_out"
MOST_LINKS = 10
"""Different links that one delivery may have been clicked at."""
LONGEST_LINK = 255


class Report(msgspec.Struct, frozen=True):
    """What a browser says of a shown message: `action` of ACTIONS at a corrected time in ms; `link` what was clicked, `answer` given."""

    message: str
    nonce: str
    action: str
    at: int
    link: str | None = None
    answer: Answer | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One row of deliveries. Times in ms."""

    identity: int
    message: int
    n: int
    version: int
    arm: str
    nonce: str
    claimed_at: int
    event: bytes | None
    view: bytes | None
    seen_at: int | None
    clicked_at: int | None
    answered_at: int | None
    dismissed_at: int | None
    goal_at: int | None
    goal_before: int | None = None
    """0 where the message's goal may still be met, 1 where the claim found that it held already, 2 where that was found later, None where
    there was none. Whoever joined before there were 2 wrote 1 for both.
    """
    answer: str | None = None
    """The first answer as JSON text."""

    @property
    def acted(self) -> bool:
        """Whether the person clicked, answered or dismissed it."""
        return (self.clicked_at or self.answered_at or self.dismissed_at) is not None

    @property
    def acts(self) -> list[tuple[int, str]]:
        """What the person did with it, each with when (ms)."""
        acts = (("clicked", self.clicked_at), ("answered", self.answered_at), ("dismissed", self.dismissed_at))
        return [(at, act) for act, at in acts if at is not None]


_COLUMNS = ", ".join(Delivery.__struct_fields__)
_COLUMNS_OF_D = ", ".join(f"d.{field}" for field in Delivery.__struct_fields__)
_OF_BYTES = frozenset({"event", "view"})
_BY_TIME = itemgetter(*(Delivery.__struct_fields__.index(field) for field in ("claimed_at", "message", "identity", "n")))


def of_person(connection: Connection, site: int, person: int) -> list[Delivery]:
    """Return all deliveries of all identities of a person, oldest first."""
    return [_delivery(row) for row in sorted(connection.asked(question_of_person(site, person)), key=_BY_TIME)]


def question_of_person(site: int, person: int) -> Question:
    """Return what `of_person` asks."""
    sql = (
        f"SELECT {_COLUMNS_OF_D} FROM identities i JOIN deliveries d ON d.site = i.site AND d.identity = i.id "
        "WHERE i.site = ? AND i.principal_id = ?"
    )
    return Question(sql, (site, person), _OF_BYTES)


def last_view(connection: Connection, site: int, person: int, nonces: Collection[str], oldest: int) -> tuple[bytes, str] | None:
    """Return the view in which the latest of these deliveries of a person was shown, and its page as JSON text, as `page_of` has it."""
    some = list(nonces)
    row = connection.row(
        "SELECT view FROM deliveries WHERE site = ? AND identity IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?) "
        f"AND nonce IN ({marks(some)}) AND arm = ? AND view IS NOT NULL ORDER BY claimed_at DESC LIMIT 1",
        (site, site, person, *some, SHOWN),
    )
    page = None if row is None else page_of(connection, site, person, bytes(row[0]), oldest)
    return None if row is None or page is None else (bytes(row[0]), page)


def page_of(connection: Connection, site: int, person: int, view: bytes, oldest: int) -> str | None:
    """Return the page of a view of this person as JSON text; None where it was never heard of, or is older than `oldest` (ms)."""
    sql = (
        "SELECT page FROM events WHERE site = ? AND slice IN (?, ?) AND id = ? AND at >= ? "
        "AND identity IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?)"
    )
    page: str | None = connection.value(sql, (site, event_id_time(view) // WEEK, OVERFLOW, view, oldest, site, person))
    return page


def next_turn(had: Sequence[Delivery], gap_ms: int, per_day: int, now_ms: int) -> int | None:
    """Return when the limits across messages allow the next (ms): a gap after the last, so many within a day. None: now, or never."""
    times = sorted(one.claimed_at for one in had if now_ms - one.claimed_at < DAY)
    if not times or per_day < 1:
        return None
    after_gap = times[-1] + gap_ms
    turn = after_gap if len(times) < per_day else max(after_gap, times[-per_day] + DAY)
    return turn if turn > now_ms else None


def insert(tx: Connection, site: int, delivery: Delivery) -> None:
    """Insert a delivery that was just granted."""
    values = [getattr(delivery, field) for field in Delivery.__struct_fields__]
    tx.run(f"INSERT INTO deliveries (site, {_COLUMNS}) VALUES ({', '.join('?' * (len(values) + 1))})", (site, *values))


class Reported(msgspec.Struct):
    """The delivery that a report is about: its key, and which actions are noted already."""

    identity: int
    message: int
    n: int
    noted: set[str]


Shown = dict[tuple[str, str], Reported]
"""What of it a person was shown, by message (public id) and nonce."""


def shown(tx: Connection, site: int, person: int, reports: Collection[Report]) -> Shown:
    """Return the deliveries that reports are about, of those that a person was shown; who is held out was shown nothing.

    All at once: to look for each among what all the person's identities have would take as long as both are many.
    """
    if not reports:
        return {}
    of_messages, messages = tx.among(sorted({one.message for one in reports}))
    of_nonces, nonces = tx.among(sorted({one.nonce for one in reports}))
    sql = (
        f"SELECT m.public_id, d.nonce, d.identity, d.message, d.n, {', '.join(f'd.{action}_at' for action in ACTIONS)} FROM deliveries d "
        f"JOIN auto_messages m ON m.site = d.site AND m.id = d.message AND m.public_id {of_messages} "
        f"WHERE d.site = ? AND d.nonce {of_nonces} AND d.arm = ? "
        "AND d.identity IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?)"
    )
    found: Shown = {}
    for message, nonce, identity, number, n, *times in tx.rows(sql, (*messages, site, *nonces, SHOWN, site, person)):
        noted = {action for action, at in zip(ACTIONS, times, strict=True) if at is not None}
        found[message, nonce] = Reported(identity, number, n, noted)
    return found


def record(tx: Connection, site: int, person: int, report: Report, among: Shown | None = None) -> bool | Reason:
    """Note a report: True where it is new, False where it was known, a reason where this person has no such delivery.

    A click or an answer implies that it was seen. The first answer that arrives stays, whatever times later ones claim.
    The person's delivery is looked up where it is not given.
    """
    of = (shown(tx, site, person, [report]) if among is None else among).get((report.message, report.nonce))
    if of is None:
        return Reason.DELIVERY_UNKNOWN
    key, known = (site, of.identity, of.message, of.n), report.action in of.noted
    if report.action == "clicked" and report.link:
        _note_link(tx, key, report.link[:LONGEST_LINK], report.at)
    if report.action == ANSWERED:
        if known:
            return False
        sql = "UPDATE deliveries SET answer = ? WHERE site = ? AND identity = ? AND message = ? AND n = ?"
        tx.run(sql, (json.dumps(report.answer, ensure_ascii=False), *key))
    actions = {"seen", report.action} if report.action in ("clicked", ANSWERED) else {report.action}
    for column in sorted(f"{action}_at" for action in actions):
        tx.run(
            f"UPDATE deliveries SET {column} = ? WHERE site = ? AND identity = ? AND message = ? AND n = ? "
            f"AND ({column} IS NULL OR {column} > ?)",
            (report.at, *key, report.at),
        )
    of.noted |= actions
    return not known


def _note_link(tx: Connection, key: tuple[int, int, int, int], link: str, at: int) -> None:
    """Note what was clicked. The browser says it, so there is a bound: nobody may fill the numbers with inventions."""
    known = tx.value("SELECT count(*) FROM delivery_links WHERE site = ? AND identity = ? AND message = ? AND n = ?", key)
    if known < MOST_LINKS:
        sql = "INSERT INTO delivery_links (site, identity, message, n, link, clicked_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        tx.run(sql, (*key, link, at))


def _delivery(row: tuple[Any, ...]) -> Delivery:
    return Delivery(*row)
