"""Media by https URL for routes that take bytes, from the prompt alone up to a whole gateway (row C23)."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import ipaddress
import json
import math
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import CHAT, Running, Serve, provider

from sealgate.config import Model, Provider, Route, Secret, Timeouts
from sealgate.errors import Failure, UpstreamError
from sealgate.limits.ledger import Outcome
from sealgate.outward.dial import AddressInfo
from sealgate.outward.fetch import Allowance, Fetched, Fetcher
from sealgate.outward.guard import FetchError, public
from sealgate.outward.head import Origin
from sealgate.providers.base import Prompt
from sealgate.relay import walk
from sealgate.relay.media import AT_ONCE, MAX_URLS, Media, unfetched, urls
from sealgate.telemetry import logs
from sealgate.testing import Hang, Received, ScriptedUpstream, answer, error, head, whole

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
GIF = b"GIF89a" + bytes(20)
WEBP = b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(20)
PLACE = "messages[0].content[0].image_url.url"


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def prompt(*contents: Any) -> Prompt:
    return Prompt({"messages": [{"role": "user", "content": content} for content in contents]}, False, {}, {}, {})


class Shelf(Fetcher):
    """Documents by URL, at once. ``fetched`` is every URL that was asked for, ``most`` how many at a time."""

    def __init__(self, **documents: Fetched | str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.most = self.now = 0
        self._documents = documents

    async def fetch(self, url: str, accept: str, until: float, allowance: Allowance) -> Fetched:
        self.fetched.append(url)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            found = self._documents.get(url.rpartition("/")[2], Fetched("image/png", PNG))
        finally:
            self.now -= 1
        if isinstance(found, str):
            raise FetchError(found)
        return found


async def failed(media: Media) -> tuple[Failure, str, str | None]:
    with pytest.raises(UpstreamError) as caught:
        await media.as_data(math.inf)
    return caught.value.failure, caught.value.text, caught.value.param


# The prompt


@pytest.mark.anyio
async def test_urls_become_data_and_nothing_else_changes() -> None:
    given = prompt(
        "text",
        [{"type": "text", "text": "https://media.example/no"}, image("https://media.example/a", detail="low")],
        [image("data:image/png;base64,AAAA"), image("DATA:image/png;base64,AAAA"), image("https://media.example/b")],
    )
    before = copy.deepcopy(given.fields)
    shelf = Shelf(b=Fetched("", GIF))
    found = (await Media(shelf, given).as_data(math.inf)).fields["messages"]
    assert given.fields == before
    assert found[:1] == before["messages"][:1]
    assert found[1]["content"] == [before["messages"][1]["content"][0], image(data_url(PNG), detail="low")]
    assert found[2]["content"][:2] == before["messages"][2]["content"][:2]
    assert found[2]["content"][2] == image(data_url(GIF, "image/gif"))


@pytest.mark.anyio
async def test_each_url_is_fetched_once_however_often_it_stands_there_and_is_needed() -> None:
    shelf = Shelf()
    media = Media(
        shelf,
        prompt([image("https://media.example/a"), image("https://media.example/a")], [image("https://b.example/")]),
    )
    assert await media.as_data(math.inf) is await media.as_data(math.inf)
    assert sorted(shelf.fetched) == ["https://b.example/", "https://media.example/a"]


@pytest.mark.anyio
async def test_a_failure_names_the_place_and_is_remembered() -> None:
    shelf = Shelf(bad="It is not there.")
    media = Media(shelf, prompt("x", [{"type": "text", "text": "y"}, image("https://media.example/bad")]))
    for _ in range(2):
        expected = (Failure.MEDIA_FETCH, "It is not there.", "messages[1].content[1].image_url.url")
        assert await failed(media) == expected
    assert len(shelf.fetched) == 1


@pytest.mark.anyio
async def test_only_so_many_are_fetched_at_once_and_in_all() -> None:
    shelf = Shelf()
    await Media(shelf, prompt([image(f"https://media.example/{n}") for n in range(MAX_URLS)])).as_data(math.inf)
    assert (len(shelf.fetched), shelf.most) == (MAX_URLS, AT_ONCE)
    shelf = Shelf()
    media = Media(shelf, prompt([image(f"https://media.example/{n}") for n in range(MAX_URLS + 1)]))
    assert await failed(media) == (Failure.MEDIA_FETCH, "There are more than 32 URLs.", "messages")
    assert shelf.fetched == []


@pytest.mark.anyio
async def test_all_share_one_limit_of_time_and_of_bytes() -> None:
    seen: list[tuple[float, Allowance]] = []

    class Watching(Shelf):
        async def fetch(self, url: str, accept: str, until: float, allowance: Allowance) -> Fetched:
            seen.append((until, allowance))
            return await super().fetch(url, accept, until, allowance)

    given = prompt([image("https://media.example/a"), image("https://media.example/b")])
    now = asyncio.get_running_loop().time()
    await Media(Watching(), given).as_data(math.inf)
    await Media(Watching(), given).as_data(now + 3)
    (first, one), (second, other), (third, _), (fourth, _) = seen
    assert first == second == pytest.approx(now + 10, abs=1)
    assert third == fourth == now + 3
    assert one is other
    one.take(20 << 20)
    with pytest.raises(FetchError, match="More than 20 MiB in all"):
        one.take(1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("announced", "data", "kind"),
    [
        ("image/png", PNG, "image/png"), ("image/jpeg", JPEG, "image/jpeg"), ("image/jpg", JPEG, "image/jpeg"),
        ("image/gif", GIF, "image/gif"), ("image/gif", b"GIF87a", "image/gif"), ("image/webp", WEBP, "image/webp"),
        ("", PNG, "image/png"), ("application/octet-stream", JPEG, "image/jpeg"),
        ("binary/octet-stream", WEBP, "image/webp"),
    ],
)  # fmt: skip
async def test_images_are_known_by_their_first_bytes(announced: str, data: bytes, kind: str) -> None:
    found = await Media(Shelf(x=Fetched(announced, data)), prompt([image("https://media.example/x")])).as_data(math.inf)
    assert found.fields["messages"][0]["content"] == [image(data_url(data, kind))]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("announced", "data", "said"),
    [
        ("image/png", b"", "It is not an image"), ("image/png", b"\x89PNG", "It is not an image"),
        ("image/png", b"<html>", "It is not an image"), ("", b'{"secret": 1}', "It is not an image"),
        ("application/pdf", b"%PDF-1.7", "It is not an image"), ("image/svg+xml", b"<svg/>", "It is not an image"),
        ("image/webp", b"RIFF\0\0\0\0WAVE", "It is not an image"), ("image/bmp", b"BM", "It is not an image"),
        ("image/png", JPEG, "It is an image of another type"), ("text/html", PNG, "It is an image of another type"),
        ("image/jpeg", WEBP, "It is an image of another type"),
    ],
)  # fmt: skip
async def test_what_is_no_image_or_another_one_is_refused(announced: str, data: bytes, said: str) -> None:
    media = Media(Shelf(x=Fetched(announced, data)), prompt([image("https://media.example/x")]))
    failure, text, param = await failed(media)
    assert (failure, param) == (Failure.MEDIA_FETCH, PLACE)
    assert text.startswith(said)


@pytest.mark.anyio
async def test_the_first_failure_ends_the_other_fetches() -> None:
    ended = asyncio.Event()

    class Slow(Shelf):
        async def fetch(self, url: str, accept: str, until: float, allowance: Allowance) -> Fetched:
            if url.endswith("bad"):
                return await super().fetch(url, accept, until, allowance)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()
            raise AssertionError

    given = prompt([image("https://media.example/slow"), image("https://media.example/bad")])
    assert (await failed(Media(Slow(bad="No."), given)))[1] == "No."
    assert ended.is_set()


def test_what_would_be_fetched_is_shown_as_an_empty_picture() -> None:
    given = prompt([image("https://media.example/a"), image("data:image/gif;base64,AA==")])
    assert urls(given) == {"https://media.example/a": PLACE}
    shown = unfetched(given).fields["messages"][0]["content"]
    assert shown == [image("data:image/png;base64,"), image("data:image/gif;base64,AA==")]


# A whole gateway, with a media server on this machine that is reached by a public name


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of media.example that only trusts itself, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program is needed to make certificates")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    made = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=media"
    words = [openssl, *made.split(), "-addext", "subjectAltName=DNS:media.example", "-keyout", file, "-out", file]
    subprocess.run(words, check=True, capture_output=True)
    return file


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What a gateway started in this test has logged so far."""
    out = io.BytesIO()
    monkeypatch.setattr(logs, "configure", partial(logs.configure, out=out))
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


