"""The definition of an auto message: what a client may send, checked whole, with everything parsed that is asked often.

All errors are collected, each with its path (`content.buttons[0].url`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from collector.values.body import MAX_BODY, Body, Template, parse_body, parse_text, parse_url, required, shows, variables
from collector.values.checker import Checker
from collector.values.clock import DAY, MINUTE
from collector.values.errors import Problem, Reason, Refusal
from collector.values.fields import clean_event_name, ms_of, parse_iso, parse_time, seconds, shown
from collector.values.page_rules import PageRule, parse_page_rule, rule_json
from collector.values.queries import parse, parse_where
from collector.values.query_tree import Node, WhereRule, to_json, where_json
from collector.values.questions import REPLY, Question, clean_question
from collector.values.text import is_blank

TYPES = ("popup", "banner", "chat")
STATES = ("draft", "live", "paused", "archived")
ACTIONS = ("url", "dismiss", "track", "answer")
TRIGGERS = ("page", "time", "scroll", "exit_intent", "event", "manual")
IN_THE_VIEW = frozenset({"time", "scroll", "exit_intent"})
"""What only the browser can tell: it watches for it in the view that made somebody eligible."""
FREQUENCIES = ("once", "until_acted", "every_time")
POSITIONS = {"popup": ("corner", "center"), "banner": ("top", "bottom"), "chat": ("corner",)}

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MAX_BUTTONS = 5
MAX_HOURS = 50
MAX_GOAL_DAYS = 365
MAX_NUMBER = 1_000_000
_READ_ONLY = frozenset({"id", "version", "warnings"})  # clients send back what they were given
_TIME_OF_DAY = re.compile("(?:([01][0-9]|2[0-3]):([0-5][0-9]))|24:00")
_CONTENT_TEXTS = {"title": 255, "body": MAX_BODY, "image_url": 4_000}


class Button(msgspec.Struct, frozen=True):
    """A button; `url` is given with the action `url`, `event`, an event's name, with `track`."""

    label: Template
    action: str
    url: Template | None
    event: str | None


class Content(msgspec.Struct, frozen=True):
    """What the recipient sees, parsed; variables are filled in by `values.body`."""

    title: Template | None
    body: Body
    image_url: Template | None
    buttons: tuple[Button, ...]
    position: str
    sender: str | None
    question: Question | None

    def variables(self) -> frozenset[str]:
        """Return the names of all variables in it."""
        return variables(*self._texts())

    def required(self) -> frozenset[str]:
        """Return the names of the variables without which it cannot be shown."""
        return required(*self._texts())

    def shows(self, values: Mapping[str, str] | None = None) -> bool:
        """Say whether there is anything to see, with `values` for one person (or raises MissingVariable).

        A question has no words of its own, and nobody knows what a field is for that nothing is said about.
        """
        labels = [button.label for button in self.buttons]
        return self.image_url is not None or any(shows(part, values) for part in (self.title, self.body, *labels))

    def _texts(self) -> "list[Body | Template | None]":
        return [self.title, self.body, self.image_url, *(part for button in self.buttons for part in (button.label, button.url))]


class Trigger(msgspec.Struct, frozen=True):
    """What opens the message; `event` and the conditions on its metadata belong to the type `event`.

    `seconds` (`time`) count from the beginning of the view, `percent` (`scroll`) is of the way to the end of the page.
    """

    type: str
    event: str | None = None
    where: tuple[WhereRule, ...] = ()
    seconds: int | float | None = None
    percent: int | float | None = None


class Frequency(msgspec.Struct, frozen=True):
    """How often one person gets it: at most `max` times and once every `every_days` days, with `every_time` only."""

    type: str
    max: int | None
    every_days: int | None


class Hours(msgspec.Struct, frozen=True):
    """A part of each of these days (0 is Monday), from minute (included) to minute (not included), in the site's time zone."""

    days: tuple[int, ...]
    start: int
    end: int


