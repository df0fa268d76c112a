"""What became of a message, counted from its deliveries: each person counts once for each step, staff not at all.

A person is of the arm of the first delivery, also where two became one person. `matched` are the people for whom everything held when
they met the message: those it was sent to and those held out.
"""

import json
from collections.abc import Sequence
from math import sqrt
from typing import Any

import msgspec

from collector.domain import answers
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import HELD_OUT, SHOWN
from collector.domain.identities import marks
from collector.domain.staff import others
from collector.storage.database import Connection
from collector.values.questions import SCALES, Answer

STEPS = ("sent", "seen", "clicked", "dismissed", "answered", "goal")
_TIMES = ("claimed_at", "seen_at", "clicked_at", "dismissed_at", "answered_at", "goal_at")
_Z = 1.959963984540054
"""The standard normal quantile of a two-sided interval of 95 %."""

Numbers = dict[str, int]


class Behind(msgspec.Struct, frozen=True):
    """Names one number of a message: a step of the funnel (`matched`, `held_out` or one of STEPS); with `clicked` a link, with `answered`
    an answer that it is counted by, or (`other`) those that the present question does not name.
    """

    step: str
    link: str | None = None
    answer: Answer | None = None
    other: bool = False


def stats(connection: Connection, site: int, message: AutoMessage) -> dict[str, Any]:
    """Return a message's numbers in the shape of the API."""
    shown, held_out = _by_arm(connection, site, [message.id]).get(message.id, (_NOBODY, _NOBODY))
    numbers = _together(shown, held_out)
    links = connection.rows(
        f"SELECT link, count(DISTINCT person) FROM {_EVERYBODY} {_CLICKED} WHERE first_arm = ? GROUP BY link ORDER BY 2 DESC, 1",
        (site, message.id, site, SHOWN),
    )
    definition = message.definition
    return {
        **numbers,
        "links": [{"link": link, "clicked": clicked} for link, clicked in links],
        **_answers(connection, site, message),
        "rates": _rates(numbers),
        "holdout": {"percent": definition.holdout_percent, "people": numbers["held_out"], "goal": held_out["goal"]},
        "lift": lift(shown, held_out, goal=definition.goal is not None),
    }


def recipients(connection: Connection, site: int, messages: list[int]) -> dict[int, Numbers]:
    """Return the people counted at each step, by message row id."""
    found = _by_arm(connection, site, messages) if messages else {}
    return {number: _together(*found.get(number, (_NOBODY, _NOBODY))) for number in messages}


def behind(
    connection: Connection, site: int, message: AutoMessage, number: Behind, limit: int, offset: int
) -> tuple[list[tuple[int, int]], int]:
    """Return who is counted by a number: row id and when each came to that step (ms), the latest first; and how many they are."""
    first = number.step in ("matched", "held_out", "sent")
    column = "everybody.claimed_at" if first else f"everybody.{number.step}_at"
    parameters: list[int | str] = [site, message.id, site]
    wanted = f"{column} IS NOT NULL"
    source = f"{_EVERYBODY} {_CLICKED}" if number.link is not None else _EVERYBODY
    if number.step != "matched":
        wanted += " AND first_arm = ?"
        parameters.append(HELD_OUT if number.step == "held_out" else SHOWN)
    if number.link is not None:
        wanted += " AND link = ?"
        parameters.append(number.link)
    if number.answer is not None or number.other:
        now_asked, asked = _now_asked(connection, site, message)
        wanted += f" AND {now_asked}" if number.answer is not None else f" AND answer IS NOT NULL AND NOT ({now_asked})"
        parameters += asked
    if number.answer is not None:
        wanted += " AND answer = ?"
        parameters.append(json.dumps(number.answer, ensure_ascii=False))
    total = int(connection.value(f"SELECT count(DISTINCT person) FROM {source} WHERE {wanted}", parameters))
    rows = connection.rows(
        f"SELECT person, min({column}) FROM {source} WHERE {wanted} GROUP BY person ORDER BY 2 DESC, 1 LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
    )
    return [(person, at) for person, at in rows], total


