"""What is different between two documents, place by place."""

from typing import Any

import pytest

from collector.values.differences import ABSENT, Difference, differences


def test_equal_documents_do_not_differ() -> None:
    assert differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_the_smallest_place_is_named_in_the_order_of_the_document() -> None:
    before = {"content": {"title": "a", "buttons": [{"label": "x"}, {"label": "y"}]}, "priority": 0}
    after = {"priority": 1, "content": {"title": "b", "buttons": [{"label": "x"}, {"label": "z"}]}}
    assert differences(before, after) == [
        Difference("content.title", "a", "b"),
        Difference("content.buttons[1].label", "y", "z"),
        Difference("priority", 0, 1),
    ]


def test_what_was_added_to_a_list_or_taken_from_it_has_no_other_side() -> None:
    assert differences([1, 2], [1]) == [Difference("[1]", 2, ABSENT)]
    assert differences([1], [1, 2]) == [Difference("[1]", ABSENT, 2)]


def test_another_kind_of_rule_differs_as_a_whole() -> None:
    rule = {"event": "cart", "field": "count", "operator": ">", "value": 0}
    group = {"operator": "NOT", "value": [rule]}
    assert differences({"audience": rule}, {"audience": group}) == [Difference("audience", rule, group)]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (None, ""), ({}, []), (1, 1.0)])
def test_values_of_different_types_differ(before: Any, after: Any) -> None:
    assert differences(before, after) == [Difference("", before, after)]
