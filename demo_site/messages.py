"""The auto messages of the demo, as data for `POST /api/auto_messages`.

Each tells one story of what behaviour can bring about in a page. All lift the caps between messages, so that somebody trying the
demo out sees them one after another; on a real site they would be left in place.
"""

from typing import Any

JsonObject = dict[str, Any]

NEVER_UPGRADED: JsonObject = {"event": "upgraded-plan", "field": "count", "operator": "=", "value": 0}


def auto_messages(site: str) -> list[JsonObject]:
    """All messages, for a demo site at the address `site` (buttons lead to its pages)."""
    return [
        _message(
            "Thanks for the upgrade",
            priority=100,
            title="You are on {{event.metadata.plan}}",
            body=(
                'Thank you, {{first_name | fallback: "there"}}. **{{event.metadata.plan}}** is active now, the invoice over '
                "{{event.metadata.price}} is on its way, and nothing you made before has changed."
            ),
            buttons=[_link("Create a report", f"{site}/app/reports/new"), _dismiss("Close")],
            trigger={"type": "event", "event": "upgraded-plan"},
            # Each upgrade is thanked for: the message is about that one event.
            frequency={"type": "every_time"},
            position="center",
        ),
        _message(
            "Help after a form error",
            priority=80,
            title="Shall we take it from here?",
            body=(
                "The {{event.metadata.form}} form did not accept what you entered: "
                '*{{event.metadata.problem | fallback: "something is missing"}}*\n\n'
                "If it keeps saying no, write to us directly and skip the form."
            ),
            buttons=[_link("Write an email", "mailto:hello@example.com"), _dismiss("I will try again")],
            trigger={"type": "event", "event": "form-error"},
            frequency={"type": "until_acted"},
        ),
        _message(
            "After the whitepaper",
            priority=70,
            title="A good read on the way to a good report",
            body=(
                '**{{event.metadata.title | fallback: "The guide"}}** has {{event.metadata.pages | fallback: "a few"}} pages. '
                "Its template is in Plainsheet already: a first report takes about ten seconds."
            ),
            buttons=[_link("Try the template", f"{site}/app/reports/new"), _dismiss("Later")],
            trigger={"type": "event", "event": "downloaded-whitepaper"},
            frequency={"type": "once"},
        ),
        _message(
            "Pricing, again",
            priority=50,
            title="Still comparing plans?",
            body=(
                "You have looked at this page a few times. Most teams of up to ten people are happy on **Team**:\n\n"
                "- unlimited reports\n- all sources\n- back to Free at the end of any month\n"
            ),
            buttons=[
                _link("Choose Team", f"{site}/sign-up?plan=team"),
                _link("Ask a question", f"{site}/contact"),
                _dismiss("Just looking"),
            ],
            audience={
                "operator": "AND",
                "value": [
                    {
                        "event": "page-view",
                        "field": "count",
                        "operator": ">",
                        "value": 3,
                        "where": [{"field": "metadata.path", "operator": "=", "value": "/pricing"}],
                    },
                    NEVER_UPGRADED,
                ],
            },
            page=_path("is", "/pricing"),
            trigger={"type": "page"},
            frequency={"type": "until_acted"},
        ),
        _message(
            "Cart without checkout",
            priority=40,
            title="Your cart is still here",
            body="You put something in the cart and left it there. It keeps, and shipping is free from €50.",
            buttons=[_link("Back to the cart", f"{site}/cart"), _dismiss("Not today")],
            # Measure against measure: something was added after the last checkout, or there never was one.
            audience={"event": "added-to-cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}},
            page={"operator": "OR", "value": [_path("is", "/"), _path("starts", "/shop")]},
            trigger={"type": "page"},
            frequency={"type": "until_acted"},
        ),
        _message(
            "Reports never exported",
            priority=30,
            title="Take your report along",
            body=(
                'One thing you have not tried yet, {{first_name | fallback: "there"}}: every report **exports as CSV** in one click, '
                "with the definitions in the first row."
            ),
            buttons=[_link("Show me my reports", f"{site}/app"), _dismiss("I know")],
            audience={
                "operator": "AND",
                "value": [
                    {"field": "role", "operator": "=", "value": "user"},
                    {"event": "created-report", "field": "count", "operator": ">", "value": 0},
                    {"event": "exported-report", "field": "count", "operator": "=", "value": 0},
                ],
            },
            page=_path("starts", "/app"),
            trigger={"type": "page"},
            frequency={"type": "until_acted"},
        ),
    ]


def _message(
    name: str, *, title: str, body: str, buttons: list[JsonObject], priority: int, position: str = "corner", **rest: Any
) -> JsonObject:
    content = {"title": title, "body": body, "buttons": buttons, "position": position}
    return {"name": name, "type": "popup", "state": "live", "content": content, "priority": priority, "ignore_caps": True, **rest}


def _path(operator: str, value: str) -> JsonObject:
    return {"field": "path", "operator": operator, "value": value}


def _link(label: str, url: str) -> JsonObject:
    return {"label": label, "action": "url", "url": url}


def _dismiss(label: str) -> JsonObject:
    return {"label": label, "action": "dismiss"}
