"""HTTPS where it is required, and CORS: off by default, for an allow-list, and in a real browser (rows K4)."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import CHAT, Reply, Running, Serve, Threaded

from sealgate.config import Provider, Server
from sealgate.testing import http_request

PAGE = "https://app.example"
SANDBOX = {"sandbox": Provider(kind="sandbox", region="local")}


def server(**fields: Any) -> Server:
    return Server(port=0, discover=False, **fields)


@pytest.fixture(scope="module")
def listed(start: Serve) -> Iterator[Running]:
    """A gateway that two origins may call."""
    with start.in_thread(SANDBOX, {"m": ["sandbox"]}, server=server(cors_origins=(PAGE, "http://[::1]:8080"))) as found:
        yield found.running


@pytest.fixture(scope="module")
def open_to_all(start: Serve) -> Iterator[Running]:
    with start.in_thread(SANDBOX, {"m": ["sandbox"]}, server=server(cors_origins=("*",))) as found:
        yield found.running


@pytest.fixture(scope="module")
def closed(gateway: Threaded) -> Running:
    """Without CORS, as by default."""
    return gateway.running


def cors(reply: Reply) -> dict[str, str]:
    return {name: text for name, text in reply.headers.items() if name.startswith("access-control-") or name == "vary"}


async def preflight(running: Running, origin: str, headers: str | None = None, path: str = CHAT) -> Reply:
    said = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    if headers is not None:
        said["Access-Control-Request-Headers"] = headers
    async with running.client() as client:
        await client.send(http_request("OPTIONS", path, headers=said))
        response = await client.response()
        return Reply(response.status, response.headers, await response.read())


async def of_every_kind(running: Running, **headers: str) -> list[Reply]:
    replies = [
        await running.chat(headers=headers),
        await running.chat(headers=headers, stream=True),
        await running.chat(headers=headers, model="unknown"),
        await running.post(CHAT, b"{", headers),
        await running.get("/v1/models", headers),
        await running.get("/nowhere", headers),
        await running.get(CHAT, headers),
        await running.get("/health", headers),
    ]
    assert [reply.status for reply in replies] == [200, 200, 404, 400, 200, 404, 405, 200]
    return replies


# CORS


@pytest.mark.anyio
async def test_row_k4_by_default_no_answer_carries_a_cors_header(closed: Running) -> None:
    for reply in [*await of_every_kind(closed, Origin=PAGE), await preflight(closed, PAGE, "authorization")]:
        assert cors(reply) == {}


@pytest.mark.anyio
async def test_a_preflight_of_a_listed_origin_is_answered(listed: Running) -> None:
    reply = await preflight(listed, PAGE, "authorization,content-type,x-stainless-os")
    assert (reply.status, reply.body) == (204, b"")
    assert cors(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
        "access-control-allow-headers": "authorization, content-type, x-stainless-os",
        "access-control-expose-headers": cors(reply)["access-control-expose-headers"],
        "access-control-max-age": "600",
        "vary": "Origin",
    }
    assert "content-length" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.anyio
async def test_a_preflight_names_what_was_asked_for_and_is_allowed(listed: Running) -> None:
    asked = (
        "Authorization , x-api-key,x-tresor-nonce,X-Sealgate-Strict,x-request-id,anthropic-version,cookie,x-evil, é,"
    )
    reply = await preflight(listed, PAGE, asked)
    assert cors(reply)["access-control-allow-headers"] == (
        "authorization, x-api-key, x-tresor-nonce, x-sealgate-strict, x-request-id, anthropic-version"
    )
    assert "access-control-allow-headers" not in cors(await preflight(listed, PAGE))
    assert "access-control-allow-headers" not in cors(await preflight(listed, PAGE, "cookie"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example", f"{PAGE}:444", ""],
)
async def test_another_origin_is_granted_nothing(listed: Running, origin: str) -> None:
    reply = await preflight(listed, origin, "authorization")
    assert (reply.status, cors(reply)) == (405, {"vary": "Origin"})
    assert cors(await listed.get("/v1/models", {"Origin": origin})) == {"vary": "Origin"}


@pytest.mark.anyio
async def test_every_answer_to_a_listed_origin_says_so_errors_included(listed: Running) -> None:
    for reply in await of_every_kind(listed, Origin=PAGE):
        granted = cors(reply)
        exposed = granted.pop("access-control-expose-headers").split(", ")
        assert granted == {"access-control-allow-origin": PAGE, "vary": "Origin"}
        assert {"X-Request-ID", "X-Process-Time", "X-Tresor-Receipt-Id", "Retry-After"} <= set(exposed)
        assert {"X-RateLimit-Limit", "X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Requests"} <= set(exposed)


@pytest.mark.anyio
async def test_an_answer_that_nobody_asked_for_across_origins_still_varies(listed: Running) -> None:
    for reply in await of_every_kind(listed):
        assert cors(reply) == {"vary": "Origin"}


@pytest.mark.anyio
async def test_a_star_lets_any_origin_in_and_no_credentials(open_to_all: Running) -> None:
    reply = await preflight(open_to_all, "https://any.example", "authorization", path="/nowhere")
    assert (reply.status, cors(reply)["access-control-allow-origin"]) == (204, "*")
    for each in await of_every_kind(open_to_all, Origin="null"):
        assert cors(each).keys() == {"access-control-allow-origin", "access-control-expose-headers"}
        assert cors(each)["access-control-allow-origin"] == "*"


@pytest.mark.anyio
async def test_an_options_request_that_is_no_preflight_is_one_as_any_other(listed: Running) -> None:
    async with listed.client() as client:
        await client.send(http_request("OPTIONS", CHAT, headers={"Origin": PAGE}))
        assert (await client.response()).status == 405


# HTTPS


async def asked(running: Running, client: tuple[str, int] | None, scheme: str, **headers: str) -> list[dict[str, Any]]:
    """What a request from there is answered, as the application says it."""
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(dict(message))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/health", "raw_path": b"/health", "query_string": b"",
             "scheme": scheme, "client": client, "headers": pairs}  # fmt: skip
    await running.gateway.front(scope, receive, send)
    return said


@pytest.mark.anyio
async def test_plain_http_from_elsewhere_is_answered_426(serve: Serve) -> None:
    async with serve(SANDBOX, {}, server=server(require_https=True, cors_origins=(PAGE,))) as running:
        for client in (("192.0.2.7", 1), ("2001:db8::1", 1), None):
            start, body = await asked(running, client, "http", origin=PAGE)
            headers = dict(start["headers"])
            assert start["status"] == 426
            assert headers[b"upgrade"] == b"TLS/1.2, HTTP/1.1"
            assert headers[b"connection"] == b"upgrade, close"
            assert headers[b"access-control-allow-origin"] == PAGE.encode()
            error = json.loads(body["body"])["error"]
            assert (error["code"], error["type"]) == ("https_required", "invalid_request_error")


@pytest.mark.anyio
async def test_https_and_this_machine_are_let_in(serve: Serve) -> None:
    async with serve(SANDBOX, {}, server=server(require_https=True)) as running:
        assert (await asked(running, ("192.0.2.7", 1), "https"))[0]["status"] == 200
        assert (await asked(running, ("127.0.0.1", 1), "http"))[0]["status"] == 200
        assert (await asked(running, ("::1", 1), "http"))[0]["status"] == 200
        assert (await running.get("/health")).status == 200


@pytest.mark.anyio
async def test_without_the_setting_plain_http_is_answered(closed: Running) -> None:
    assert (await asked(closed, ("192.0.2.7", 1), "http"))[0]["status"] == 200


# A browser

SCRIPT = """
<pre id="said">nothing</pre>
<script>
const plan = PLAN;
async function ask({url, init}) {
  try {
    const response = await fetch(url, init);
    const text = await response.text();
    return {status: response.status, text, id: response.headers.get("x-request-id"),
            hidden: response.headers.get("date")};
  } catch (error) { return {blocked: error.name}; }
}
Promise.all(plan.map(ask)).then(said => document.getElementById("said").textContent = JSON.stringify(said));
</script>
"""
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


class Pages(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """A web server of its own; gives its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def browse(url: str, profile: Path) -> Any:
    """Open a page in Chromium and give what its script wrote."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    command = [chromium, *QUIET, f"--user-data-dir={profile}", "--virtual-time-budget=8000", "--dump-dom", url]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    text = found.stdout.partition('<pre id="said">')[2].partition("</pre>")[0]
    return json.loads(text.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_a_page_in_a_browser_may_call_where_it_is_allowed_and_nowhere_else(
    closed: Running, start: Serve, tmp_path: Path
) -> None:
    with (
        pages(tmp_path) as origin,
        start.in_thread(SANDBOX, {"m": ["sandbox"]}, server=server(cors_origins=(origin,))) as allowed,
    ):

        def post(gateway: Running | Threaded, **fields: Any) -> dict[str, Any]:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
            headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json",
                       "X-Stainless-Lang": "js"}  # fmt: skip
            init = {"method": "POST", "headers": headers, "body": json.dumps(body)}
            return {"url": f"{gateway.base_url}/chat/completions", "init": init}

        plan = [
            post(allowed),
            post(allowed, stream=True),
            post(allowed, model="unknown"),
            {"url": f"{allowed.base_url}/models", "init": {}},
            {"url": f"{allowed.base_url}/models", "init": {"headers": {"X-Evil": "1"}}},
            {"url": f"{allowed.base_url}/models", "init": {"credentials": "include"}},
            post(closed),
            {"url": f"{closed.base_url}/models", "init": {}},
        ]
        (tmp_path / "page.html").write_text(SCRIPT.replace("PLAN", json.dumps(plan)))
        whole, stream, error, models, *blocked = browse(f"{origin}/page.html", tmp_path / "profile")

    assert whole["status"] == 200
    assert json.loads(whole["text"])["choices"][0]["message"]["content"]
    assert (stream["status"], stream["text"].endswith("data: [DONE]\n\n")) == (200, True)
    assert (error["status"], json.loads(error["text"])["error"]["code"]) == (404, "model_not_found")
    assert models["status"] == 200
    assert all(len(each["id"]) == 32 and each["hidden"] is None for each in (whole, stream, error, models))
    assert blocked == [{"blocked": "TypeError"}] * 4
