"""Log probabilities in OpenAI's form: made up, but in order, below zero, and never more than certain together."""

from __future__ import annotations

import math
from typing import Any

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.words import WORDS

Json = dict[str, Any]


def token_logprob(token: str, top: int, chance: Chance) -> Json:
    """``{token, bytes, logprob, top_logprobs}``; of ``top`` likely tokens the one that was written comes first.

    The token gets 0.55 to 0.95, each further one half of what is left.
    """
    share = 0.55 + chance.below(401) / 1000
    entry = _entry(token, share)
    likely: list[Json] = []
    if top:
        likely.append(entry)
        left = (1 - share) * 0.99  # room for rounding: together they stay below certainty
        start = chance.below(len(WORDS))
        # One more word than needed: one of them may be the token itself.
        others = [" " + WORDS[(start + step) % len(WORDS)] for step in range(top)]
        for other in [each for each in others if each != token][: top - 1]:
            left /= 2
            likely.append(_entry(other, left))
    return {**entry, "top_logprobs": likely}


def _entry(token: str, share: float) -> Json:
    return {"token": token, "bytes": list(token.encode()), "logprob": round(math.log(share), 6)}