class Schedule(msgspec.Struct, frozen=True):
    """From when (included) until when (not included) it may show, in milliseconds since 1970 UTC, and in which hours of the week."""

    starts_at_ms: int | None
    ends_at_ms: int | None
    hours: tuple[Hours, ...] = ()
    """Any of these; every hour where there are none."""

    def is_open(self, now_ms: int, zone: tzinfo) -> bool:
        """Say whether it may show at a time."""
        if (self.starts_at_ms is not None and now_ms < self.starts_at_ms) or (self.ends_at_ms is not None and now_ms >= self.ends_at_ms):
            return False
        if not self.hours:
            return True
        local = datetime.fromtimestamp(now_ms / 1000, zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        return any(day in one.days and one.start <= minute < one.end for one in self.hours)

    def is_over(self, now_ms: int, zone: tzinfo) -> bool:
        """Say whether it is open at no time from now on: its end has come, or no hour of it lies before that."""
        if self.ends_at_ms is None:
            return False
        start = now_ms if self.starts_at_ms is None else max(now_ms, self.starts_at_ms)
        if start >= self.ends_at_ms or not self.hours:
            return start >= self.ends_at_ms
        # Hours begin with a minute, and each comes within two weeks, also where the clocks are set over one of them.
        until = min(self.ends_at_ms, start + 15 * DAY)
        return not any(self.is_open(at, zone) for at in (start, *range(start - start % MINUTE + MINUTE, until, MINUTE)))


class Goal(msgspec.Struct, frozen=True):
    """What a recipient is to do, within so many days of receipt."""

    query: Node
    days: int


class AutoMessageDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A whole, valid definition. `audience` None is everybody, `page` None every page."""

    name: str
    type: str
    state: str
    content: Content
    audience: Node | None
    page: PageRule | None
    trigger: Trigger
    frequency: Frequency
    priority: int
    ignore_caps: bool
    schedule: Schedule
    goal: Goal | None
    holdout_percent: float
    document: bytes
    """The definition as JSON, with all defaults: what `as_json` returns and what is stored."""

    def as_json(self) -> dict[str, Any]:
        """Return the full shape of the API, with defaults, without `id` and `version`. Cleaning it again gives an equal definition."""
        decoded: dict[str, Any] = msgspec.json.decode(self.document)
        return decoded


def clean_auto_message(raw: object, *, retention_days: int, time_zone: tzinfo = UTC, stored: bool = False) -> AutoMessageDefinition:
    """Return the definition. Raises Problem (400) with every error.

    `retention_days` bounds `within_days`. Times of the schedule without a zone of their own, and days, are in `time_zone`, the site's.
    `id` and `version` are ignored, so that a definition can be sent back as it was given out. Of one that was `stored` it is not asked
    whether there is anything to show: what was taken once has to be read, and the claim holds it back.
    """
    if not isinstance(raw, dict):
        raise Problem(400, [Refusal(Reason.BODY_INVALID, None, "The body is a JSON object.")])
    return _Cleaner(retention_days, time_zone, stored=stored).definition(raw)


class _Cleaner(Checker):
    """Cleans one definition and collects what is wrong with it."""

    def __init__(self, retention_days: int, time_zone: tzinfo, *, stored: bool) -> None:
        super().__init__()
        self.stored = stored
        self.retention_days = retention_days
        self.time_zone = time_zone

    def definition(self, raw: dict[str, Any]) -> AutoMessageDefinition:
        known = {"name", "type", "state", "content", "audience", "page", "trigger", "frequency", "priority"}
        self.only_keys(raw, known | {"ignore_caps", "schedule", "goal", "holdout_percent"} | _READ_ONLY, "")
        for field in ("name", "type", "content"):
            if raw.get(field) is None:
                self.error(field, "It is required.", Reason.FIELD_MISSING)
        json: dict[str, Any] = {
            "name": self.optional(raw, "name", clean_event_name) or "",
            "type": self.choice(raw.get("type"), TYPES, "type", TYPES[0]),
            "state": self.choice(raw.get("state"), STATES, "state", "draft"),
        }
        content = self.content(raw.get("content"), json)
        audience = self.optional(raw, "audience", lambda part: self.query(part, "audience"))
        page = self.optional(raw, "page", parse_page_rule)
        json |= {"audience": to_json(audience) if audience else None, "page": rule_json(page) if page else None}
        trigger = self.trigger(raw.get("trigger"), json)
        frequency = self.frequency(raw.get("frequency"), json)
        json["priority"] = self.whole(raw.get("priority"), "priority", -MAX_NUMBER, MAX_NUMBER) or 0
        json["ignore_caps"] = self.boolean(raw.get("ignore_caps"), "ignore_caps")
        schedule = self.schedule(raw.get("schedule"), json)
        goal = self.goal(raw.get("goal"), json)
        json["holdout_percent"] = self.number(raw.get("holdout_percent"), "holdout_percent", 0, 100) or 0
        if self.errors:
            raise Problem(400, self.errors)
        return AutoMessageDefinition(
            **{name: json[name] for name in ("name", "type", "state", "priority", "ignore_caps", "holdout_percent")},
            content=content,
            audience=audience,
            page=page,
            trigger=trigger,
            frequency=frequency,
            schedule=schedule,
            goal=goal,
            document=msgspec.json.encode(json),
        )

    def content(self, raw: object, json: dict[str, Any]) -> Content:
        part = self.part(raw, "content", {"title", "body", "image_url", "buttons", "question", "position", "sender"})
        title, body, image = (self.text(part.get(name), f"content.{name}", most) for name, most in _CONTENT_TEXTS.items())
        places = POSITIONS[json["type"]]
        buttons = part.get("buttons")
        if buttons is not None and (not isinstance(buttons, list) or len(buttons) > MAX_BUTTONS):
            self.error("content.buttons", f"Expected a list of at most {MAX_BUTTONS} buttons, not {shown(buttons)}.")
            buttons = []
        pairs = [self.button(button, f"content.buttons[{place}]") for place, button in enumerate(buttons or [])]
        question = self.question(part, json["type"])
        for place, (button, _) in enumerate(pairs):
            if button.action == "answer" and part.get("question") is None and question is None:
                self.error(f"content.buttons[{place}].action", "There is no question to answer.")
        cleaned = Content(
            title=self.attempt(lambda: parse_text(title, field="content.title")) if title else None,
            body=self.attempt(lambda: parse_body(body or "", field="content.body")) or (),
            image_url=self.attempt(lambda: parse_url(image, field="content.image_url", web_only=True)) if image else None,
            buttons=tuple([button for button, _ in pairs]),
            position=self.choice(part.get("position"), places, "content.position", places[0]),
            sender=self.sender(part, json["type"]),
            question=question,
        )
        wrong = any((error.field or "").startswith("content") for error in self.errors)
        if isinstance(raw, dict) and not (self.stored or wrong or cleaned.shows()):
            self.error("content.body", "There is nothing to show: no text, image or button.", Reason.FIELD_MISSING)
        json["content"] = {"title": title or None, "body": body or "", "image_url": image or None, "buttons": [shape for _, shape in pairs]}
        json["content"] |= {
            "question": None if question is None else msgspec.to_builtins(question),
            "position": cleaned.position,
            "sender": cleaned.sender,
        }
        return cleaned

    def button(self, raw: object, field: str) -> tuple[Button, dict[str, Any]]:
        part = self.part(raw, field, {"label", "action", "url", "event"}, required=True)
        label = self.text(part.get("label"), f"{field}.label", 120)
        blank = not label or (is_blank(label) and not self.stored)
        if blank and not self.has_error(f"{field}.label"):
            self.error(f"{field}.label", "A button has a label.", Reason.FIELD_MISSING)
        action = self.choice(part.get("action"), ACTIONS, f"{field}.action")
        url = self.text(part.get("url"), f"{field}.url", 4_000)
        event = part.get("event")
        for key, value, wanted in (("url", url, "url"), ("event", event, "track")):
            if action == wanted and value in (None, "") and not self.has_error(f"{field}.{key}"):
                self.error(f"{field}.{key}", f"A button with the action {action} has it.", Reason.FIELD_MISSING)
            elif action in ACTIONS and action != wanted and value not in (None, ""):
                self.error(f"{field}.{key}", f"A button with the action {action} has none.")
        given = action == "track" and event not in (None, "")
        name = self.attempt(lambda: clean_event_name(event, field=f"{field}.event")) if given else None
        button = Button(
            label=(self.attempt(lambda: parse_text(label, field=f"{field}.label")) if label else None) or (),
            action=action,
            url=self.attempt(lambda: parse_url(url, field=f"{field}.url")) if action == "url" and url else None,
            event=name,
        )
        return button, {"label": label, "action": action, "url": url or None, "event": name}

    def question(self, part: dict[str, Any], kind: str) -> Question | None:
        if part.get("question") is None and kind == "chat":
            return REPLY
        return clean_question(self, part.get("question"), "content.question")

    def sender(self, part: dict[str, Any], kind: str) -> str | None:
        sender = self.text(part.get("sender"), "content.sender", 120)
        if kind == "chat" and not (sender or "").strip() and not self.has_error("content.sender"):
            self.error("content.sender", "A message of the type chat has a sender.", Reason.FIELD_MISSING)
        return sender

    def trigger(self, raw: object, json: dict[str, Any]) -> Trigger:
        part = self.part(raw, "trigger", {"type", "seconds", "percent", "event", "where"})
        kind = self.choice(part.get("type"), TRIGGERS, "trigger.type", "page")
        wait = self.number(part.get("seconds"), "trigger.seconds", 0, 86_400)
        percent = self.number(part.get("percent"), "trigger.percent", 0, 100)
        for key, owner in (("seconds", "time"), ("percent", "scroll"), ("event", "event")):
            self.belongs(part, key, owner, kind)
        if kind != "event" and part.get("where"):
            self.error("trigger.where", f"A trigger of the type {kind} has no conditions.")
        event = part.get("event")
        name, where = None, None
        if kind == "event":
            name = self.attempt(lambda: clean_event_name(event, field="trigger.event")) if event is not None else None
            where = self.attempt(lambda: parse_where(part.get("where"), field="trigger.where", time_zone=self.time_zone))
        where = where or ()
        json["trigger"] = {"type": kind, "seconds": wait, "percent": percent, "event": name, "where": where_json(where)}
        return Trigger(kind, name, where, wait, percent)

    def frequency(self, raw: object, json: dict[str, Any]) -> Frequency:
        part = self.part(raw, "frequency", {"type", "max", "every_days"})
        kind = self.choice(part.get("type"), FREQUENCIES, "frequency.type", "until_acted")
        limits = [self.whole(part.get(name), f"frequency.{name}", 1, MAX_NUMBER) for name in ("max", "every_days")]
        for name in ("max", "every_days"):
            if kind != "every_time" and part.get(name) is not None:
                self.error(f"frequency.{name}", "It goes with the type every_time only.")
        json["frequency"] = {"type": kind, "max": limits[0], "every_days": limits[1]}
        return Frequency(kind, limits[0], limits[1])

    def schedule(self, raw: object, json: dict[str, Any]) -> Schedule:
        part = self.part(raw, "schedule", {"starts_at", "ends_at", "hours"})
        starts = self.optional(part, "starts_at", lambda raw: self.moment(raw, "schedule.starts_at"))
        ends = self.optional(part, "ends_at", lambda raw: self.moment(raw, "schedule.ends_at"))
        if starts is not None and ends is not None and ends <= starts:
            self.error("schedule.ends_at", "The end lies before the start.")
        hours = part.get("hours")
        if hours is not None and not (isinstance(hours, list) and 0 < len(hours) <= MAX_HOURS):
            self.error("schedule.hours", f"Expected a list of 1 to {MAX_HOURS} parts of days, not {shown(hours)}.")
            hours = None
        pairs = [self.hours(one, f"schedule.hours[{place}]") for place, one in enumerate(hours or [])]
        times = {"starts_at": starts, "ends_at": ends}
        json["schedule"] = {name: None if at is None else seconds(at) for name, at in times.items()}
        json["schedule"]["hours"] = [shape for _, shape in pairs] or None
        return Schedule(starts, ends, tuple(one for one, _ in pairs))

    def hours(self, raw: object, field: str) -> tuple[Hours, dict[str, Any]]:
        part = self.part(raw, field, {"days", "from", "to"}, required=True)
        days = list(DAYS) if part.get("days") is None else part["days"]
        if not isinstance(days, list) or not days or any(day not in DAYS for day in days):
            self.error(f"{field}.days", f"There is {shown(days)}; expected a list of days: {' '.join(DAYS)}.")
            days = list(DAYS)
        start, end = (self.minute(part.get(name), f"{field}.{name}") for name in ("from", "to"))
        if start is not None and end is not None and end <= start:
            self.error(f"{field}.to", "It is not after `from`; hours over midnight are two parts.")
        known = [day for day in DAYS if day in days]
        shape = {"days": known, "from": part.get("from"), "to": part.get("to")}
        return Hours(tuple(DAYS.index(day) for day in known), start or 0, end or 0), shape

    def minute(self, raw: object, field: str) -> int | None:
        """Return the minute of the day of a time such as 09:30; 24:00 is the end of the day."""
        match = _TIME_OF_DAY.fullmatch(raw) if isinstance(raw, str) else None
        if match is None:
            self.error(field, f"There is {shown(raw)}; expected a time of the day from 00:00 to 24:00.")
            return None
        return int(match[1]) * 60 + int(match[2]) if match[1] else 24 * 60

    def moment(self, raw: object, field: str) -> int:
        if isinstance(raw, str):
            moment = parse_iso(raw, field=field)
            if moment.tzinfo is None:
                try:
                    return ms_of(moment.replace(tzinfo=self.time_zone), field=field)
                except OverflowError as error:  # the first and the last hours of the calendar
                    raise Refusal(Reason.TIME_INVALID, field) from error
        return parse_time(raw, field=field)

    def goal(self, raw: object, json: dict[str, Any]) -> Goal | None:
        json["goal"] = None
        if raw is None:
            return None
        part = self.part(raw, "goal", {"query", "days"}, required=True)
        query = self.attempt(lambda: self.query(part.get("query"), "goal.query"))
        days = self.whole(part.get("days"), "goal.days", 1, MAX_GOAL_DAYS)
        if days is None and not self.has_error("goal.days"):
            self.error("goal.days", "A goal has a number of days.", Reason.FIELD_MISSING)
        if query is None or days is None:
            return None
        json["goal"] = {"query": to_json(query), "days": days}
        return Goal(query, days)

    def query(self, raw: object, field: str) -> Node:
        return parse(raw, retention_days=self.retention_days, field=field, time_zone=self.time_zone)

    def belongs(self, part: dict[str, Any], name: str, owner: str, kind: str) -> None:
        field = f"trigger.{name}"
        if kind == owner and part.get(name) is None:
            self.error(field, f"A trigger of the type {kind} has it.", Reason.FIELD_MISSING)
        elif kind != owner and part.get(name) is not None:
            self.error(field, f"It goes with the type {owner} only.")
