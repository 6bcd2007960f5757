"""Which script is played, what is remembered, and how one waits for it."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from sealgate.testing import (
    Hang,
    RawClient,
    Received,
    ScriptedUpstream,
    Send,
    answer,
    error,
    json_answer,
)

pytestmark = pytest.mark.anyio


async def said(client: RawClient, model: str = "m", path: str = "/v1/chat/completions") -> str:
    await client.post(path, {"model": model})
    response = await client.response()
    await response.read()
    body = response.json
    return body["choices"][0]["message"]["content"] if "choices" in body else body["error"]["code"]


async def test_scripts_are_chosen_by_queue_then_model_then_handler_then_default(
    client: RawClient, upstream: ScriptedUpstream
):
    upstream.on_model("named", answer("by model"))
    upstream.handler = lambda received: answer("by handler") if received.model != "other" else None
    upstream.enqueue(answer("first"), answer("second"))
    upstream.default = answer("by default")
    assert [await said(client, name) for name in ("named", "x", "named", "x", "other")] == [
        "first",
        "second",
        "by model",
        "by handler",
        "by default",
    ]


async def test_a_list_can_be_played_again_and_a_generator_once(client: RawClient, upstream: ScriptedUpstream):
    upstream.on_model("list", json_answer({"error": {"code": "again"}}))
    assert [await said(client, "list"), await said(client, "list")] == ["again", "again"]
    upstream.enqueue(step for step in json_answer({"error": {"code": "once"}}))
    assert await said(client) == "once"


async def test_the_model_list_names_every_model_and_uses_up_no_script(client: RawClient, upstream: ScriptedUpstream):
    upstream.on_model("broken", error(500))
    upstream.enqueue(answer("still here"))
    await client.get("/v1/models?limit=5")
    response = await client.response()
    await response.read()
    assert [entry["id"] for entry in response.json["data"]] == ["test-model", "broken"]
    assert await said(client) == "still here"


async def test_a_handler_may_answer_the_model_list_too(client: RawClient, upstream: ScriptedUpstream):
    upstream.handler = lambda received: error(503)
    await client.get("/v1/models")
    assert (await client.response()).status == 503


async def test_an_unknown_path_is_404(client: RawClient):
    assert await said(client, path="/v1/nothing") == "unknown_url"


async def test_what_was_received_is_remembered_exactly(client: RawClient, upstream: ScriptedUpstream):
    await client.post("/v1/chat/completions?a=b", {"model": "m"}, {"Authorization": "Bearer k", "X-A": "1"})
    (received,) = await upstream.wait_for_requests(1)
    assert (received.method, received.path, received.model) == ("POST", "/v1/chat/completions?a=b", "m")
    assert received.headers["authorization"] == "Bearer k"
    assert received.body == b'{"model":"m"}'
    assert b"\r\nAuthorization: Bearer k\r\n" in received.head
    assert received.received_at <= asyncio.get_running_loop().time()
    assert received.watermark in (await client.response()).headers["x-request-id"]


async def test_connections_and_the_requests_on_them_are_counted(upstream: ScriptedUpstream):
    for _ in range(2):
        async with RawClient(upstream.host, upstream.port) as client:
            await said(client)
            await said(client)
            assert upstream.open_connections >= 1
    assert [(request.connection, request.nth_on_connection) for request in upstream.requests] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert upstream.accepted == 2


async def test_waiting_in_vain_says_what_was_missing(client: RawClient, upstream: ScriptedUpstream):
    await said(client)
    with pytest.raises(TimeoutError, match="1 of 2 requests came"):
        await upstream.wait_for_requests(2, timeout=0.01)
    with pytest.raises(TimeoutError, match="peer of request 0 did not leave"):
        await upstream.wait_peer_left(0, timeout=0.01)
    with pytest.raises(TimeoutError, match="peer of request 7 did not leave"):
        await upstream.wait_peer_left(7, timeout=0.01)


async def test_waits_end_when_what_they_wait_for_comes(client: RawClient, upstream: ScriptedUpstream):
    upstream.enqueue([Hang()])
    waiting = asyncio.create_task(upstream.wait_for_requests(1))
    leaving = asyncio.create_task(upstream.wait_peer_left(0))
    await asyncio.sleep(0)
    await client.post("/", {})
    assert len(await waiting) == 1
    assert not leaving.done()
    client.rst()
    assert (await leaving).peer_left_how == "rst"


async def test_a_mistake_in_a_handler_reaches_the_test_that_wrote_it():
    def handler(received: Received) -> None:
        raise AssertionError("this request should not have come")

    async def scene() -> None:
        async with ScriptedUpstream(handler=handler) as upstream, RawClient(upstream.host, upstream.port) as client:
            await client.get("/")
            assert await client.wait_end() == "fin"

    with pytest.raises(AssertionError, match="should not have come"):
        await scene()


async def test_a_failing_test_is_not_hidden_by_a_mistake_in_a_script():
    async def scene() -> None:
        async with ScriptedUpstream(default=lambda _: [Send(1 / 0)]) as upstream:  # type: ignore[list-item]
            async with RawClient(upstream.host, upstream.port) as client:
                await client.post("/chat/completions", {})
                await client.wait_end()
            raise KeyError("the test's own")

    with pytest.raises(KeyError, match="the test's own"):
        await scene()


async def test_leaving_the_block_ends_every_connection():
    async with ScriptedUpstream(default=[Hang()]) as upstream:
        clients = [RawClient(upstream.host, upstream.port) for _ in range(3)]
        for client in clients:
            await client.__aenter__()
            await client.post("/chat/completions", {})
        await upstream.wait_for_requests(3)
    for client in clients:
        assert await client.wait_end() == "fin"
        await client.__aexit__(None, None, None)
    assert upstream.open_connections == 0
    assert not any(request.peer_left_at for request in upstream.requests)


async def test_a_port_can_be_asked_for():
    async with ScriptedUpstream() as first:
        port = first.port
    async with ScriptedUpstream(port=port) as second:
        assert second.base_url == f"http://127.0.0.1:{port}/v1"


async def test_a_server_on_loopback_alone(upstream: ScriptedUpstream):
    assert upstream.origin == f"http://127.0.0.1:{upstream.port}"
    assert upstream.base_url == f"{upstream.origin}/v1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", "-x509", *curve, *name, "-days", "1"], check=True, capture_output=True)
    return cert, key


async def test_it_speaks_tls_and_a_wrong_name_is_noticed_by_the_client(certificate: tuple[Path, Path]):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with ScriptedUpstream(tls=server) as upstream:
        assert upstream.base_url.startswith("https://")
        reader, writer = await asyncio.open_connection(
            upstream.host, upstream.port, ssl=trusting, server_hostname="localhost"
        )
        writer.write(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await asyncio.open_connection(upstream.host, upstream.port, ssl=trusting)
