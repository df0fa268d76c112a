import pytest
from hypothesis import given

from collector.values.attributes import clean_browser_attributes, clean_rest_contact
from collector.values.errors import Reason, Refusal
from tests.values.strategies import JSON, objects

KEYS = (
    "email",
    "name",
    "avatar",
    "company",
    "companies",
    "custom_attributes",
    "created_at",
    "signed_up_at",
    "plan",
    "trial_at",
    "internal",
    "id",
)


def browser(**attributes):
    return clean_browser_attributes(attributes)[0]


def refusals(**attributes):
    return [(refusal.code.value, refusal.field) for refusal in clean_browser_attributes(attributes)[1]]


def rest_refused(raw):
    with pytest.raises(Refusal) as caught:
        clean_rest_contact(raw)
    return caught.value.code.value, caught.value.field


def test_standard_fields_keep_their_names():
    assert browser(email=" a@b.c ", name="Éva", phone="+36", utm_source="x", unsubscribed_from_emails=True) == {
        "email": "a@b.c",
        "name": "Éva",
        "phone": "+36",
        "utm_source": "x",
        "unsubscribed_from_emails": True,
    }


def test_anything_else_is_a_custom_attribute():
    assert browser(plan="pro", seats=5, beta=False) == {
        "custom_attributes.plan": "pro",
        "custom_attributes.seats": 5,
        "custom_attributes.beta": False,
    }


def test_custom_attributes_may_also_stand_together():
    assert browser(custom_attributes={"plan": "pro"}) == {"custom_attributes.plan": "pro"}


def test_null_unsets():
    assert browser(plan=None, email=None) == {"custom_attributes.plan": None, "email": None}


def test_a_name_ending_in_at_is_a_date():
    assert browser(trial_ends_at="2023-11-14T22:13:20Z") == {"custom_attributes.trial_ends_at": 1_700_000_000}


def test_created_at_of_a_browser_is_when_the_user_signed_up():
    assert browser(created_at=1_700_000_000) == {"signed_up_at": 1_700_000_000}


@pytest.mark.parametrize("order", [("created_at", "signed_up_at"), ("signed_up_at", "created_at")])
def test_signed_up_at_outweighs_created_at(order):
    times = {"created_at": 1, "signed_up_at": 2}
    assert browser(**{key: times[key] for key in order}) == {"signed_up_at": 2}


def test_a_company_is_kept_flat():
    company = {"company_id": "c1", "name": "Acme", "created_at": 5, "monthly_spend": 10.5}
    flat = {"company.id": "c1", "company.name": "Acme", "company.created_at": 5, "company.monthly_spend": 10.5}
    assert browser(company=company) == flat
    assert browser(companies=[company]) == flat


def test_an_avatar_is_an_address_or_intercoms_object():
    assert (
        browser(avatar="https://a.b/c") == browser(avatar={"type": "avatar", "image_url": "https://a.b/c"}) == {"avatar": "https://a.b/c"}
    )


def test_a_bad_attribute_does_not_cost_the_good_ones():
    assert browser(plan="pro", nested={"a": 1}, email="none") == {"custom_attributes.plan": "pro"}
    assert refusals(plan="pro", nested={"a": 1}, email="none") == [
        ("attribute_invalid", "attributes.nested"),
        ("attribute_invalid", "attributes.email"),
    ]


@pytest.mark.parametrize(
    "name",
    ["id", "role", "user_id", "external_id", "user_hash", "updated_at", "last_seen_at", "session_count", "page_view_count", "internal"],
)
def test_computed_fields_are_protected_from_browsers(name):
    assert refusals(**{name: 1}) == [("attribute_protected", f"attributes.{name}")]


@pytest.mark.parametrize("name", ["a.b", "a$b", "", "a\x00", "\ud800", "a\nb"])
def test_a_bad_name_is_refused(name):
    assert [code for code, _ in refusals(**{name: 1})] == ["attribute_invalid"]


def test_long_text_is_cut_and_flagged():
    assert clean_browser_attributes({"plan": "x" * 256})[2] == [(Reason.STRING_CUT, "attributes.plan")]


def test_ten_thousand_attributes_are_not_all_taken():
    cleaned, refused, _ = clean_browser_attributes({f"a{n}": n for n in range(10_000)})
    assert len(cleaned) == 250
    assert [refusal.code for refusal in refused] == [Reason.TOO_MANY_ITEMS]


@given(objects(*KEYS) | JSON)
def test_any_json_of_a_browser_is_cleaned_or_refused(raw):
    cleaned, refused, _ = clean_browser_attributes(raw)
    assert all(value is None or isinstance(value, str | int | float) for value in cleaned.values())
    for refusal in refused:
        refusal.field.encode()
        refusal.message.encode()


def test_a_contact_of_rest_has_standard_fields_and_custom_ones():
    body = {"email": "a@b.c", "signed_up_at": 5, "internal": True, "custom_attributes": {"plan": "pro", "trial_at": "1970-01-01"}}
    assert clean_rest_contact(body) == (
        {"email": "a@b.c", "signed_up_at": 5, "internal": True, "custom_attributes.plan": "pro", "custom_attributes.trial_at": 0},
        [],
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"plan": "pro"}, ("field_unknown", "plan")),
        ({"created_at": 5}, ("attribute_protected", "created_at")),
        ({"role": "user"}, ("attribute_protected", "role")),
        ({"session_count": 5}, ("attribute_protected", "session_count")),
        ({"email": "none"}, ("attribute_invalid", "email")),
        ({"custom_attributes": []}, ("attribute_invalid", "custom_attributes")),
        ({"custom_attributes": {"a": {"b": 1}}}, ("attribute_invalid", "custom_attributes.a")),
        ({"custom_attributes": {"a_at": 1_700_000_000_000}}, ("time_invalid", "custom_attributes.a_at")),
        ({"custom_attributes": {"a.b": 1}}, ("attribute_invalid", "custom_attributes.a.b")),
        ([], ("body_invalid", None)),
    ],
)
def test_the_first_bad_place_of_a_contact_is_named(body, error):
    assert rest_refused(body) == error


@given(objects(*KEYS) | JSON)
def test_any_json_of_rest_is_cleaned_or_refused(raw):
    try:
        clean_rest_contact(raw)
    except Refusal as refusal:
        (refusal.field or "").encode()
        refusal.message.encode()
