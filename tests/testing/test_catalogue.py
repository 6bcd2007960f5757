"""Faults by model name."""

import pytest

from sealgate.testing import CATALOGUE, RawClient, Received, ScriptedUpstream, by_model_name, wire
from sealgate.testing.script import resolve

pytestmark = pytest.mark.anyio

SLOW = {"slow", "late", "silent", "silent-after-head", "stall", "endless", "huge-line", "bad-chunk"}
"""Those that never end, or not soon."""


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_name_has_a_script_for_whole_and_streamed_requests(name: str, stream: bool):
    received = Received.sample(stream=stream, model=name)
    behaviour = by_model_name(received)
    assert behaviour is not None
    assert next(iter(resolve(behaviour, received))) is not None


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - SLOW))
async def test_every_name_can_be_asked_twice(name: str):
    async with ScriptedUpstream(handler=by_model_name) as upstream:
        for _ in range(2):
            async with RawClient(upstream.host, upstream.port) as client:
                await client.post("/v1/chat/completions", {"model": name, "stream": True})
                try:
                    response = await client.response()
                    await response.read()
                except ConnectionResetError:
                    assert name == "reset-at-once"
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [400, 429, 503, 599])
def test_fail_names_answer_with_their_status(status: int):
    behaviour = by_model_name(Received.sample(model=f"fail-{status}"))
    assert behaviour is not None
    sent = wire(behaviour)
    assert sent.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"retry-after: 2" in sent) == (status in (429, 503))


@pytest.mark.parametrize("name", ["gpt-5", "fail-200", "fail-5000", "cut2"])
def test_other_names_call_for_no_fault(name: str):
    assert by_model_name(Received.sample(model=name)) is None
