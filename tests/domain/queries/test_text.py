"""Texts: `=` and `IN` heed case, `~ ^ $` compare case-folded NFC text, whatever the database makes of letters."""

import json
from typing import Any

import pytest

from tests.support.asking import Asking
from tests.support.world import user

X = "custom_attributes.x"


def rule(operator: str, value: Any, field: str = X) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def test_sharp_s_and_double_s_are_one_when_folded(asking: Asking) -> None:
    asking.having(X, sharp="Alte Straße", double="ALTE STRASSE", capital="ALTE STRAẞE", other="Alte Strase")
    for written in ("Straße", "strasse", "STRAẞE"):
        for operator in ("~", "$"):
            assert asking.found(rule(operator, written)) == {"sharp", "double", "capital"}
        assert asking.found(rule("!~", written)) == {"other"}
    assert asking.found(rule("^", "alte strass")) == {"sharp", "double", "capital"}


def test_equality_and_sets_tell_sharp_s_from_double_s_and_heed_case(asking: Asking) -> None:
    asking.having(X, sharp="Straße", lower="straße", double="Strasse")
    assert asking.found(rule("=", "Straße")) == {"sharp"}
    assert asking.found(rule("!=", "Straße")) == {"lower", "double"}
    assert asking.found(rule("IN", ["STRASSE", "straße"])) == {"lower"}
    assert asking.found(rule("NIN", ["STRASSE", "straße"])) == {"sharp", "double"}


def test_the_dotted_capital_i_folds_to_i_with_a_dot_and_not_to_i(asking: Asking) -> None:
    asking.having(X, dotted="İstanbul", plain="Istanbul", lower="istanbul", dotless="ıstanbul")
    assert asking.found(rule("~", "İSTANBUL")) == {"dotted"}
    assert asking.found(rule("^", "i\u0307stanbul")) == {"dotted"}
    assert asking.found(rule("^", "ISTANBUL")) == {"plain", "lower"}
    assert asking.found(rule("$", "STANBUL")) == {"dotted", "plain", "lower", "dotless"}
    assert asking.found(rule("~", "ıstanbul")) == {"dotless"}
    assert asking.found(rule("=", "İstanbul")) == {"dotted"}


def test_greek_sigma_has_one_folded_form(asking: Asking) -> None:
    asking.having(X, capital="ΟΔΟΣ", final="οδος", middle="οδοσ")
    for written in ("ΟΔΟΣ", "οδος"):
        assert asking.found(rule("$", written)) == {"capital", "final", "middle"}


def test_composed_and_decomposed_letters_are_one_when_folded(asking: Asking) -> None:
    asking.having(X, composed="Caf\u00e9", decomposed="Cafe\u0301", without="Cafe")
    for written in ("CAF\u00c9", "CAFE\u0301"):
        for operator in ("~", "^", "$"):
            assert asking.found(rule(operator, written)) == {"composed", "decomposed"}
    assert asking.found(rule("$", "e")) == {"without"}


def test_equality_compares_code_points_as_they_were_sent(asking: Asking) -> None:
    asking.having(X, composed="Caf\u00e9", decomposed="Cafe\u0301")
    assert asking.found(rule("=", "Caf\u00e9")) == {"composed"}
    assert asking.found(rule("IN", ["Cafe\u0301"])) == {"decomposed"}


def test_names_of_attributes_and_events_are_found_in_either_form(asking: Asking) -> None:
    asking.having("custom_attributes.caf\u00e9", a="yes").doing("caf\u00e9", b=[0])
    assert asking.found(rule("=", "yes", "custom_attributes.cafe\u0301")) == {"a"}
    assert asking.found({"event": "cafe\u0301", "field": "count", "operator": "=", "value": 1}) == {"b"}


