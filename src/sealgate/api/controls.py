"""Control headers of a request: what a caller steers beside the body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from sealgate.api.call import Headers
from sealgate.errors import Problem

RECEIPT = b"x-tresor-receipt"
NONCE = b"x-tresor-nonce"
TIMEOUT = b"x-tresor-timeout-seconds"
IDEMPOTENCY_KEY = b"idempotency-key"
STRICT = b"x-sealgate-strict"
SDK_READ_TIMEOUT = (b"x-stainless-read-timeout", b"x-stainless-timeout")
SDK_HEAD_START = 0.25
TRACE = (b"traceparent", b"tracestate")

_CONTROLS = frozenset({RECEIPT, NONCE, TIMEOUT, IDEMPOTENCY_KEY, STRICT})
_OF_INTEREST = _CONTROLS | frozenset(SDK_READ_TIMEOUT) | frozenset(TRACE)
_DUPLICATE = {TIMEOUT: "invalid_timeout_override", NONCE: "invalid_nonce", IDEMPOTENCY_KEY: "invalid_idempotency_key"}


class Controls(msgspec.Struct, frozen=True, gc=False):
    """What the headers said. ``client_seconds`` is what the SDK's own read timeout leaves."""

    receipt: bool | None = None
    nonce: str | None = None
    timeout: float | None = None
    strict: bool = False
    client_seconds: float | None = None
    trace: Mapping[str, str] = MappingProxyType({})


NONE = Controls()


def read(headers: Headers, noted: Mapping[bytes, bytes], max_timeout: float) -> Controls:
    """``noted`` has the first value of each header.

    Raises `Problem` for a control header that is malformed or was sent twice (rows A13, C21, C22, C25, C26).
    """
    if _OF_INTEREST.isdisjoint(noted):
        return NONE
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _OF_INTEREST:
            if name in found and name in _CONTROLS:
                raise Problem(_DUPLICATE.get(name, "duplicate_header"), f"{name.decode()} was sent more than once.")
            found[name] = value
    _check_idempotency_key(found.get(IDEMPOTENCY_KEY))
    return Controls(
        receipt=_flag(found.get(RECEIPT), "invalid_receipt_header"),
        nonce=_nonce(found.get(NONCE)),
        timeout=_timeout(found.get(TIMEOUT), max_timeout),
        strict=bool(_flag(found.get(STRICT), "invalid_header")),
        client_seconds=_client_seconds(found),
        trace={name.decode(): text for name in TRACE if (text := _trace(found.get(name)))},
    )


def _flag(value: bytes | None, code: str) -> bool | None:
    if value is None:
        return None
    if value.lower() not in (b"true", b"false"):
        raise Problem(code)
    return value.lower() == b"true"


def _nonce(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value.decode("latin-1")
    if not 1 <= len(text) <= 128 or not (text.isascii() and text.isprintable()):
        raise Problem("invalid_nonce")
    return text


def _trace(value: bytes | None) -> str:
    """What can go on to a provider. W3C asks to ignore what is malformed, so nothing is refused here."""
    text = (value or b"").decode("latin-1")
    return text if text.isascii() and text.isprintable() else ""


def _timeout(value: bytes | None, highest: float) -> float | None:
    if value is None:
        return None
    if not value.isdigit() or int(value[:9]) < 1:
        raise Problem("invalid_timeout_override")
    return min(float(value[:9]), highest)


def _check_idempotency_key(value: bytes | None) -> None:
    """Its form only: answers are not replayed by it yet."""
    if value is not None and not (1 <= len(value) <= 255 and value.isascii()):
        raise Problem("invalid_idempotency_key")


def _client_seconds(found: dict[bytes, bytes]) -> float | None:
    """When to be done for an SDK with a read timeout of its own; None where it sent none, or no positive number.

    Just before it gives up: then it hears that it should not try again, which it would by itself.
    """
    for name in SDK_READ_TIMEOUT:
        try:
            seconds = float(found[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds - min(SDK_HEAD_START, seconds / 20)
    return None
