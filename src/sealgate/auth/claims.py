"""What a token's claims must say to be believed, and who is meant by them. Pure.

Sources: RFC 7519, section 4.1; RFC 8725, section 3; RFC 9068, sections 2 and 4; OpenID Connect Core, section 5.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sealgate.config_tables import Issuer

LONGEST_SUB = 255
"""In characters (OpenID Connect Core, section 2)."""
LONGEST_EMAIL = 320
LONGEST_NAME = 256
FAR = 253_402_300_800
"""Unix seconds of the year 10000; what lasts longer lasts until then."""


class Refused(Exception):  # noqa: N818 - it says what became of the token
    """A token is not accepted. The reason is for the operator: whoever sent it learns nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Identity(NamedTuple):
    """Whom a token names, and until when: Unix microseconds."""

    issuer: str
    sub: str
    email: str | None
    name: str | None
    expires_at: int


def identity(claims: dict[str, Any], rules: Issuer, typ: str | None, now: float) -> Identity:
    """Whom these claims name, if they are an access token for us at ``now`` (Unix seconds). Raises `Refused`."""
    if claims.get("iss") != rules.issuer:
        raise Refused("issuer")
    if rules.typ is not None and _media_type(typ) != _media_type(rules.typ):
        raise Refused("typ")
    _check_audience(claims, rules)
    expires = _check_times(claims, rules, now)
    sub = claims.get("sub")
    if not isinstance(sub, str) or (found := _text(sub, LONGEST_SUB)) is None:
        raise Refused("sub")
    email, name = _text(claims.get("email"), LONGEST_EMAIL), _text(claims.get("name"), LONGEST_NAME)
    return Identity(rules.issuer, found, email, name, expires)


def _check_audience(claims: dict[str, Any], rules: Issuer) -> None:
    made_for = claims.get(rules.audience_claim)
    found = made_for if isinstance(made_for, list) and rules.audience_claim == "aud" else [made_for]
    if not any(isinstance(each, str) and each in rules.audience for each in found):
        raise Refused("audience")
    if rules.clients and claims.get("azp", claims.get("client_id")) not in rules.clients:
        raise Refused("client")


def _check_times(claims: dict[str, Any], rules: Issuer, now: float) -> int:
    """Unix microseconds of the expiry, for which there is no leeway."""
    expires = _seconds(claims.get("exp"))
    if expires is None or expires <= now:
        raise Refused("exp")
    for name in ("nbf", "iat"):
        if name in claims and ((begins := _seconds(claims[name])) is None or begins > now + rules.leeway):
            raise Refused(name)
    return int(min(expires, FAR) * 1_000_000)


def _seconds(value: Any) -> float | None:
    """A NumericDate; None for anything else, `true` included."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _media_type(typ: str | None) -> str | None:
    """``at+jwt`` and ``application/AT+JWT`` are the same (RFC 7515, section 4.1.9)."""
    return None if typ is None else typ.lower().removeprefix("application/")


def _text(value: Any, longest: int) -> str | None:
    """Text that can be stored and shown."""
    return value if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() else None