Shelter = Callable[..., Any]


@pytest.fixture
def media(certificate: Path) -> Shelter:
    """``async with media(behaviours by path) as server``: ``server.fetcher`` reaches it, and no other inner place."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    @asynccontextmanager
    async def start(behaviours: Mapping[str, Any]) -> AsyncIterator[tuple[ScriptedUpstream, Fetcher, str]]:
        def handler(received: Received) -> Any:
            return behaviours[received.path]

        async with ScriptedUpstream(tls=context, handler=handler) as server:

            async def look_up(origin: Origin) -> list[AddressInfo]:
                address = "127.0.0.1" if origin.host == "media.example" else "10.9.8.7"
                return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, origin.port))]

            fetcher = Fetcher(
                look_up=look_up,
                may_be_asked=lambda address: address == ipaddress.ip_address("127.0.0.1") or public(address),
                ssl_context=ssl.create_default_context(cafile=str(certificate)),
            )
            yield server, fetcher, f"https://media.example:{server.port}"

    return start


def own(upstream: ScriptedUpstream) -> Provider:
    """A self-hosted server, which takes bytes."""
    return provider(upstream, kind="vllm", media_fetch=True)


def ask(url: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [image(url)]}], **fields}


def sent(upstream: ScriptedUpstream) -> list[str]:
    """The URL in each request that reached it."""
    return [
        part["image_url"]["url"] for request in upstream.requests for part in request.json["messages"][-1]["content"]
    ]


def use(gateway: Running, fetcher: Fetcher) -> None:
    gateway.hall.means.upstreams.fetcher = fetcher


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_go_where_bytes_are_taken_and_urls_elsewhere(serve: Serve, media: Shelter, stream: bool) -> None:
    """Two servers that take bytes fail, a hosted one takes the URL; the picture is fetched once."""
    async with (
        media({"/cat.png": whole(PNG, "image/png")}) as (server, fetcher, place),
        ScriptedUpstream(default=error(503)) as one,
        ScriptedUpstream(default=error(503)) as two,
        ScriptedUpstream(default=answer("A cat.")) as hosted,
    ):
        providers = {"one": own(one), "two": own(two), "hosted": provider(hosted)}
        async with serve(providers) as gateway:
            use(gateway, fetcher)
            reply = await gateway.post(CHAT, ask(f"{place}/cat.png", stream=stream))
            assert (reply.status, reply.text) == (200, "A cat.")
            row = await gateway.row()
    assert (sent(one), sent(two), sent(hosted)) == ([data_url(PNG)], [data_url(PNG)], [f"{place}/cat.png"])
    assert [(each.method, each.path) for each in server.requests] == [("GET", "/cat.png")]
    assert "authorization" not in server.requests[0].headers
    assert (row.routed_model, row.attempts, row.failover) == ("global/hosted/m", 3, True)


@pytest.mark.anyio
async def test_bytes_go_to_a_route_that_must_be_checked_too(serve: Serve, media: Shelter) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
    async with (
        media({"/cat.png": whole(PNG, "image/png")}) as (server, fetcher, place),
        ScriptedUpstream(default=answer('{"a": 1}')) as upstream,
    ):
        models = {"m": Model(routes=(Route("own", "x"),), capabilities=("images",))}
        async with serve({"own": own(upstream)}, models) as gateway:
            use(gateway, fetcher)
            reply = await gateway.post(CHAT, ask(f"{place}/cat.png", response_format=schema))
    assert (reply.status, reply.text) == (200, '{"a": 1}')
    assert sent(upstream) == [data_url(PNG)]
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/html", "It is not an image of type PNG, JPEG, GIF or WebP."),
        ("/gone", "Its host answered with status 404."),
        ("/inner", "Its host has no address, or one that is not public."),
        ("/http", "It is not an https URL."),
    ],
)
async def test_row_c23_what_cannot_be_fetched_is_refused_with_its_place(
    serve: Serve, media: Shelter, path: str, said: str, stream: bool, log: Callable[[], list[dict[str, Any]]]
) -> None:
    """No provider is asked, nobody's health suffers, and nothing of the URL or its document is logged."""
    behaviours = {
        "/html": whole(b"<html>secret-words</html>", "text/html"),
        "/gone": whole(b"secret-words", "text/plain", 404),
        "/inner": whole(b"", "text/plain", 302, {"location": "https://inner.example/secret-words"}),
        "/http": whole(b"", "text/plain", 302, {"location": "http://media.example/secret-words"}),
    }
    async with media(behaviours) as (_, fetcher, place), ScriptedUpstream() as upstream:
        async with serve({"own": own(upstream)}) as gateway:
            use(gateway, fetcher)
            for _ in range(7):
                reply = await gateway.post(CHAT, ask(place + path, stream=stream))
                assert (reply.status, reply.code, reply.error["param"]) == (400, "media_fetch_failed", PLACE)
                assert reply.error["message"] == said
                assert reply.attempts == [("global/own/m", "media_fetch", None)]
            assert not gateway.hall.means.seen.health.troubled
            assert gateway.hall.means.budget.active["own"] == 0
            rows = await gateway.rows(7)
            assert {(row.status, row.code, row.outcome) for row in rows} == {
                (400, "media_fetch_failed", Outcome.UPSTREAM_FAILED)
            }
        assert upstream.requests == []
    written = json.dumps(log())
    assert written.count("media_fetch_failed") >= 7
    assert not any(word in written for word in ("media.example", "inner.example", "secret-words", "10.9.8.7"))


