"""Documents at addresses of the operator's: capped in size and time, over TLS or on this machine, never elsewhere."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest

from sealgate.outward.documents import DocumentError, Documents
from sealgate.testing import (
    Behaviour,
    Hang,
    ScriptedUpstream,
    cut_at,
    error,
    gzip_body,
    head,
    html,
    json_answer,
    redirect,
    refusing,
    reset,
    short_body,
    silent,
    whole,
)

pytestmark = pytest.mark.anyio
NO_TLS = ssl.create_default_context()


async def get(behaviour: Behaviour, **options: object) -> object:
    async with ScriptedUpstream(handler=lambda _: behaviour) as upstream:
        found = await Documents(ssl_context=NO_TLS, **options).get(upstream.origin + "/keys?v=2")  # type: ignore[arg-type]
        assert [(request.method, request.path) for request in upstream.requests] == [("GET", "/keys?v=2")]
        assert not {"authorization", "cookie"} & upstream.requests[0].headers.keys()
        return found


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("max-age=600", 600), ("public, max-age=19, must-revalidate", 19), ('MAX-AGE="7"', 7), ("s-maxage=5", None),
     ("no-cache", None), ("max-age=-1", None), ("max-age=1e9", None), ("max-age=99999999999999999", None)],
)  # fmt: skip
async def test_a_document_comes_with_its_age(value: str, seconds: int | None) -> None:
    assert await get(json_answer({"a": 1}, headers={"cache-control": value})) == (b'{"a":1}', seconds)
    assert await get(json_answer({"a": 1})) == (b'{"a":1}', None)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (redirect(), "status 30"), (error(500), "status 500"), (error(404), "status 404"), (gzip_body(), "compressed"),
        (reset(), "reset"), (short_body(), "truncated"), (json_answer({}, 204), "status 204"),
    ],
)  # fmt: skip
async def test_what_is_no_whole_document_is_an_error(behaviour: Behaviour, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        await get(behaviour)


async def test_a_page_is_a_document_too() -> None:
    """Whoever asked for it judges what it is."""
    assert await get(whole(b"<html>", "text/html")) == (b"<html>", None)
    assert html() is not None


async def test_a_document_has_at_most_256_kib() -> None:
    data = b"x" * (256 * 1024)
    assert (await get(whole(data, "application/json")))[0] == data  # type: ignore[index]
    with pytest.raises(DocumentError, match="larger than 256 KiB"):
        await get(whole(data + b"x", "application/json"))
    with pytest.raises(DocumentError, match="larger than 256 KiB"):
        await get([head(200), *[piece for _ in range(40) for piece in _chunked(b"y" * 8192)], Hang()])


def _chunked(data: bytes) -> list[object]:
    from sealgate.testing import chunk

    return [chunk(data)]


@pytest.mark.parametrize("behaviour", [silent(), [head(200, length=9), Hang()], cut_at(1)])
async def test_who_is_too_slow_or_breaks_off_is_not_waited_for(behaviour: Behaviour) -> None:
    started = time.monotonic()
    with pytest.raises(DocumentError):
        await get(behaviour, seconds=0.05)
    assert time.monotonic() - started < 10


async def test_an_address_where_nobody_is() -> None:
    with refusing() as url, pytest.raises(DocumentError, match="cannot be read: unreachable"):
        await Documents(ssl_context=NO_TLS).get(f"http://{url}/" if "://" not in str(url) else str(url))


@pytest.mark.parametrize(
    "url",
    ["http://id.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "https://", "/keys", "", "x",
     "https://user@id.example/", "https://id.example/#x", "https://id.example:port/", "http://127.0.0.1.example/"],
)  # fmt: skip
async def test_only_https_and_this_machine_are_asked(url: str) -> None:
    with pytest.raises(DocumentError):
        await Documents(ssl_context=NO_TLS).get(url)


async def test_when_cancelled_the_connection_is_closed_at_once() -> None:
    async with ScriptedUpstream(handler=lambda _: silent()) as upstream:
        asking = asyncio.create_task(Documents(ssl_context=NO_TLS).get(upstream.origin))
        await upstream.wait_for_requests(1)
        asking.cancel()
        assert (await upstream.wait_peer_left(0, timeout=20)).abandoned