def _answers(connection: Connection, site: int, message: AutoMessage) -> dict[str, Any]:
    """Return how many people gave each answer that the present question names, in its order, and how many gave others (`other_answers`):
    to what was asked before an edit. Nobody's own words are among them.
    """
    named = _named(message)
    if not named:
        return {"answers": [], "other_answers": 0}
    now_asked, asked = _now_asked(connection, site, message)
    answered = f"FROM {_EVERYBODY} WHERE first_arm = ? AND answer IS NOT NULL AND"
    rows = connection.rows(
        f"SELECT answer, count(DISTINCT person) {answered} {now_asked} GROUP BY answer", (site, message.id, site, SHOWN, *asked)
    )
    others_sql = f"SELECT count(DISTINCT person) {answered} NOT ({now_asked})"
    counted = {json.loads(answer): people for answer, people in rows}
    return {
        "answers": [{"answer": answer, "answered": counted.get(answer, 0)} for answer in named],
        "other_answers": int(connection.value(others_sql, (site, message.id, site, SHOWN, *asked))),
    }


def _named(message: AutoMessage) -> Sequence[Answer]:
    """Return the answers that a message's question names: choices or ratings."""
    question = message.definition.content.question
    if question is None or question.kind not in ("choice", "rating"):
        return ()
    lowest, highest = SCALES[question.scale or "1-5"]
    return question.choices or () if question.kind == "choice" else range(lowest, highest + 1)


def _now_asked(connection: Connection, site: int, message: AutoMessage) -> tuple[str, list[str | int]]:
    """Return the condition for answers that the present question names, given where what was asked was of its kind and scale.

    A 5 of 5 is no 5 of 10, and what somebody wrote is no choice, even of the same words.
    """
    named = [json.dumps(answer, ensure_ascii=False) for answer in _named(message)]
    if not named:
        return "1 = 0", []
    present = message.definition.content.question
    sql = "SELECT version, definition FROM auto_message_versions WHERE site = ? AND message = ?"
    before = [(version, answers.question_of(definition)) for version, definition in connection.rows(sql, (site, message.id))]
    alike = [version for version, asked in before if asked and present and (asked.kind, asked.scale) == (present.kind, present.scale)]
    among, versions = connection.among([message.version, *alike])
    return f"answer IN ({marks(named)}) AND version {among}", [*named, *versions]


def lift(shown: Numbers, held_out: Numbers, *, goal: bool) -> dict[str, Any]:
    """Compare how many reached the goal with the message and without it, of those who had not before.

    The interval is Newcombe's for the difference of two proportions (hybrid score, 95 %): Newcombe, Statistics in Medicine 17 (1998),
    method 10.
    """
    if not goal:
        return {"available": False, "in_words": "There is no goal to compare by."}
    if not held_out["eligible"] or not shown["eligible"]:
        arm, nobody = (held_out, "Nobody is held out yet") if not held_out["eligible"] else (shown, "Nobody has got it yet")
        if arm["sent"]:
            nobody = f"{'Whoever is held out' if arm is held_out else 'Whoever has got it'} had reached the goal before"
        return {"available": False, "in_words": f"{nobody}, so there is nothing to compare with."}
    arms = [{"people": arm["eligible"], "goal": arm["goal"], "rate": round(arm["goal"] / arm["eligible"], 4)} for arm in (shown, held_out)]
    difference, lower, upper = newcombe(shown["goal"], shown["eligible"], held_out["goal"], held_out["eligible"])
    return {
        "available": True,
        "shown": arms[0],
        "held_out": arms[1],
        "difference": round(difference, 4),
        "interval": {"lower": round(lower, 4), "upper": round(upper, 4), "confidence": 0.95},
        "in_words": _in_words(difference, lower, upper),
    }


