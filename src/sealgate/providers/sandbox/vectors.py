"""The sandbox's embeddings: texts that share words come out close to each other, equal texts equal. No model.

Each word, and each three letters in a row of it, is hashed to places and signs (feature hashing, Weinberger et al.,
2009); the sum is brought to length one. It is enough to try out a search, and nothing more.
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from typing import Any

import msgspec

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.refused import RefusedError

DIMENSIONS = 256
MOST_DIMENSIONS = 4096

_WORD = re.compile(r"\w+")


def answer(body: dict[str, Any]) -> bytes:
    """The body of the reply to a request for embeddings. Raises `RefusedError`."""
    dimensions = body.get("dimensions", DIMENSIONS)
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= MOST_DIMENSIONS:
        raise RefusedError(f"dimensions is an integer from 1 to {MOST_DIMENSIONS}.", param="dimensions")
    texts = _texts(body.get("input"))
    used = sum(map(tokens.count, texts))
    data = [
        {"object": "embedding", "index": index, "embedding": vector(text, dimensions)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": used, "total_tokens": used}
    return msgspec.json.encode({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _texts(given: Any) -> list[str]:
    """Token ids stand for themselves: the sandbox has no vocabulary in which they would mean words."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return given
        if all(isinstance(item, int) for item in given):
            return [_numbers(given)]
        if all(isinstance(item, list) for item in given):
            return [_numbers(item) for item in given]
    raise RefusedError("input is a text, a list of texts, token ids, or a list of lists of token ids.", param="input")


def _numbers(given: list[Any]) -> str:
    return " ".join(str(item) for item in given)


def vector(text: str, dimensions: int) -> list[float]:
    """A vector of length one."""
    sums = [0.0] * dimensions
    for word in _WORD.findall(text.casefold()):
        _add(sums, word, 1.0)
        for start in range(len(word) - 2):
            _add(sums, f"#{word[start : start + 3]}", 0.3)
    if not any(sums):  # there is no word in it, or its words cancel each other out, as they may in few dimensions
        sums[int.from_bytes(blake2b(_bytes(text), digest_size=8).digest(), "big") % dimensions] = 1.0
    length = math.sqrt(sum(value * value for value in sums))
    return [round(value / length, 7) for value in sums]


def _add(sums: list[float], feature: str, weight: float) -> None:
    """At eight places, so that two features that meet at one of them are still told apart."""
    hashed = blake2b(_bytes(feature), digest_size=16).digest()
    for start in range(0, 16, 2):
        part = int.from_bytes(hashed[start : start + 2], "big")
        sums[(part >> 1) % len(sums)] += weight if part & 1 else -weight


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
