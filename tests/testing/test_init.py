"""The kit as a whole: judged by the official SDK, by its page, and by the names it exports.

What the SDK makes of good answers and of each way to fail is the client contract the gateway is built on, kept as
tests so that a new version that changes its mind is noticed. Each is asked of the synchronous client (upstream in a
thread, real time) and of the asynchronous one (same loop, jumping time).
"""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import sealgate.testing
from sealgate.config import load
from sealgate.testing import (
    LAST_CHUNK,
    Behaviour,
    Chunk,
    Hang,
    Received,
    ScriptedUpstream,
    Step,
    answer,
    chunk,
    cut_after,
    error,
    error_first,
    error_mid,
    faults,
    no_done,
    not_json,
    odd_indexes,
    redirect,
    role_only_then_cut,
    run,
    split,
    sse,
    stall_after,
    tool,
    truncated,
)

MESSAGES: list[Any] = [{"role": "user", "content": "Say it in two words"}]
AT_ONCE = {"retry-after-ms": "1"}


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the world's certificates for each client would be most of these tests' time."""


def sync_client(base_url: str, **options: Any) -> OpenAI:
    http_client = openai.DefaultHttpxClient(verify=NO_TLS)
    return OpenAI(base_url=base_url, api_key="test", http_client=http_client, **options)


def async_client(base_url: str, **options: Any) -> AsyncOpenAI:
    http_client = openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    return AsyncOpenAI(base_url=base_url, api_key="test", http_client=http_client, **options)


class Seen(NamedTuple):
    """What the caller of the SDK got: its chunks or its completion, or an exception; and what the server got."""

    chunks: list[Any]
    error: Exception | None
    requests: list[Received]

    @property
    def text(self) -> str:
        return "".join(choice.delta.content or "" for item in self.chunks for choice in item.choices or [])


def ask_sync(*behaviours: Behaviour, timeout: float = 600, **body: Any) -> Seen:
    chunks: list[Any] = []
    failed = None
    with ScriptedUpstream.in_thread() as upstream:
        upstream.enqueue(*behaviours)
        with sync_client(upstream.base_url, timeout=timeout) as client:
            try:
                got = client.chat.completions.create(model="m", messages=MESSAGES, **body)
                chunks.extend(got if body.get("stream") else [got])
            except Exception as error:
                failed = error
        return Seen(chunks, failed, upstream.requests)


def ask_async(*behaviours: Behaviour, timeout: float = 600, **body: Any) -> Seen:
    async def scene() -> Seen:
        chunks: list[Any] = []
        failed = None
        async with ScriptedUpstream() as upstream:
            upstream.enqueue(*behaviours)
            async with async_client(upstream.base_url, timeout=timeout) as client:
                try:
                    got: Any = await client.chat.completions.create(model="m", messages=MESSAGES, **body)
                    if body.get("stream"):
                        async for item in got:
                            chunks.append(item)  # one by one: those before an error count
                    else:
                        chunks.append(got)
                except Exception as error:
                    failed = error
            return Seen(chunks, failed, upstream.requests)

    return run(scene())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Seen]:
    return request.param


# --- Good answers -------------------------------------------------------------------------------------------------


def test_a_whole_answer_is_parsed(ask: Callable[..., Seen]):
    (completion,) = ask(answer("two words")).chunks
    assert completion.choices[0].message.content == "two words"
    assert completion.choices[0].finish_reason == "stop"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 2)
    assert completion._request_id == f"req_{completion.id.removeprefix('chatcmpl-')}"


def test_a_stream_is_parsed_with_its_usage(ask: Callable[..., Seen]):
    seen = ask(answer("two words"), stream=True, stream_options={"include_usage": True})
    assert seen.text == "two words"
    assert seen.chunks[-1].choices == []
    assert seen.chunks[-1].usage.total_tokens == 7
    assert seen.chunks[-2].choices[0].finish_reason == "stop"


def test_tool_calls_are_parsed_whole(ask: Callable[..., Seen]):
    (completion,) = ask(answer(tool_calls=[tool("weather", {"city": "Zürich"})])).chunks
    (call,) = completion.choices[0].message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "call_weather",
        "weather",
        {"city": "Zürich"},
    )
    assert completion.choices[0].finish_reason == "tool_calls"


def test_tool_calls_are_put_together_by_the_sdks_own_stream_reader():
    async def scene() -> Any:
        calls = [tool("weather", {"city": "Zürich"}), tool("time", {"zone": "CET", "seconds": True})]
        upstream = ScriptedUpstream(default=answer(tool_calls=calls))
        async with upstream, async_client(upstream.base_url) as client:
            manager = client.chat.completions.stream(model="m", messages=MESSAGES)
            async with manager as stream:
                return await stream.get_final_completion()

    message = run(scene()).choices[0].message
    assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("weather", {"city": "Zürich"}),
        ("time", {"zone": "CET", "seconds": True}),
    ]


def test_the_less_common_fields_are_parsed(ask: Callable[..., Seen]):
    (completion,) = ask(answer("a b", reasoning="hm", finish_reason="length"), n=2, logprobs=True).chunks
    assert [choice.index for choice in completion.choices] == [0, 1]
    choice = completion.choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.model_extra["reasoning_content"] == "hm"
    assert [token.token for token in choice.logprobs.content] == ["a ", "b"]
    (refusal,) = ask(answer(refusal="No.")).chunks
    assert (refusal.choices[0].message.refusal, refusal.choices[0].message.content) == ("No.", None)


@pytest.mark.parametrize(
    "behaviour", [split(answer("Grüße, 世界! 👋")), split(answer("Grüße, 世界! 👋"), rechunk=True)]
)
def test_awkward_splits_change_nothing(ask: Callable[..., Seen], behaviour: Behaviour):
    assert ask(behaviour, stream=True).text == "Grüße, 世界! 👋"


def test_models_are_listed():
    with ScriptedUpstream.in_thread(models=["a"]) as upstream:
        upstream.on_model("b", answer())
        with sync_client(upstream.base_url) as client:
            assert [model.id for model in client.models.list()] == ["a", "b"]


def test_what_the_sdk_sends(ask: Callable[..., Seen]):
    (request,) = ask(answer()).requests
    assert request.headers["authorization"] == "Bearer test"
    assert request.headers["x-stainless-retry-count"] == "0"
    assert float(request.headers["x-stainless-read-timeout"]) == 600
    assert "idempotency-key" not in request.headers
    assert request.json == {"model": "m", "messages": MESSAGES}


# --- Statuses and retries -----------------------------------------------------------------------------------------

CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    499: openai.APIStatusError,
    500: openai.InternalServerError,
    529: openai.InternalServerError,
}


@pytest.mark.parametrize("status", CLASSES)
def test_408_409_429_and_5xx_are_tried_three_times_and_nothing_else(ask: Callable[..., Seen], status: int):
    seen = ask(*[error(status, "why", headers=AT_ONCE)] * 3)
    assert isinstance(seen.error, CLASSES[status])
    assert (seen.error.status_code, seen.error.code) == (status, "why")
    assert len(seen.requests) == (3 if status in (408, 409, 429) or status >= 500 else 1)
    counts = [request.headers["x-stainless-retry-count"] for request in seen.requests]
    assert counts == [str(number) for number in range(len(counts))]


@pytest.mark.parametrize(("status", "wish", "requests"), [(400, "true", 3), (503, "false", 1), (429, "false", 1)])
def test_x_should_retry_is_obeyed(ask: Callable[..., Seen], status: int, wish: str, requests: int):
    seen = ask(*[error(status, headers={**AT_ONCE, "x-should-retry": wish})] * 3)
    assert len(seen.requests) == requests


def test_a_failure_that_passes_is_never_seen(ask: Callable[..., Seen]):
    seen = ask(error(503, headers=AT_ONCE), answer("after all"), stream=True)
    assert seen.text == "after all"
    assert len(seen.requests) == 2


def gaps(headers: dict[str, str]) -> list[float]:
    times = [request.received_at for request in ask_async(*[error(503, headers=headers)] * 3).requests]
    return [late - early for early, late in pairwise(times)]


def test_it_backs_off_half_a_second_then_one_less_up_to_a_quarter():
    first, second = gaps({})
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "120"}, 120),
        ({"retry-after-ms": "2000", "retry-after": "9"}, 2),
    ],
)
def test_retry_after_is_waited_for_exactly(headers: dict[str, str], seconds: float):
    assert gaps(headers) == pytest.approx([seconds, seconds])


def test_retry_after_may_be_a_date():
    first = gaps({"retry-after": formatdate(0, usegmt=True)})
    assert first[0] <= 0.5  # a date that has passed counts for nothing
    later = gaps({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert all(58 <= gap <= 60 for gap in later)


def test_a_retry_after_of_more_than_two_minutes_means_no_retry():
    assert gaps({"retry-after": "121"}) == []


def test_redirects_are_followed(ask: Callable[..., Seen]):
    with ScriptedUpstream.in_thread(default=answer("elsewhere")) as other:
        (completion,) = ask(redirect(f"{other.base_url}/chat/completions")).chunks
        assert completion.choices[0].message.content == "elsewhere"
        assert other.requests[0].method == "POST"


# --- Streams that break -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [truncated(3), no_done(answer("Hello! How"))])
def test_a_clean_end_without_done_looks_complete(ask: Callable[..., Seen], behaviour: Behaviour):
    seen = ask(behaviour, stream=True)
    assert seen.error is None
    assert seen.text.strip() == "Hello! How"


@pytest.mark.parametrize("behaviour", [cut_after(3), cut_after(3, rst=True)], ids=["fin", "rst"])
def test_a_broken_connection_is_an_error_after_the_text_and_is_not_tried_again(
    ask: Callable[..., Seen], behaviour: Behaviour
):
    seen = ask(behaviour, stream=True)
    assert type(seen.error) is openai.APIConnectionError
    assert seen.text == "Hello! How "
    assert len(seen.requests) == 1


def test_even_before_the_first_word(ask: Callable[..., Seen]):
    seen = ask(role_only_then_cut(), stream=True)
    assert (type(seen.error), seen.text, len(seen.requests)) == (openai.APIConnectionError, "", 1)


@pytest.mark.parametrize("shape", ["openai", "openrouter", "anthropic"])
@pytest.mark.parametrize(("after", "text"), [(0, ""), (3, "Hello! How ")])
def test_an_error_event_is_an_api_error_with_its_body(ask: Callable[..., Seen], shape: Any, after: int, text: str):
    seen = ask(error_mid(shape, after, "Boom"), stream=True)
    assert type(seen.error) is openai.APIError
    assert seen.error.message == "Boom"
    assert isinstance(seen.error.body, dict)
    assert seen.error.body["message"] == "Boom"
    assert seen.text == text
    assert len(seen.requests) == 1


def test_an_error_event_without_an_error_key_is_not_noticed(ask: Callable[..., Seen]):
    seen = ask(error_first("vllm", "Boom"), stream=True)
    assert seen.error is None
    assert seen.chunks[0].model_extra["message"] == "Boom"


def test_a_finish_reason_of_error_alone_is_not_noticed(ask: Callable[..., Seen]):
    assert ask(answer(finish_reason="error"), stream=True).error is None


def test_data_that_is_not_json_is_not_even_an_openai_error(ask: Callable[..., Seen]):
    seen = ask(not_json(after=2), stream=True)
    assert type(seen.error) is json.JSONDecodeError
    assert seen.text == "Hello! "


def test_a_stalled_stream_is_a_timeout_without_a_retry():
    seen = ask_async(stall_after(3), stream=True, timeout=30)
    assert type(seen.error) is openai.APITimeoutError
    assert (seen.text, len(seen.requests)) == ("Hello! How ", 1)


# --- Streams that are odd -----------------------------------------------------------------------------------------


def with_event(event: bytes) -> Behaviour:
    """A good stream with one more event before its ``[DONE]``."""

    def script(received: Received) -> Any:
        good = answer("Hi")
        return good.stream(received, [*good.events(received), event, good.done()])

    return script


def test_comments_are_ignored(ask: Callable[..., Seen]):
    seen = ask(with_event(b": keep-alive\n\n"), stream=True)
    assert (seen.text, seen.error) == ("Hi", None)


@pytest.mark.parametrize("event", [b"retry: 1000\n\n", b"id: 1\n\n", b"event: ping\n\n"])
def test_an_event_without_data_breaks_it_though_the_standard_says_to_ignore_it(ask: Callable[..., Seen], event: bytes):
    seen = ask(with_event(event), stream=True)
    assert type(seen.error) is json.JSONDecodeError
    assert seen.text == "Hi"


def test_ids_names_and_data_on_several_lines_are_understood(ask: Callable[..., Seen]):
    choice = {"index": 0, "delta": {"content": " there"}, "finish_reason": None}
    data = json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [choice]}, indent=1)
    event = b": why not\nid: 7\nretry: 5\nunknown: field\n" + sse(data, event="message")
    seen = ask(with_event(event), stream=True)
    assert (seen.text, seen.error) == ("Hi there", None)


def test_a_field_of_ours_in_a_chunk_without_choices_is_within_reach(ask: Callable[..., Seen]):
    extra = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [],
        "tresor": {"a": 1},
    }
    seen = ask(with_event(sse(extra)), stream=True)
    assert seen.chunks[-1].model_extra == {"tresor": {"a": 1}}


def test_odd_indexes_do_not_break_it(ask: Callable[..., Seen]):
    assert ask(odd_indexes(), stream=True).error is None


def open_after_done(received: Received) -> list[Step]:
    good = answer("Hi")
    events = [*good.events(received), good.done()]
    return [good.stream_head(received), *(Chunk(event) for event in events), Hang(), LAST_CHUNK]


def test_a_body_kept_open_after_done_is_left_at_once_by_the_sync_client():
    with ScriptedUpstream.in_thread(default=open_after_done) as upstream, sync_client(upstream.base_url) as client:
        assert len(list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))) == 3
        assert upstream.wait_peer_left(0, timeout=20).abandoned


def test_a_body_kept_open_after_done_is_drained_for_a_tenth_of_a_second_by_the_async_client():
    async def scene() -> float:
        async with ScriptedUpstream(default=open_after_done) as upstream, async_client(upstream.base_url) as client:
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            started = asyncio.get_running_loop().time()
            assert len([item async for item in stream]) == 3
            left = await upstream.wait_peer_left(0)
            assert left.peer_left_at is not None
            return left.peer_left_at - started

    assert run(scene()) == pytest.approx(0.1)


def test_bytes_after_done_are_never_seen(ask: Callable[..., Seen]):
    def script(received: Received) -> list[Step]:
        good = answer("Hi")
        late = sse({"choices": [], "receipt_id": "r"})
        return [good.stream_head(received), chunk(b"".join([*good.events(received), good.done(), late])), LAST_CHUNK]

    seen = ask(script, stream=True)
    assert (seen.text, seen.error) == ("Hi", None)
    assert all("receipt_id" not in (item.model_extra or {}) for item in seen.chunks)


# --- The kit's page and its names ---------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_examples_of_the_page_pass_as_a_test_module(pytester_run: Callable[[str], int]):
    source = "\n\n".join(blocks("python"))
    assert pytester_run(source) == source.count("def test_") == 11


@pytest.fixture
def pytester_run(tmp_path: Path) -> Callable[[str], int]:
    """Run a test module in a pytest of its own; the answer is how many tests passed, and all must."""

    def run_module(source: str) -> int:
        (tmp_path / "test_page.py").write_text(source, encoding="utf-8")
        options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
        command = [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_page.py")]
        plain = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # what happens to be installed is not needed
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=plain)
        assert done.returncode == 0, done.stdout + done.stderr
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None
        return int(passed[1])

    return run_module


def test_the_pages_configuration_is_one_the_gateway_takes(tmp_path: Path):
    (tmp_path / "sealgate.toml").write_text(blocks("toml")[0], encoding="utf-8")
    settings = load(tmp_path / "sealgate.toml", {})
    assert settings.providers["scripted"].base_url == "http://127.0.0.1:9100/v1"
    assert [route.model for route in settings.models["shaky"].routes] == ["fail-503", "anything"]


def test_every_name_on_the_page_exists():
    said = re.search(r"## What can go wrong\n(.*?)\n## ", PAGE, re.S)
    assert said is not None
    names = {re.split(r"\W", name)[0] for name in re.findall(r"`([a-z_0-9]+)[^`]*`", said[1])}
    assert names <= set(sealgate.testing.__all__)
    assert {name for name in re.findall(r"`([a-z0-9-]+)`", PAGE.rpartition("## Behind")[2]) if "-" in name} <= {
        "fail-503",
        *sealgate.testing.CATALOGUE,
    }


def test_every_fault_is_on_the_page():
    names = [name for name in vars(faults) if not name.startswith("_") and _is_fault(name)]
    assert [name for name in names if f"`{name}" not in PAGE] == []


def _is_fault(name: str) -> bool:
    return getattr(getattr(faults, name), "__module__", "") == faults.__name__


def test_everything_promised_is_exported():
    assert all(hasattr(sealgate.testing, name) for name in sealgate.testing.__all__)