@pytest.mark.anyio
async def test_what_we_cannot_fetch_a_hosted_provider_may(serve: Serve, media: Shelter) -> None:
    async with (
        media({"/gone": whole(b"", "text/plain", 404)}) as (server, fetcher, place),
        ScriptedUpstream() as upstream,
        ScriptedUpstream() as hosted,
    ):
        async with serve({"own": own(upstream), "also": own(upstream), "hosted": provider(hosted)}) as gateway:
            use(gateway, fetcher)
            assert (await gateway.post(CHAT, ask(f"{place}/gone"))).status == 200
        assert (upstream.requests, sent(hosted), len(server.requests)) == ([], [f"{place}/gone"], 1)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]"])
async def test_row_c23_the_guard_of_a_gateway_lets_nobody_inside(serve: Serve, media: Shelter, host: str) -> None:
    """As it comes, nothing injected: not one connection is made."""
    async with media({"/": whole(PNG, "image/png")}) as (server, _, _), ScriptedUpstream() as upstream:
        async with serve({"own": own(upstream)}) as gateway:
            reply = await gateway.post(CHAT, ask(f"https://{host}:{server.port}/"))
            assert (reply.status, reply.code, reply.error["param"]) == (400, "media_fetch_failed", PLACE)
            assert reply.error["message"] == "Its host has no address, or one that is not public."
        assert (server.accepted, upstream.requests) == (0, [])


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_ends_the_fetch(serve: Serve, media: Shelter, stream: bool) -> None:
    slow = [head(200, {"content-type": "image/png"}), Hang()]
    async with media({"/slow": slow}) as (server, fetcher, place), ScriptedUpstream() as upstream:
        async with serve({"own": own(upstream)}) as gateway:
            use(gateway, fetcher)
            async with gateway.client() as client:
                await client.post(CHAT, ask(f"{place}/slow", stream=stream), gateway.headers)
                await server.wait_for_requests(1)
            await server.wait_peer_left(0)
            assert (await gateway.row()).outcome is Outcome.CLIENT_DISCONNECTED
            assert gateway.hall.means.budget.active["own"] == 0
        assert upstream.requests == []


