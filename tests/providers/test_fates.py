"""What a row declares of a parameter; that it is so on the wire is held in ``tests/conformance/test_wire_truth.py``."""

from __future__ import annotations

import pytest

from sealgate.providers.fates import DOCUMENTED, IN_WORDS, REFUSED, Fate, added, fate, fates
from sealgate.providers.table import KINDS


@pytest.mark.parametrize(("kind", "name", "expected"), [
    ("openai", "temperature", Fate("passed")),
    ("openai", "max_tokens", Fate("renamed", "`max_completion_tokens`")),
    ("openai", "top_k", Fate("dropped", "the provider does not know it")),
    ("openai", "guided_regex", REFUSED),
    ("hyperbolic", "response_format", IN_WORDS),
    ("lmstudio", "response_format", Fate("passed", "json_object asked for in words, the answer is checked")),
    ("google", "top_p", Fate("passed", "`generationConfig.topP`")),
    ("anthropic", "frequency_penalty", Fate("dropped", "the provider takes no such field")),
    ("anthropic", "logprobs", Fate("dropped", "where it asks for nothing; else `unsupported_parameter`, unless another "
                                              "route can")),
])  # fmt: skip
def test_the_fate_of_a_parameter_is_what_the_row_says(kind: str, name: str, expected: Fate) -> None:
    assert fate(KINDS[kind], name) == expected


def test_what_the_model_decides_is_said_to_depend() -> None:
    found = dict(fates(KINDS["bedrock"]))
    assert found["top_k"].action == "depends"
    assert found.keys() == set(DOCUMENTED)


def test_what_is_sent_besides_is_known() -> None:
    assert added(KINDS["openai"]).keys() == {"model", "stream", "stream_options"}
    assert added(KINDS["mistral"]).keys() == {"model", "stream"}, "it refuses stream_options"
    assert added(KINDS["google"]) == {}
