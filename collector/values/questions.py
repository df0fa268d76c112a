"""The question a message may carry: what is asked, what counts as an answer, and which attribute the answer sets."""

from typing import Any

import msgspec

from collector.values.attributes import clean_attribute, clean_email
from collector.values.checker import Checker
from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.text import storable

KINDS = ("email", "text", "choice", "rating")
SCALES = {"1-5": (1, 5), "0-10": (0, 10)}
"""The lowest and the highest rating."""
MAX_ANSWER = 2_000
"""Code points of an answer. The event and the attribute it becomes hold as much of it as they do of any text."""
MAX_CHOICES = 20
MAX_CHOICE = 120
MAX_ATTRIBUTE = 255

Answer = str | int
_EXAMPLES: dict[str, Answer] = {"email": "name@example.com", "text": "text", "choice": "text", "rating": 1}


class Question(msgspec.Struct, frozen=True):
    """What is asked. `choices` belong to the kind `choice`, `scale` to `rating`; `attribute` as its author wrote it."""

    kind: str
    attribute: str | None = None
    choices: tuple[str, ...] | None = None
    scale: str | None = None

    @property
    def attribute_name(self) -> str | None:
        """The canonical name of the attribute that an answer sets."""
        return None if self.attribute is None else clean_attribute(self.attribute, _EXAMPLES[self.kind])[0]

    def as_asked(self) -> dict[str, Any]:
        """Return what the browser has to know."""
        return {"kind": self.kind, "choices": self.choices, "scale": self.scale}

    def clean(self, raw: object) -> Answer:
        """Return an answer as it is kept.

        Raises:
            Refusal: ANSWER_INVALID, the question does not take it.
        """
        if self.kind == "rating":
            lowest, highest = SCALES[self.scale or "1-5"]
            if isinstance(raw, int) and not isinstance(raw, bool) and lowest <= raw <= highest:
                return raw
            raise _refused(f"a whole number from {lowest} to {highest}", raw)
        text = raw.strip()[:MAX_ANSWER] if isinstance(raw, str) else ""
        if not text or not storable(text):
            raise _refused("text", raw)
        if self.kind == "email":
            try:
                return clean_email(text)
            except Refusal:
                raise _refused("an email address", raw) from None
        if self.kind == "choice" and text not in (self.choices or ()):
            raise _refused("one of the choices", raw)
        return text


REPLY = Question("text")
"""What a chat asks for where nothing else is said: one reply in text."""


def clean_question(check: Checker, raw: object, field: str) -> Question | None:
    """Return the question of a definition, None where there is none or it is wrong; what is wrong is added to `check`."""
    if raw is None:
        return None
    part = check.part(raw, field, set(Question.__struct_fields__))
    if not isinstance(raw, dict):
        return None
    before = len(check.errors)
    kind = check.choice(part.get("kind"), KINDS, f"{field}.kind")
    attribute = check.text(part.get("attribute"), f"{field}.attribute", MAX_ATTRIBUTE) or None
    choices = _choices(check, part.get("choices"), f"{field}.choices", wanted=kind == "choice")
    scale = part.get("scale")
    if kind == "rating":
        scale = check.choice(scale, tuple(SCALES), f"{field}.scale", "1-5")
    elif scale is not None:
        check.error(f"{field}.scale", "It goes with the kind rating only.")
    if attribute is not None and kind:
        _check_attribute(check, attribute, kind, f"{field}.attribute")
    return Question(kind, attribute, choices, scale) if len(check.errors) == before else None


def _check_attribute(check: Checker, attribute: str, kind: str, field: str) -> None:
    try:
        name, _ = clean_attribute(attribute, _EXAMPLES[kind])
    except Refusal as refusal:
        said = "A browser may not set it." if refusal.code is Reason.ATTRIBUTE_PROTECTED else f"It takes no answer of the kind {kind}."
        check.error(field, said, refusal.code)
        return
    if name.endswith("_at"):  # a rating would pass for a time
        check.error(field, "It is a time, and no answer is one.", Reason.ATTRIBUTE_INVALID)


def _choices(check: Checker, raw: object, field: str, *, wanted: bool) -> tuple[str, ...] | None:
    if not wanted:
        if raw is not None:
            check.error(field, "They go with the kind choice only.")
        return None
    if raw is None:
        check.error(field, "A question of the kind choice has them.", Reason.FIELD_MISSING)
        return None
    if not isinstance(raw, list) or not 2 <= len(raw) <= MAX_CHOICES:
        check.error(field, f"Expected a list of 2 to {MAX_CHOICES} texts, not {shown(raw)}.")
        return None
    texts = [check.text(one, f"{field}[{place}]", MAX_CHOICE) for place, one in enumerate(raw)]
    for place, text in enumerate(texts):
        if check.has_error(f"{field}[{place}]"):
            continue
        if text is None or not text.strip():
            check.error(f"{field}[{place}]", "A choice has a text.", Reason.FIELD_MISSING)
        elif text != text.strip():
            check.error(f"{field}[{place}]", "A choice has no blanks at its ends.")
        elif text in texts[:place]:
            check.error(f"{field}[{place}]", "The choice stands here twice.")
    return tuple(text or "" for text in texts)


def _refused(expected: str, raw: object) -> Refusal:
    return Refusal(Reason.ANSWER_INVALID, "answer", f"expected {expected}, not {shown(raw)}")