def test_emoji_and_astral_characters_are_one_character_each(asking: Asking) -> None:
    asking.having(X, smile="😀", after="a😀", family="😀\u200d😁 x", other="😁", astral="A\U00010400B")
    cases: list[tuple[str, Any, set[str]]] = [
        ("^", "😀", {"smile", "family"}),
        ("$", "😀", {"smile", "after"}),
        ("~", "😀", {"smile", "after", "family"}),
        ("!~", "😀", {"other", "astral"}),
        ("^", "😀\u200d", {"family"}),
        ("$", "😁", {"other"}),
        ("~", "\U00010428", {"astral"}),  # 𐐨, the small letter of 𐐀
        ("^", "\U00010400\U0001f600", set()),
        ("^", "a\U00010400", {"astral"}),
        ("$", "\U00010400b", {"astral"}),
        ("=", "😀", {"smile"}),
        ("IN", ["😁", "a😀"], {"after", "other"}),
    ]
    for operator, value, expected in cases:
        assert asking.found(rule(operator, value)) == expected, (operator, value)


@pytest.mark.parametrize("operator", ["~", "^", "$"])
def test_every_text_contains_begins_and_ends_with_the_empty_one(asking: Asking, operator: str) -> None:
    asking.having(X, text="a", empty="", number=1, flag=True, unknown=None)
    assert asking.found(rule(operator, "")) == {"text", "empty"}
    assert asking.found(rule("!~", "")) == {"number", "flag", "unknown"}


@pytest.mark.parametrize("sign", ["%", "_", "\\", "'", '"', "*", "?", "[a]"])
def test_no_sign_stands_for_others(asking: Asking, sign: str) -> None:
    asking.having(X, itself=f"a{sign}b", another="axb")
    for operator, value in (("~", sign), ("^", f"a{sign}"), ("$", f"{sign}b"), ("=", f"a{sign}b"), ("IN", [f"a{sign}b"])):
        assert asking.found(rule(operator, value)) == {"itself"}


def test_a_text_longer_than_what_is_stored_is_found_nowhere(asking: Asking) -> None:
    asking.having(X, a="abc")
    for operator in ("~", "^", "$"):
        assert asking.found(rule(operator, "abc" * 600)) == set()


def test_what_stands_for_a_zero_character_is_found(asking: Asking) -> None:
    """U+0000 becomes U+FFFD in values; in a query it is refused (tests/values)."""
    asking.having(X, replaced="a\ufffdb", other="ab")
    for operator, value in (("~", "\ufffd"), ("^", "a\ufffd"), ("$", "\ufffdb"), ("=", "a\ufffdb")):
        assert asking.found(rule(operator, value)) == {"replaced"}


def test_text_of_metadata_is_folded_too(asking: Asking) -> None:
    asking.doing("bought", sharp=[{"street": "Straße 😀"}], double=[{"STREET": "STRASSE"}], number=[{"street": 5}], without=[{}])

    def bought(operator: str, value: Any) -> set[str]:
        where = [{"field": "metadata.street", "operator": operator, "value": value}]
        return asking.found({"event": "bought", "field": "count", "operator": ">", "value": 0, "where": where})

    assert bought("^", "strasse") == {"sharp", "double"}
    assert bought("$", "😀") == {"sharp"}
    assert bought("!~", "straße") == {"number", "without"}
    assert bought("=", "STRASSE") == {"double"}


@pytest.mark.parametrize("field", ["external_id", "email", "email_domain", "name", "company.name", "utm_source"])
def test_every_field_of_text_compares_the_same_way(asking: Asking, field: str) -> None:
    if field == "external_id":
        asking.world.set(user("a@STRASSE"), {}, browser=False)
    else:
        asking.having("email" if field == "email_domain" else field, **{"a@STRASSE": "a@STRASSE", "b": None})
    assert asking.found(rule("$", "straße", field)) == {"a@STRASSE"}
    stored = "strasse" if field == "email_domain" else "a@STRASSE"
    assert asking.found(rule("=", stored, field)) == {"a@STRASSE"}
    assert asking.found(rule("IN", [json.dumps(stored), 1], field)) == set()


def test_a_domain_is_what_follows_the_first_at_sign(asking: Asking) -> None:
    asking.having("email", plain="a@shop.example", two="a@b@shop.example", without="a@", unknown=None)
    assert asking.found(rule("=", "shop.example", "email_domain")) == {"plain"}
    assert asking.found(rule("=", "b@shop.example", "email_domain")) == {"two"}
    assert asking.found({"field": "email_domain", "operator": "is_unknown"}) == {"without", "unknown"}
