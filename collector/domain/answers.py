"""Answers to the questions of messages: the first one of a delivery is kept, and becomes an event and, where wanted, an attribute.

An answer is measured by the question that was shown, also where the message was edited since.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from collector.domain import deliveries
from collector.domain.deliveries import Report, Shown
from collector.storage.database import Connection
from collector.values.attributes import clean_attribute
from collector.values.errors import Reason, Refusal
from collector.values.ids import derived_event_id
from collector.values.metadata import clean_metadata
from collector.values.questions import Answer, Question

EVENT_NAME = "message-answered"


class Taken(msgspec.Struct, frozen=True):
    """What a first answer becomes: an event (id, page and metadata as JSON texts) and attributes by canonical name."""

    event_id: bytes
    page: str | None
    metadata: str
    attributes: Mapping[str, Any]


def take(tx: Connection, site: int, person: int, report: Report, among: Shown, oldest: int) -> Taken | bool | Reason:
    """Keep an answer: what it becomes where it is the first, False where the delivery has one, a reason where it is refused.

    It happened in the page of the view that asked, where that is not older than `oldest` (ms).
    The event's id is that of the delivery, so that a delivery makes one event whatever is repeated.
    """
    of = among.get((report.message, report.nonce))
    row = (
        None
        if of is None
        else tx.row(
            "SELECT coalesce(v.definition, m.definition), d.claimed_at, d.view, s.salt FROM deliveries d "
            "JOIN auto_messages m ON m.site = d.site AND m.id = d.message JOIN sites s ON s.id = d.site "
            "LEFT JOIN auto_message_versions v ON v.site = d.site AND v.message = d.message AND v.version = d.version "
            "WHERE d.site = ? AND d.identity = ? AND d.message = ? AND d.n = ?",
            (site, of.identity, of.message, of.n),
        )
    )
    if row is None:
        return Reason.DELIVERY_UNKNOWN
    definition, claimed_at, view, salt = row
    question = question_of(definition)
    try:
        if question is None:
            return Reason.ANSWER_INVALID
        answer = question.clean(report.answer)
        attributes = {} if question.attribute is None else dict([clean_attribute(question.attribute, answer)])
    except Refusal as refusal:
        return refusal.code
    taken = deliveries.record(tx, site, person, msgspec.structs.replace(report, answer=answer), among)
    if taken is not True:
        return taken
    metadata, _ = clean_metadata({"message": report.message, "answer": answer})
    event_id = derived_event_id(bytes(salt), claimed_at, EVENT_NAME, report.message, report.nonce)
    page = None if view is None else deliveries.page_of(tx, site, person, bytes(view), oldest)
    return Taken(event_id, page, json.dumps(metadata, ensure_ascii=False), attributes)


def attribute_names(connection: Connection, site: int, messages: Collection[str]) -> set[str]:
    """Return the attributes that answers to these messages (public ids) may set, by canonical name, in whichever version."""
    among, parameters = connection.among(sorted(messages))
    rows = connection.rows(
        f"SELECT definition FROM auto_messages WHERE site = ? AND public_id {among} UNION ALL "
        "SELECT v.definition FROM auto_message_versions v JOIN auto_messages m ON m.site = v.site AND m.id = v.message "
        f"WHERE v.site = ? AND m.public_id {among}",
        (site, *parameters, site, *parameters),
    )
    questions = (question_of(definition) for (definition,) in rows)
    return {name for question in questions if question is not None and (name := question.attribute_name) is not None}


def answers(connection: Connection, site: int, message: int, limit: int, offset: int) -> tuple[list[tuple[int, Answer, int]], int]:
    """Return who (principal id) answered a message what and when (ms), the newest first, and how many answers there are."""
    answered = "FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity WHERE d.site = ? AND d.message = ? "
    answered += "AND d.answer IS NOT NULL"
    total = int(connection.value(f"SELECT count(*) {answered}", (site, message)))
    rows = connection.rows(
        f"SELECT i.principal_id, d.answer, d.answered_at {answered} ORDER BY d.answered_at DESC, d.identity, d.n LIMIT ? OFFSET ?",
        (site, message, limit, offset),
    )
    return [(person, json.loads(answer), at) for person, answer, at in rows], total


class _Content(msgspec.Struct, frozen=True):
    question: Question | None = None


class _Definition(msgspec.Struct, frozen=True):
    content: _Content


_definition = msgspec.json.Decoder(_Definition)


def question_of(definition: str) -> Question | None:
    """Return the question of a stored definition."""
    return _definition.decode(definition).content.question
