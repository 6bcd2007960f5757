"""Log probabilities."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.logprobs import token_logprob
from sealgate.providers.sandbox.words import WORDS

_tokens = st.one_of(st.text(min_size=1, max_size=4), st.sampled_from(WORDS).map(lambda word: " " + word))


@given(_tokens, st.integers(0, 20), st.integers(0, 10**6))
def test_probabilities_are_in_order_and_together_at_most_one(token: str, top: int, seed: int) -> None:
    """The token itself first, all tokens different, falling, with their bytes."""
    entry = token_logprob(token, top, Chance(seed))
    likely = entry["top_logprobs"]
    assert len(likely) == top
    assert entry["logprob"] < 0
    assert len({each["token"] for each in likely}) == top
    assert [each["logprob"] for each in likely] == sorted((each["logprob"] for each in likely), reverse=True)
    assert sum(math.exp(each["logprob"]) for each in likely) <= 1
    for each in (entry, *likely):
        assert bytes(each["bytes"]).decode() == each["token"]
    if top:
        assert likely[0] == {key: entry[key] for key in ("token", "bytes", "logprob")}