@pytest.mark.anyio
async def test_the_fetch_counts_in_the_time_of_the_request(serve: Serve, media: Shelter) -> None:
    async with media({"/slow": [Hang()]}) as (server, fetcher, place), ScriptedUpstream() as upstream:
        async with serve({"own": own(upstream)}, timeouts=Timeouts(total=0.05)) as gateway:
            use(gateway, fetcher)
            reply = await gateway.post(CHAT, ask(f"{place}/slow"))
            assert (reply.status, reply.code) == (504, "upstream_timeout")
            assert reply.attempts == [("global/own/m", "media_fetch", None)]
        async with asyncio.timeout(5):
            while server.open_connections:  # noqa: ASYNC110 - it may be left before it has asked anything
                await asyncio.sleep(0.005)
        assert upstream.requests == []


@pytest.mark.anyio
async def test_a_dry_run_says_what_would_be_fetched_and_fetches_nothing(serve: Serve, media: Shelter) -> None:
    async with media({}) as (server, fetcher, place), ScriptedUpstream() as upstream, ScriptedUpstream() as hosted:
        async with serve({"own": own(upstream), "hosted": provider(hosted)}) as gateway:
            use(gateway, fetcher)
            admin = {"authorization": f"Bearer {gateway.admin_key}"}
            found = (await gateway.post(f"{CHAT}?dry_run=true", ask(f"{place}/cat.png"), admin)).json["requests"]
        assert server.accepted == 0
    assert [each.get("fetched") for each in found] == [[f"{place}/cat.png"], None]
    shown = [each["body"]["messages"][0]["content"][0]["image_url"]["url"] for each in found]
    assert shown == ["data:image/png;base64,", f"{place}/cat.png"]


