"""Parameters that a provider takes in another form, each change told to the caller."""

import copy
from typing import Any

import pytest
from tests.gateway import Serve, provider

from sealgate.providers.params import Adjustment, adjust
from sealgate.providers.table import KINDS
from sealgate.testing import ScriptedUpstream

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WANTED = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}}


@pytest.mark.parametrize(("kind", "sent", "goes", "changes"), [
    ("openai", {"max_tokens": 5}, {"max_tokens": 5}, []),
    ("openai", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}, []),
    ("deepseek", {"max_completion_tokens": 5, "seed": 1}, {"max_tokens": 5, "seed": 1},
     [Adjustment("max_completion_tokens", "renamed", "sent as max_tokens")]),
    ("deepseek", {"max_tokens": 5}, {"max_tokens": 5}, []),
    ("openai", WANTED, WANTED, []),
    ("llamacpp", WANTED, {"response_format": {"type": "json_object", "schema": SCHEMA}},
     [Adjustment("response_format", "renamed", "sent as json_object with the schema")]),
    ("llamacpp", {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
     {"response_format": {"type": "json_object", "schema": {}}},
     [Adjustment("response_format", "renamed", "sent as json_object with the schema")]),
    ("llamacpp", {"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}, []),
    ("llamacpp", {}, {}, []),
])  # fmt: skip
def test_what_goes_upstream_and_what_is_said_of_it(
    kind: str, sent: dict[str, Any], goes: dict[str, Any], changes: list[Adjustment]
) -> None:
    before = copy.deepcopy(sent)
    assert adjust(KINDS[kind], sent) == (goes, changes)
    assert sent == before, "another route may need it as it was"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_change_is_listed_in_the_answer(serve: Serve, stream: bool) -> None:
    async with ScriptedUpstream() as upstream:
        async with serve({"acme": provider(upstream, kind="llamacpp")}) as gateway:
            reply = await gateway.chat(stream=stream, **WANTED)
        [received] = upstream.requests
    assert received.json["response_format"] == {"type": "json_object", "schema": SCHEMA}
    assert reply.tresor["adjustments"] == [
        {"param": "response_format", "action": "renamed", "detail": "sent as json_object with the schema"}
    ]
