"""The samples of a generated API reference, as curl, requests, fetch and Go send them to ``/api/v1``.

Sent as they stand, with their placeholders, they are refused and every placeholder that cannot be meant is named; with
real values in the same places they are answered.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.gateway import Serve, Template, Threaded

from sealgate.config import Model, Provider, Route
from sealgate.testing import RawClient, http_request

CHAT = "/api/v1/chat/completions"
PLACEHOLDERS = """{
"model": "string",
"messages": [
{
"role": "string",
"content": "string",
"name": "string",
"tool_calls": [
{}
],
"tool_call_id": "string"
}
],
"temperature": 1,
"top_p": 1,
"n": 1,
"stream": false,
"stop": "string",
"max_tokens": 0,
"presence_penalty": 0,
"frequency_penalty": 0,
"tools": [
{
"type": "function",
"function": {
"name": "string",
"description": "string",
"parameters": {}
}
}
],
"tool_choice": "string",
"session_id": "string"
}"""
"""The body of the sample, as it stands between the quotes of curl and Go."""

REAL = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "What is the weather in Bern?", "name": "ada"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "Sunny", "tool_call_id": "c1"},
    ],
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "stream": False,
    "stop": "END",
    "max_tokens": 64,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "tools": [{"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": {}}}],
    "tool_choice": "auto",
}
"""The same fields with what is meant; sessions have tests of their own."""

Send = Callable[[Threaded, str], tuple[int, Any]]


@pytest.fixture(scope="module")
def gateway(gateway_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    """Model ``m``: the sandbox."""
    serve = Serve(gateway_template, tmp_path_factory.mktemp("gateways"))
    models = {"m": Model(routes=(Route(provider="sandbox", model="sandbox"),))}
    with serve.in_thread({"sandbox": Provider(kind="sandbox", region="local")}, models) as found:
        yield found


def raw(gateway: Threaded, body: str, **headers: str) -> tuple[int, Any]:
    async def ask() -> tuple[int, Any]:
        async with RawClient(gateway.host, gateway.port, timeout=30) as client:
            given = {"authorization": f"Bearer {gateway.key}"} | headers
            await client.send(http_request("POST", CHAT, given, body.encode()))
            response = await client.response()
            await response.read()
            return response.status, response.json

    return gateway.run(ask())


def by_curl(gateway: Threaded, body: str) -> tuple[int, Any]:
    if shutil.which("curl") is None:
        return raw(gateway, body, **{"user-agent": "curl/8", "accept": "*/*", "content-type": "application/json"})
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", "-X", "POST", f"{gateway.origin}{CHAT}",
         "-H", f"Authorization: Bearer {gateway.key}", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(answer)


def by_requests(gateway: Threaded, body: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    url = f"{gateway.origin}{CHAT}"
    response = requests.request("POST", url, json=json.loads(body), headers=headers, timeout=30)
    return response.status_code, response.json()


def by_fetch(gateway: Threaded, body: str) -> tuple[int, Any]:
    """``JSON.stringify`` without a content type, which makes fetch say that it is text."""
    compact = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)
    return raw(gateway, compact, **{"content-type": "text/plain;charset=UTF-8", "accept": "*/*", "user-agent": "node"})


def by_go(gateway: Threaded, body: str) -> tuple[int, Any]:
    return raw(
        gateway, body,
        **{"user-agent": "Go-http-client/1.1", "content-type": "application/json", "accept-encoding": "gzip"},
    )  # fmt: skip


SENDERS = pytest.mark.parametrize("send", [by_curl, by_requests, by_fetch, by_go])


@SENDERS
def test_a_sample_as_it_stands_is_422_and_names_each_placeholder(gateway: Threaded, send: Send) -> None:
    status, answer = send(gateway, PLACEHOLDERS)
    assert (status, answer["error"]["status"], answer["error"]["param"]) == (422, 422, "messages[0].role")
    assert [each["loc"] for each in answer["detail"]] == [
        ["body", "messages", 0, "role"],
        ["body", "messages", 0, "tool_calls", 0, "type"],
        ["body", "max_tokens"],
        ["body", "tool_choice"],
    ]
    assert all(each.keys() == {"loc", "msg", "type"} for each in answer["detail"])


@SENDERS
def test_a_sample_with_real_values_is_answered(gateway: Threaded, send: Send) -> None:
    status, answer = send(gateway, json.dumps(REAL, indent=0))
    assert status == 200, answer
    assert (answer["object"], answer["model"]) == ("chat.completion", "m")
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here to run fetch with")
def test_fetch_itself_is_understood(gateway: Threaded, tmp_path: Path) -> None:
    script = tmp_path / "sample.mjs"
    script.write_text(
        f"const body = JSON.stringify({json.dumps(REAL)})\n"
        f'const response = await fetch("{gateway.origin}{CHAT}", '
        f'{{ method: "POST", headers: {{ "Authorization": "Bearer {gateway.key}" }}, body }})\n'
        "console.log(response.status)\n"
    )
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "200"
