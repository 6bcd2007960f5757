"""A whole gateway behind nginx and HAProxy, each with the configuration of the documentation."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.clients.served import Served, served
from tests.proxies.conftest import Before
from tests.proxies.front import Front

from sealgate.testing import LAST_CHUNK, Hang, ScriptedUpstream, Step, WaitFor, answer, chunk, head, sse
from sealgate.testing.thread import ThreadedUpstream

CHAT = "/v1/chat/completions"
CONFIG = """
[server]
trusted_proxies = ["127.0.0.1"]
require_https = true
max_body_bytes = 12000000
[timeouts]
drain = 1
[providers.acme]
kind = "openai"
base_url = "{base_url}"
api_key = "upstream-secret"
[models.m]
routes = [{{ provider = "acme", model = "test-model" }}]
"""
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread(default=answer("Hi")) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: ThreadedUpstream) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "sealgate.toml").write_text(CONFIG.format(base_url=upstream.base_url))
    with served(folder) as found:
        yield found


@pytest.fixture
def connection(proxy: Front) -> Iterator[http.client.HTTPSConnection]:
    """A connection of a caller over HTTP/1.1."""
    found = proxy.connect()
    yield found
    found.close()


@pytest.fixture(scope="module")
def proxy(before: Before, gateway: Served) -> Front:
    return before(int(gateway.url.rpartition(":")[2]))


def body(content: str = "Hello", **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **fields}).encode()


def signed(gateway: Served, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json", **headers}


def curl(proxy: Front, gateway: Served, **fields: Any) -> subprocess.Popen[bytes]:
    """The same request over HTTP/2."""
    program = shutil.which("curl")
    if program is None or b"HTTP2" not in subprocess.check_output([program, "--version"]):
        pytest.skip("curl with HTTP/2 is not installed")
    command = [program, "--http2", "-k", "-s", "-N", "-w", "\nHTTP/%{http_version} %{http_code}", "-d", body(**fields)]
    for name, value in signed(gateway).items():
        command += ["-H", f"{name}: {value}"]
    return subprocess.Popen([*command, f"{proxy.url}{CHAT}"], stdout=subprocess.PIPE)


def until(holds: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of ``holds``."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)
    return found


def logged(gateway: Served, request_id: str) -> dict[str, Any]:
    """The access line of a request."""

    def line() -> dict[str, Any] | None:
        lines = map(json.loads, (gateway.folder / "err.txt").read_text().splitlines())
        return next((each for each in lines if each.get("request_id") == request_id), None)

    found: dict[str, Any] = until(line)
    return found


def gated(count: int) -> tuple[list[Step], list[threading.Event]]:
    """A stream of ``count`` words, each of which waits for its gate."""
    gates = [threading.Event() for _ in range(count)]
    script: list[Step] = [head(200, {"content-type": "text/event-stream"})]
    for number, gate in enumerate(gates):
        delta = {"index": 0, "delta": {"role": "assistant", "content": f"w{number} "}, "finish_reason": None}
        script += [WaitFor(gate), chunk(sse({"choices": [delta]}))]
    script += [chunk(sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})), chunk(sse("[DONE]"))]
    return [*script, LAST_CHUNK], gates


# Whole answers


def test_an_answer_comes_through_with_its_headers(connection: http.client.HTTPSConnection, gateway: Served) -> None:
    for status, payload in ((200, body()), (404, body(model="unknown")), (200, body())):
        connection.request("POST", CHAT, payload, signed(gateway, **{"X-Request-ID": "through"}))
        response = connection.getresponse()
        document = json.loads(response.read())
        assert response.status == status
        assert response.headers["x-request-id"] == "through"
        assert response.headers["x-process-time"]
        assert document["choices" if status == 200 else "error"]


def test_a_big_body_comes_through_unchanged(
    connection: http.client.HTTPSConnection, gateway: Served, upstream: ThreadedUpstream
) -> None:
    text = "x" * 8 * MEGABYTE
    connection.request("POST", CHAT, body(text), signed(gateway))
    assert connection.getresponse().status == 200
    assert upstream.requests[-1].json["messages"][0]["content"] == text


def test_a_body_that_is_too_big_is_refused_in_the_apis_own_form(
    connection: http.client.HTTPSConnection, gateway: Served
) -> None:
    connection.request("POST", CHAT, body("x" * 13 * MEGABYTE), signed(gateway))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "request_too_large")


def test_an_early_answer_to_a_long_body_is_heard(connection: http.client.HTTPSConnection) -> None:
    """The gateway refuses a wrong key without reading the body; the proxy must not make a 502 of that."""
    connection.request("POST", CHAT, body("x" * 4 * MEGABYTE), {"Authorization": "Bearer wrong"})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (401, "invalid_api_key")


# Streams


def test_each_event_goes_on_as_it_comes(
    connection: http.client.HTTPSConnection, gateway: Served, upstream: ThreadedUpstream
) -> None:
    """The provider sends a word only after the caller has read the one before: a buffer would wait for ever."""
    script, gates = gated(5)
    upstream.enqueue(script)
    connection.request("POST", CHAT, body(stream=True), signed(gateway))
    gates[0].set()
    response = connection.getresponse()
    for number, gate in enumerate(gates):
        gate.set()
        until_line(response, f"w{number} ".encode())
    assert response.read().endswith(b"data: [DONE]\n\n")


def until_line(stream: Any, word: bytes) -> None:
    while word not in (line := stream.readline()):
        assert line, f"ended before {word!r}"


def test_each_event_goes_on_as_it_comes_over_http_2(proxy: Front, gateway: Served, upstream: ThreadedUpstream) -> None:
    script, gates = gated(5)
    upstream.enqueue(script)
    with curl(proxy, gateway, stream=True) as process:
        assert process.stdout is not None
        for number, gate in enumerate(gates):
            gate.set()
            until_line(process.stdout, f"w{number} ".encode())
        assert process.stdout.read().endswith(b"data: [DONE]\n\n\nHTTP/2 200")


# Leaving


def test_a_caller_that_leaves_in_a_stream_ends_the_call_to_the_provider(
    connection: http.client.HTTPSConnection, gateway: Served, upstream: ThreadedUpstream
) -> None:
    script, gates = gated(2)
    upstream.enqueue(script)
    connection.request("POST", CHAT, body(stream=True), signed(gateway))
    gates[0].set()
    response = connection.getresponse()
    until_line(response, b"w0 ")
    leave(connection)
    upstream.wait_peer_left(timeout=20)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_before_the_answer_ends_the_call_to_the_provider(
    connection: http.client.HTTPSConnection, gateway: Served, upstream: ThreadedUpstream, stream: bool
) -> None:
    upstream.enqueue([Hang()])
    seen = len(upstream.requests)
    connection.request("POST", CHAT, body(stream=stream), signed(gateway))
    upstream.wait_for_requests(seen + 1)
    leave(connection)
    upstream.wait_peer_left(timeout=20)


def leave(connection: http.client.HTTPSConnection) -> None:
    """Close the socket, which a response that is not read to its end would keep open."""
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_caller_that_leaves_over_http_2_ends_the_call_to_the_provider(
    proxy: Front, gateway: Served, upstream: ThreadedUpstream, begun: bool
) -> None:
    script, gates = gated(2)
    upstream.enqueue(script)
    seen = len(upstream.requests)
    with curl(proxy, gateway, stream=True) as process:
        assert process.stdout is not None
        upstream.wait_for_requests(seen + 1)
        if begun:
            gates[0].set()
            until_line(process.stdout, b"w0 ")
        process.kill()
    upstream.wait_peer_left(timeout=20)


# Who it is


@pytest.mark.parametrize("forged", [{}, {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "127.0.0.1"}])
def test_the_log_has_the_true_caller(proxy: Front, gateway: Served, forged: dict[str, str]) -> None:
    name = f"{proxy.name}-{forged.get('X-Forwarded-For', 'none')}"
    with closing(proxy.connect(source="127.0.0.9")) as connection:
        connection.request("GET", "/v1/models", headers={"X-Request-ID": name, **forged})
        assert connection.getresponse().status == 200
    assert logged(gateway, name)["client"] == "127.0.0.9"


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ({"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}, 426),
        ({"X-Forwarded-For": "192.0.2.7"}, 426),
        ({"X-Forwarded-Proto": "http"}, 426),
        ({"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}, 200),
        ({}, 200),
    ],
)
def test_plain_http_that_a_trusted_proxy_passed_on_is_answered_426(
    gateway: Served, forwarded: dict[str, str], status: int
) -> None:
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", "/v1/models", headers=forwarded)
        response = connection.getresponse()
        assert response.status == status
        if status == 426:
            assert json.loads(response.read())["error"]["code"] == "https_required"
            assert response.headers["upgrade"] == "TLS/1.2, HTTP/1.1"
            assert response.headers["connection"] == "upgrade, close"


def test_forwarded_headers_of_another_machine_are_not_believed(gateway: Served) -> None:
    """127.0.0.8 is this machine, and not on the list."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with closing(
        http.client.HTTPConnection(host, int(port), timeout=30, source_address=("127.0.0.8", 0))
    ) as connection:
        forged = {"X-Request-ID": "forged", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}
        connection.request("GET", "/v1/models", headers=forged)
        assert connection.getresponse().status == 200
    assert logged(gateway, "forged")["client"] == "127.0.0.8"
