"""Reasoning of other providers, carried in the signatures of Anthropic's thinking blocks.

Anthropic's clients send thinking blocks back as they came, and nothing else of what led to an answer. So what another
provider wants back travels where such a client keeps it: in ``signature``, or in ``data`` of a redacted block.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

MARK = "sealgate.v1."

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


def sealed(details: list[Any]) -> str:
    """``reasoning_details`` as a signature."""
    return MARK + base64.urlsafe_b64encode(_encode(details)).decode()


def opened(signature: str) -> list[dict[str, Any]] | None:
    """The ``reasoning_details`` in a signature, none where it is broken; None where it is another's."""
    if not signature.startswith(MARK):
        return None
    try:
        return _decode(base64.urlsafe_b64decode(signature[len(MARK) :]))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return []
