"""The table of endpoints: exact raw paths under both mounts, and nothing else (rows A10, A14, A18)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway import CHAT, Running, Threaded

from sealgate.api.call import Call
from sealgate.api.routes import Route, Routes
from sealgate.errors import Problem
from sealgate.testing import http_request


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


async def _endpoint(_: Call) -> None: ...


async def _nothing(*_: Any) -> Any: ...


TABLE = Routes(
    [
        Route("POST", "/things", "key", _endpoint, "Make."),
        Route("GET", "/things", "key", _endpoint, "List."),
        Route("GET", "/things/{name}", "key", _endpoint, "One."),
        Route("GET", "/alone", "public", _endpoint, "Alone.", mounted=False),
    ]
)


def found(path: str, method: str = "GET") -> Call:
    call = Call({"method": method, "raw_path": path.encode(), "path": path, "headers": []}, _nothing, _nothing)
    TABLE.find(call)
    return call


def refused(path: str, method: str = "GET") -> str:
    with pytest.raises(Problem) as caught:
        found(path, method)
    return caught.value.code.name


@pytest.mark.parametrize("path", ["/v1/things", "/v1/things/", "/api/v1/things", "/api/v1/things/"])
def test_an_endpoint_answers_under_both_mounts_with_and_without_a_slash(path: str) -> None:
    assert found(path).route == path.rstrip("/")
    assert found(path, "POST").route == path.rstrip("/")
    assert found(path, "HEAD").route == path.rstrip("/")


def test_what_is_not_mounted_answers_at_its_own_path_only() -> None:
    assert found("/alone").route == "/alone"
    assert found("/alone/").route == "/alone"
    assert refused("/v1/alone") == "unknown_route"


@pytest.mark.parametrize(
    ("path", "value"), [("/v1/things/a", "a"), ("/v1/things/a/b/c", "a/b/c"), ("/api/v1/things/a/b/", "a/b")]
)
def test_a_name_at_the_end_takes_the_rest_of_the_path(path: str, value: str) -> None:
    call = found(path)
    assert call.path_value == value
    assert call.route.endswith("/things/{name}"), "the route is the declared one, whatever was asked for"


@pytest.mark.parametrize("path", ["/v1/things//", "/v1/things///"])
def test_a_name_is_not_empty(path: str) -> None:
    assert refused(path) == "unknown_route"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_another_method_is_405_and_names_the_allowed_ones(method: str) -> None:
    with pytest.raises(Problem, match="GET, HEAD, POST") as caught:
        found("/v1/things", method)
    assert caught.value.code.name == "method_not_allowed"


ODD_PATHS = [
    "/v1/chat%2fcompletions",
    "/v1/chat/%63ompletions",
    "/v1/chat/../chat/completions",
    "/v1/./chat/completions",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions//",
    "/v1/chat/completions;x=1",
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/v1/chat/completions.",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v2/chat/completions",
    "/chat/completions",
    "/v1",
    "/v1/",
    "/api",
    "/",
    "/admin",
    "/v1/health",
    "/favicon.ico",
]


@pytest.mark.anyio
async def test_row_a14_paths_are_matched_as_they_were_sent(running: Running) -> None:
    body = json.dumps(running.ask()).encode()
    for path in ODD_PATHS:
        for headers in (running.headers, {}):
            async with running.client() as client:
                await client.send(http_request("POST", path, headers | {"content-type": "application/json"}, body))
                response = await client.response()
                assert response.status == 404, path
                await response.read()
                assert response.json["error"] == {
                    "message": "There is no such endpoint.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "unknown_route",
                    "status": 404,
                }
                assert "location" not in response.headers


@pytest.mark.anyio
async def test_no_path_is_redirected(running: Running) -> None:
    for path in (
        CHAT,
        f"{CHAT}/",
        "/api/v1/chat/completions",
        "/api/v1/chat/completions/",
        f"{CHAT}?a=b",
        f"{CHAT}/?a",
    ):
        assert (await running.post(path, running.ask())).status == 200, path
    for path in ("/v1/models", "/v1/models/", "/v1/models/m", "/v1/models/m/", "/health", "/health/", "/docs/"):
        assert (await running.get(path)).status == 200, path


@pytest.mark.anyio
async def test_405_says_which_methods_there_are(running: Running) -> None:
    """RFC 9110, 15.5.6: the answer has an ``Allow`` header."""
    for method, path, allowed in (
        ("GET", CHAT, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("OPTIONS", CHAT, "POST"),
    ):
        async with running.client() as client:
            await client.send(http_request(method, path, running.headers))
            response = await client.response()
            await response.read()
            assert (response.status, response.headers["allow"]) == (405, allowed)
            assert response.json["error"]["code"] == "method_not_allowed"


@pytest.mark.anyio
async def test_head_is_answered_like_get_without_a_body(running: Running) -> None:
    for path in ("/v1/models", "/health", "/docs", "/metrics"):
        async with running.client() as client:
            await client.send(http_request("HEAD", path))
            response = await client.response(method="HEAD")
            assert response.status == 200
            assert int(response.headers["content-length"]) > 0
            await client.send(http_request("GET", "/health"))  # the connection is still in step
            assert (await client.response()).status == 200


@pytest.mark.anyio
async def test_row_a18_there_are_no_web_sockets(running: Running) -> None:
    upgrade = {
        "connection": "upgrade", "upgrade": "websocket",
        "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    async with running.client() as client:
        await client.send(http_request("GET", "/v1/realtime", running.headers | upgrade))
        response = await client.response()
        await response.read()
        assert (response.status, response.json["error"]["code"]) == (404, "unknown_route")
        assert "upgrade" not in response.headers


@pytest.mark.anyio
async def test_row_a10_proxies_and_tunnels_are_refused(running: Running) -> None:
    for line, status in ((f"GET http://evil.example{CHAT}", 400), ("CONNECT evil.example:443", 405), ("TRACE /", 405)):
        async with running.client() as client:
            await client.send(f"{line} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
            response = await client.response()
            await response.read()
            assert response.status == status, line
            assert len(response.headers["x-request-id"]) == 32
