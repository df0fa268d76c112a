"""Questions of messages: what may be asked, and what counts as an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Problem, Refusal
from collector.values.messages import clean_auto_message
from collector.values.questions import MAX_ANSWER, Question
from tests.values.strategies import JSON, objects

EMAIL = Question("email")
TEXT = Question("text")
CHOICE = Question("choice", None, ("Yes", "No <b>way</b>"))
FIVE, TEN = Question("rating", None, None, "1-5"), Question("rating", None, None, "0-10")


def content(kind="popup", **fields):
    raw = {"name": "Hello", "type": kind, "content": {"body": "Hi", **fields}}
    return clean_auto_message(raw, retention_days=90).as_json()["content"]


def errors(kind="popup", **fields):
    with pytest.raises(Problem) as caught:
        content(kind, **fields)
    return [(error.field.removeprefix("content."), error.code.value) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("asked", "whole"),
    [
        ({"kind": "email", "attribute": "email"}, {"attribute": "email", "choices": None, "scale": None}),
        ({"kind": "text"}, {"attribute": None, "choices": None, "scale": None}),
        ({"kind": "choice", "choices": ["a", "b"]}, {"attribute": None, "choices": ["a", "b"], "scale": None}),
        ({"kind": "rating", "attribute": "company.nps"}, {"attribute": "company.nps", "choices": None, "scale": "1-5"}),
        ({"kind": "rating", "scale": "0-10"}, {"attribute": None, "choices": None, "scale": "0-10"}),
    ],
)
def test_a_question_is_given_out_with_its_defaults(asked, whole):
    given_out = content(question=asked)["question"]
    assert given_out == {"kind": asked["kind"], **whole}
    assert content(question=given_out)["question"] == given_out


def test_banners_lie_at_the_top_or_at_the_bottom():
    assert content("banner")["position"] == "top"
    assert content("banner", position="bottom")["position"] == "bottom"
    assert errors("banner", position="corner") == [("position", "field_invalid")]


def test_a_chat_has_a_sender_and_asks_for_a_reply_unless_it_asks_for_something_else():
    assert content("chat", sender="Support")["question"]["kind"] == "text"
    assert content("chat", sender="Support", question={"kind": "email"})["question"]["kind"] == "email"
    assert errors("chat") == errors("chat", sender=" ") == [("sender", "field_missing")]


def test_a_button_answers_only_where_something_is_asked():
    send = {"label": "Send", "action": "answer"}
    assert content(question={"kind": "text"}, buttons=[send])["buttons"][0]["action"] == "answer"
    assert content("chat", sender="Support", buttons=[send])["buttons"][0]["action"] == "answer"
    assert errors(buttons=[send]) == [("buttons[0].action", "field_invalid")]


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ([], ("question", "field_invalid")),
        ({}, ("question.kind", "field_invalid")),
        ({"kind": "essay"}, ("question.kind", "field_invalid")),
        ({"kind": "text", "label": "x"}, ("question.label", "field_unknown")),
        ({"kind": "choice"}, ("question.choices", "field_missing")),
        ({"kind": "choice", "choices": "ab"}, ("question.choices", "field_invalid")),
        ({"kind": "choice", "choices": ["one"]}, ("question.choices", "field_invalid")),
        ({"kind": "choice", "choices": [str(n) for n in range(21)]}, ("question.choices", "field_invalid")),
        ({"kind": "choice", "choices": ["a", 5]}, ("question.choices[1]", "field_invalid")),
        ({"kind": "choice", "choices": ["a", "x" * 121]}, ("question.choices[1]", "field_invalid")),
        ({"kind": "choice", "choices": ["a", " "]}, ("question.choices[1]", "field_missing")),
        ({"kind": "choice", "choices": ["a", None]}, ("question.choices[1]", "field_missing")),
        ({"kind": "choice", "choices": ["a", " b"]}, ("question.choices[1]", "field_invalid")),
        ({"kind": "choice", "choices": ["a", "b", "a"]}, ("question.choices[2]", "field_invalid")),
        ({"kind": "text", "choices": ["a", "b"]}, ("question.choices", "field_invalid")),
        ({"kind": "rating", "scale": "1-7"}, ("question.scale", "field_invalid")),
        ({"kind": "email", "scale": "1-5"}, ("question.scale", "field_invalid")),
        ({"kind": "text", "attribute": 5}, ("question.attribute", "field_invalid")),
        ({"kind": "text", "attribute": "a$b"}, ("question.attribute", "attribute_invalid")),
        ({"kind": "text", "attribute": "user_id"}, ("question.attribute", "attribute_protected")),
        ({"kind": "text", "attribute": "internal"}, ("question.attribute", "attribute_protected")),
        ({"kind": "text", "attribute": "email"}, ("question.attribute", "attribute_invalid")),
        ({"kind": "rating", "attribute": "name"}, ("question.attribute", "attribute_invalid")),
        ({"kind": "text", "attribute": "renewed_at"}, ("question.attribute", "time_invalid")),
        ({"kind": "rating", "attribute": "renewed_at"}, ("question.attribute", "attribute_invalid")),
    ],
)
def test_an_error_names_its_place(question, error):
    assert errors(question=question) == [error]


@pytest.mark.parametrize(
    ("question", "raw", "kept"),
    [
        (EMAIL, " Reader@example.com ", "Reader@example.com"),
        (TEXT, " <b>Éva</b> ", "<b>Éva</b>"),
        (TEXT, "javascript:alert(1)", "javascript:alert(1)"),
        (TEXT, "x" * 10_000, "x" * MAX_ANSWER),
        (CHOICE, "No <b>way</b>", "No <b>way</b>"),
        (FIVE, 1, 1),
        (FIVE, 5, 5),
        (TEN, 0, 0),
        (TEN, 10, 10),
    ],
)
def test_what_is_an_answer(question, raw, kept):
    assert question.clean(raw) == kept


@pytest.mark.parametrize(
    ("question", "raw"),
    [
        (EMAIL, "reader"),
        (EMAIL, "a@b c"),
        (EMAIL, "x" * 250 + "@example.com"),
        (EMAIL, 5),
        (TEXT, " "),
        (TEXT, 5),
        (TEXT, "\x00"),
        (CHOICE, "yes"),
        (CHOICE, 0),
        (FIVE, 0),
        (FIVE, 6),
        (FIVE, "5"),
        (FIVE, True),
        (FIVE, 4.0),
        (TEN, -1),
        (TEN, 11),
        (TEN, None),
    ],
)
def test_what_is_none(question, raw):
    with pytest.raises(Refusal) as caught:
        question.clean(raw)
    assert (caught.value.code.value, caught.value.field) == ("answer_invalid", "answer")


@given(st.sampled_from(["popup", "chat"]), JSON | objects("kind", "attribute", "choices", "scale"))
def test_any_json_is_a_question_or_refused_with_fields(kind, question):
    try:
        whole = content(kind, sender="Support", question=question)
    except Problem as problem:
        assert all(error.field.startswith("content.question") for error in problem.errors)
    else:
        assert content(kind, **whole) == whole
