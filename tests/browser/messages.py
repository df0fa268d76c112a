"""Auto messages as a marketer makes them: by REST."""

from typing import Any

from tests.support.client import Client


class Message:
    """An auto message that is live, and its numbers."""

    def __init__(self, client: Client, definition: dict[str, Any]) -> None:
        self.client = client
        answer = client.api("POST", "/auto_messages", definition)
        assert answer.status == 201, answer.text
        self.id: str = answer.json["id"]

    def archive(self) -> None:
        """Take it out of everybody's way."""
        answer = self.client.api("PUT", f"/auto_messages/{self.id}", {"state": "archived"})
        assert answer.status == 200, answer.text

    def stats(self) -> dict[str, Any]:
        """Return what became of it."""
        answer = self.client.api("GET", f"/auto_messages/{self.id}/stats")
        assert answer.status == 200, answer.text
        found: dict[str, Any] = answer.json
        return found