def newcombe(met: int, of: int, other_met: int, other_of: int) -> tuple[float, float, float]:
    """Return the difference of two proportions, and the lower and upper end of its interval (fractions of 1)."""
    one, other = met / of, other_met / other_of
    one_low, one_high = _wilson(met, of)
    other_low, other_high = _wilson(other_met, other_of)
    difference = one - other
    lower = difference - sqrt((one - one_low) ** 2 + (other_high - other) ** 2)
    upper = difference + sqrt((one_high - one) ** 2 + (other - other_low) ** 2)
    return difference, lower, upper


def _wilson(met: int, of: int) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion."""
    rate, square = met / of, _Z * _Z
    middle = rate + square / (2 * of)
    around = _Z * sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    return (middle - around) / (1 + square / of), (middle + around) / (1 + square / of)


def _in_words(difference: float, lower: float, upper: float) -> str:
    if lower <= 0 <= upper:
        return (
            f"Too small to tell: with the message between {_points(lower)} and {_points(upper)} reach the goal than without it "
            "(95 % interval)."
        )
    low, high = sorted((abs(lower) * 100, abs(upper) * 100))
    return f"With the message {_points(difference)} reach the goal than without it (95 % interval: {low:.1f} to {high:.1f})."


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f} percentage points {'more' if difference >= 0 else 'fewer'}"


def _everybody(messages: str) -> str:
    """Return the query of all deliveries of these messages, each with its person and that person's arm; staff is left out."""
    times = ", ".join(f"d.{column}" for column in _TIMES)
    return (
        f"(SELECT d.site, d.message, d.identity, d.n, d.version, i.principal_id AS person, {times}, d.goal_before, d.answer, "
        "first_value(d.arm) OVER (PARTITION BY d.message, i.principal_id ORDER BY d.claimed_at, d.identity, d.n) AS first_arm "
        "FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity "
        f"WHERE d.site = ? AND d.message IN ({messages}) AND {others('i.principal_id')}) everybody"
    )


_EVERYBODY = _everybody("?")
_CLICKED = (
    "JOIN delivery_links l ON l.site = everybody.site AND l.identity = everybody.identity AND l.message = everybody.message "
    "AND l.n = everybody.n"
)
_NOBODY: Numbers = dict.fromkeys((*STEPS, "eligible"), 0)


def _by_arm(connection: Connection, site: int, messages: list[int]) -> dict[int, tuple[Numbers, Numbers]]:
    """Return for each message the people of both arms at each step, and how many had not reached the goal when they met it."""
    steps = ", ".join(f"count(DISTINCT CASE WHEN {column} IS NOT NULL THEN person END)" for column in _TIMES)
    rows = connection.rows(
        f"SELECT message, first_arm, {steps}, count(DISTINCT CASE WHEN goal_before = 0 THEN person END) "
        f"FROM {_everybody(marks(messages))} GROUP BY message, first_arm",
        (site, *messages, site),
    )
    found: dict[int, tuple[Numbers, Numbers]] = {}
    for message, arm, *counts in rows:
        numbers = dict(zip((*STEPS, "eligible"), counts, strict=True))
        shown, held_out = found.get(message, (_NOBODY, _NOBODY))
        found[message] = (numbers, held_out) if arm == SHOWN else (shown, numbers)
    return found


def _together(shown: Numbers, held_out: Numbers) -> Numbers:
    steps = {step: shown[step] for step in STEPS}
    return {"matched": shown["sent"] + held_out["sent"], "held_out": held_out["sent"], **steps}


def _rates(numbers: Numbers) -> dict[str, Any]:
    """Return the rates of sent and of seen, as fractions of 1; None where nothing was sent or seen."""
    parts = ("seen", "clicked", "dismissed", "answered", "goal")
    return {
        f"of_{base}": {part: round(numbers[part] / numbers[base], 4) if numbers[base] else None for part in parts if part != base}
        for base in ("sent", "seen")
    }
