"""What a page gives to prove who its user is: a keyed hash of the user id, or a signed token, as Intercom has them."""

import hashlib
import hmac

import jwt
import msgspec

_JWT_LONGEST = 366 * 86_400  # seconds a token's `exp` may lie ahead


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
