"""What is signed or encrypted, and with which key. Every purpose has a salt of its own that also holds the site.

SECRET_KEY is a ring: the last key signs, encrypts and makes digests, every key is accepted, so that a key can be changed without signing
anybody out. A collector whose ring lacks the key that another one uses cannot read what that one stored: it says so, and others answer.
"""

import base64
import hashlib
import hmac
from typing import Any

import jwt
import msgspec
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


_JWT_LONGEST = 366 * 86_400  # seconds a token's `exp` may lie ahead


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


def user_hash(identity_secret: str, user_id: str) -> str:
    """Return Intercom's user hash: hex HMAC-SHA256 of the user id."""
    return hmac.new(identity_secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()


def user_hash_fits(identity_secrets: tuple[str, ...], user_id: str, given: str) -> bool:
    """Compare in constant time with every valid secret of the site."""
    given_bytes = given.encode("utf-8", "replace")
    fits = [hmac.compare_digest(user_hash(secret, user_id).encode(), given_bytes) for secret in identity_secrets]
    return any(fits)


class Token(msgspec.Struct, frozen=True):
    """A genuine identity token: whose it is, and whether its time is over."""

    user_id: str
    ended: bool


def read_jwt(identity_secrets: tuple[str, ...], token: str, now_ms: int) -> Token | None:
    """Return an `intercom_user_jwt` (HS256 only, `exp` required and within a year), or None for what is not genuine."""
    for secret in identity_secrets:
        try:
            claims = jwt.decode(token, secret, algorithms=["HS256"], options={"require": ["exp"], "verify_exp": False})
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        expires, user_id = claims.get("exp"), claims.get("user_id")
        seconds = now_ms / 1000
        if not isinstance(expires, (int, float)) or not expires <= seconds + _JWT_LONGEST or not isinstance(user_id, str):
            return None
        return Token(user_id, ended=expires <= seconds)
    return None
