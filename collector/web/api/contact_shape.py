"""A contact as Intercom gives it out: all of its keys, null or empty where nothing is known. Times are unix seconds."""

from typing import Any

from flask import url_for

from collector.domain import people
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.attributes import FALSE_UNTIL_SET
from collector.values.visit_context import VISIT_FIELDS

_CUSTOM = "custom_attributes."
_COMPANY = "company."
_PLAIN = ("email", "phone", "name", "avatar", "language_override", "signed_up_at", "last_seen_at", "last_active_at", "session_count")
_NEVER_KNOWN = (
    "owner_id", "last_replied_at", "last_contacted_at", "last_email_opened_at", "last_email_clicked_at", "android_app_name",
    "android_app_version", "android_device", "android_os_version", "android_sdk_version", "android_last_seen_at", "ios_app_name",
    "ios_app_version", "ios_device", "ios_os_version", "ios_sdk_version", "ios_last_seen_at",
)  # fmt: skip
_LISTS = ("tags", "notes", "companies", "opted_in_subscription_types")


def contact_json(services: Services, connection: Connection, site: Site, person: Person) -> dict[str, Any]:
    """Return the contact object of a person."""
    known = people.values(connection, site.id, services.names, person, services.clock())
    address = url_for("api.contacts_show", contact_id=person.contact_id)
    return {
        "type": "contact",
        "id": person.contact_id,
        "workspace_id": site.key,
        "external_id": person.user_id,
        "role": person.role,
        "created_at": person.created_at // 1000,
        "updated_at": known["updated_at"],
        **{name: known.get(name) for name in (*_PLAIN, *sorted(VISIT_FIELDS))},
        **dict.fromkeys(_NEVER_KNOWN),
        **{name: known.get(name, False) for name in sorted(FALSE_UNTIL_SET)},
        "verified": person.verified,
        "location": {"type": "location", **dict.fromkeys(("country", "region", "city", "country_code", "continent_code"))},
        "custom_attributes": _group(known, _CUSTOM),
        "company": _group(known, _COMPANY),
        **{name: {"type": "list", "data": [], "url": f"{address}/{name}", "total_count": 0, "has_more": False} for name in _LISTS},
        "social_profiles": {"type": "list", "data": []},
    }


def _group(known: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in sorted(known.items()) if name.startswith(prefix)}
