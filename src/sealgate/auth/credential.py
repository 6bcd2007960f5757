"""From request headers to the credential they carry (rows B1 and B2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from sealgate.errors import Problem

MAX_KEY_BYTES = 512
MAX_TOKEN_BYTES = 16 * 1024
"""Tokens carry claims and signatures, so they may be longer than any key."""

_PRINTABLE = bytes(range(0x21, 0x7F))
_OF_TOKENS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


def parse_authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The credential in the headers of an ASGI scope (names in lower case).

    ``Authorization: Bearer <credential>`` with the scheme in any case, ``Authorization: <credential>``, or
    ``x-api-key: <credential>``; both headers only if they agree. The result is 1 to 512 printable ASCII bytes without
    spaces, or up to 16 KiB where it has the shape of a token.

    Raises `Problem` ``missing_api_key`` where nothing was sent (an empty header is nothing: it is what
    ``Bearer $KEY`` gives with the variable unset), and ``invalid_api_key`` for everything else, always alike.
    """
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                _refuse()
            authorization = value
        elif name == b"x-api-key":
            if api_key is not None:
                _refuse()
            api_key = value
    credential = b"" if authorization is None else _without_scheme(authorization)
    if api_key is not None and (api_key := api_key.strip(b" \t")):
        if credential and credential != api_key:
            _refuse()
        credential = api_key
    if not credential:
        raise Problem("missing_api_key")
    if len(credential) > MAX_KEY_BYTES:
        if len(credential) > MAX_TOKEN_BYTES or not is_token_shaped(credential):
            _refuse()
    elif credential.translate(None, _PRINTABLE):
        _refuse()
    return credential


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


def _refuse() -> NoReturn:
    raise Problem("invalid_api_key")