@pytest.mark.anyio
async def test_what_cannot_be_fetched_is_no_reason_to_try_a_route_again(serve: Serve, media: Shelter) -> None:
    async with media({"/gone": whole(b"", "text/plain", 404)}) as (_, fetcher, place), ScriptedUpstream() as upstream:
        stubborn = provider(
            upstream, kind="vllm", media_fetch=True, retries=3, api_key=(Secret("a-key"), Secret("b-key"))
        )
        async with serve({"own": stubborn}) as gateway:
            use(gateway, fetcher)
            reply = await gateway.post(CHAT, ask(f"{place}/gone"))
    assert reply.attempts == [("global/own/m", "media_fetch", None)]


@pytest.mark.anyio
async def test_the_time_of_a_fetch_does_not_make_a_route_slow(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the policy ``latency`` goes by is the provider's own time."""
    later = 0.0

    class Slow(Shelf):
        async def fetch(self, url: str, accept: str, until: float, allowance: Allowance) -> Fetched:
            nonlocal later
            later += 1000
            return await super().fetch(url, accept, until, allowance)

    monkeypatch.setattr(walk, "monotonic", lambda: time.monotonic() + later)
    async with ScriptedUpstream() as upstream, serve({"own": own(upstream)}) as gateway:
        use(gateway, Slow())
        assert (await gateway.post(CHAT, ask("https://media.example/cat.png"))).status == 200
        [route] = gateway.hall.catalog.models["m"].routes
        pace = gateway.hall.means.seen.paces.of(route, stream=False)
    assert pace is not None
    assert pace < 1000
