"""What is signed or encrypted, and with which key. Every purpose has a salt of its own that also holds the site.

SECRET_KEY is a ring: the last key signs, encrypts and makes digests, every key is accepted, so that a key can be changed without signing
anybody out. A collector whose ring lacks the key that another one uses cannot read what that one stored: it says so, and others answer.
"""

import base64
import hashlib
import hmac
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from itsdangerous import BadData, URLSafeSerializer

from collector.values.errors import Problem, Reason, Refusal


class KeyMissing(Problem):
    """Something stored was encrypted with a key that is not in this process's ring: 503, a collector that has it can answer."""

    def __init__(self) -> None:
        super().__init__(503, [Refusal(Reason.KEY_MISSING)], [("Retry-After", "5")])

    def __str__(self) -> str:
        """Say it to an operator."""
        return "SECRET_KEY does not fit the secrets stored in this database: a key that they were stored with is not in its ring"


class Keyring:
    """Signs and encrypts with the installation's secret keys, oldest first."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = list(keys)
        fernets = [Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"leadlight.encrypt:" + key.encode()).digest())) for key in keys]
        self._fernet = MultiFernet(fernets[::-1])

    def encrypt(self, text: str) -> str:
        """Return the text encrypted, for a column of the database."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Return the text of `encrypt`.

        Raises:
            KeyMissing: no key of the ring made this token.
        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise KeyMissing from None

    def sign(self, purpose: str, value: Any) -> str:
        """Return the JSON value signed for a purpose, as text for URLs and cookies."""
        return str(URLSafeSerializer(self._keys, salt=f"leadlight.{purpose}").dumps(value))

    def unsign(self, purpose: str, token: str) -> Any:
        """Return the value of `sign`, or None on any doubt."""
        try:
            return URLSafeSerializer(self._keys, salt=f"leadlight.{purpose}").loads(token)
        except (BadData, UnicodeError, ValueError, RecursionError):
            return None

    def macs(self, purpose: str, text: str) -> list[bytes]:
        """Return the keyed digests of a text, one for each key: the last is to be stored, any may have been.

        A key must stay in the ring as long as digests matter that were made with it.
        """
        message = f"leadlight.{purpose}:{text}".encode()
        return [hmac.new(key.encode(), message, hashlib.sha256).digest() for key in self._keys]


def digest(secret: str) -> bytes:
    """Return the form in which random secrets (lead secrets, access tokens) are stored: SHA-256, they need no stretching."""
    return hashlib.sha256(secret.encode()).digest()
