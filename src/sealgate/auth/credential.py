"""From request headers to the credential they carry (rows B1 and B2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NoReturn

from sealgate.errors import Problem

MAX_KEY_BYTES = 512
MAX_TOKEN_BYTES = 16 * 1024
"""Tokens carry claims and signatures, so they may be longer than any key."""

_PRINTABLE = bytes(range(0x21, 0x7F))
_OF_TOKENS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


def credential_in(headers: Collection[tuple[bytes, bytes]], noted: Mapping[bytes, bytes]) -> bytes:
    """The credential in the headers of an ASGI scope (names in lower case), of which ``noted`` has the first values.

    ``Authorization: Bearer <credential>`` with the scheme in any case, ``Authorization: <credential>``, or
    ``x-api-key: <credential>``; both headers only if they agree. It need not be a good one: see `require_form`.

    Raises `Problem` ``missing_api_key`` where nothing was sent (an empty header is nothing: it is what
    ``Bearer $KEY`` gives with the variable unset), and ``invalid_api_key`` for everything else, always alike.
    """
    if len(noted) != len(headers):
        _refuse_doubles(headers)
    authorization = noted.get(b"authorization")
    credential = b"" if authorization is None else _without_scheme(authorization)
    api_key = noted.get(b"x-api-key")
    if api_key is not None and (api_key := api_key.strip(b" \t")):
        if credential and credential != api_key:
            _refuse()
        credential = api_key
    if not credential:
        raise Problem("missing_api_key")
    return credential


def require_form(credential: bytes) -> None:
    """Raise `Problem` ``invalid_api_key`` for what no key and no token can be.

    Both have printable ASCII bytes without spaces: keys up to 512, what has the shape of a token up to 16 KiB.
    """
    if len(credential) > MAX_KEY_BYTES:
        if len(credential) > MAX_TOKEN_BYTES or not is_token_shaped(credential):
            _refuse()
    elif credential.translate(None, _PRINTABLE):
        _refuse()


def is_token_shaped(credential: bytes) -> bool:
    """Whether this could be a JWT: three base64url parts, the last of which may be empty (``alg: none``)."""
    # A regular expression would cost more than all the rest of letting a known token in.
    first, _, rest = credential.partition(b".")
    second, dot, last = rest.partition(b".")
    return bool(first and second and dot) and b"." not in last and not credential.translate(None, _OF_TOKENS)


def _without_scheme(value: bytes) -> bytes:
    """The credential in the value of ``Authorization``; empty where only a scheme was sent."""
    words = value.split(None, 1)
    if len(words) == 2 and words[0].lower() == b"bearer":
        return words[1].rstrip()
    if len(words) == 2:
        _refuse()
    return b"" if not words or words[0].lower() == b"bearer" else words[0]


def _refuse_doubles(headers: Collection[tuple[bytes, bytes]]) -> None:
    """A credential is sent once, also if it were the same again."""
    names = [name for name, _ in headers]
    if names.count(b"authorization") > 1 or names.count(b"x-api-key") > 1:
        _refuse()


def _refuse() -> NoReturn:
    raise Problem("invalid_api_key")
