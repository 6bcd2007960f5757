"""The seam: paces, waits, endings, as an HTTP client would show them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.providers.sandbox import SandboxClient


class Clock:
    """Sleep that takes no time and writes down what it was asked for; 0 is a mere breath and is not counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(round(seconds, 6))
        await asyncio.sleep(0)


def post(model: str = "echo", **fields: Any) -> Request:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return Request("POST", "sandbox:/chat/completions", {}, msgspec.json.encode(body))


async def drain(response: Any) -> list[bytes]:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    return pieces


@pytest.mark.anyio
async def test_a_stream_keeps_its_pace() -> None:
    """The first token after its wait, then the gap between all events."""
    clock = Clock()
    client = SandboxClient(tokens_per_second=50, first_token_seconds=0.3, sleep=clock.sleep)
    pieces = await drain(await client.send(post(stream=True, max_tokens=5), Limits()))
    assert clock.slept == [0.3] + [0.02] * (len(pieces) - 1)


@pytest.mark.anyio
async def test_a_whole_answer_takes_as_long_as_its_tokens() -> None:
    """Before its head, as with a real server; then the body is there at once."""
    clock = Clock()
    client = SandboxClient(tokens_per_second=50, first_token_seconds=0.3, sleep=clock.sleep)
    response = await client.send(post(max_tokens=11), Limits())
    assert clock.slept == [0.5]
    await drain(response)
    assert clock.slept == [0.5]


@pytest.mark.anyio
async def test_without_a_pace_nothing_waits_but_others_get_their_turn() -> None:
    """A long stream lets go now and then, so that no other task starves."""
    clock = Clock()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    client = SandboxClient(sleep=clock.sleep)
    pieces = await drain(await client.send(post(stream=True, ignore_eos=True, max_tokens=400), Limits()))
    task.cancel()
    assert clock.slept == []
    assert len(pieces) > 400
    assert turns > 20


@pytest.mark.anyio
async def test_the_models_own_pace_goes_first() -> None:
    """``slow`` and ``slow-<tokens a second>``."""
    clock = Clock()
    client = SandboxClient(tokens_per_second=1000, sleep=clock.sleep)
    await drain(await client.send(post("slow", stream=True, max_tokens=2), Limits()))
    await drain(await client.send(post("slow-4", max_tokens=3), Limits()))
    assert clock.slept == [0.5, 0.05, 0.05, 0.05, 0.05, 1.0]


@pytest.mark.anyio
async def test_silence_lasts_until_the_limit() -> None:
    """STALLED after the silence allowed, which may be changed on the way."""
    clock = Clock()
    client = SandboxClient(sleep=clock.sleep)
    for stream in (False, True):
        response = await client.send(post("silent", stream=stream), Limits(silence=7))
        assert response.status == 200
        response.set_silence(3)
        with pytest.raises(UpstreamError) as caught:
            await response.read()
        assert caught.value.failure is Failure.STALLED
    assert clock.slept == [3, 3]


@pytest.mark.anyio
async def test_silence_can_be_left_at_once() -> None:
    """A reader that is cancelled is gone."""
    response = await SandboxClient().send(post("silent"), Limits())
    task = asyncio.create_task(response.read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.anyio
async def test_a_pace_slower_than_the_limit_times_out() -> None:
    """Before the head TIMEOUT, in a body STALLED."""
    clock = Clock()
    client = SandboxClient(tokens_per_second=0.1, sleep=clock.sleep)
    with pytest.raises(UpstreamError) as caught:
        await client.send(post(), Limits(silence=5))
    assert caught.value.failure is Failure.TIMEOUT
    response = await client.send(post(stream=True), Limits(silence=5))
    assert await response.read()
    with pytest.raises(UpstreamError) as caught:
        await response.read()
    assert caught.value.failure is Failure.STALLED
    assert clock.slept == [5, 5]


@pytest.mark.anyio
@pytest.mark.parametrize(("stream", "failure"), [(True, Failure.RESET), (False, Failure.TRUNCATED)])
async def test_a_cut_is_raised_after_what_came(stream: bool, failure: Failure) -> None:
    """The pieces first, then the failure, however often one reads."""
    response = await SandboxClient().send(post("cut", stream=stream), Limits())
    assert await response.read()
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await drain(response)
        assert caught.value.failure is failure


@pytest.mark.anyio
async def test_a_body_that_ended_stays_ended_and_a_closed_one_is_closed() -> None:
    """``b""`` again and again; RESET after `close`."""
    client = SandboxClient()
    response = await client.send(post(), Limits())
    await drain(response)
    assert await response.read() == b""
    response = await client.send(post(stream=True), Limits())
    await response.read()
    response.close()
    response.close()
    with pytest.raises(UpstreamError) as caught:
        await response.read()
    assert caught.value.failure is Failure.RESET
    await client.aclose()


@pytest.mark.anyio
async def test_answers_are_dated_by_the_clock() -> None:
    """In whole seconds."""
    response = await SandboxClient(clock=lambda: 12.9).send(post(), Limits())
    assert msgspec.json.decode(await response.read())["created"] == 12


@pytest.mark.anyio
async def test_other_endpoints_are_404_and_models_are_listed() -> None:
    """What it has is told its mistakes."""
    client = SandboxClient()
    for path, status in (("/v1/embeddings", 400), ("/audio/transcriptions", 400), ("/responses?x=1", 404)):
        response = await client.send(Request("POST", "sandbox:" + path, {}, b"{}"), Limits())
        assert response.status == status
        code = msgspec.json.decode(await response.read())["error"]["code"]
        assert (code == "unknown_url") == (status == 404)
    response = await client.send(Request("GET", "sandbox:/models", {}, b""), Limits())
    assert "echo" in [model["id"] for model in msgspec.json.decode(await response.read())["data"]]
