"""Fetching through the guard: the checked address is the one that is asked, whatever names, redirects and hosts do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from sealgate.errors import UpstreamError
from sealgate.formats.addresses import Address
from sealgate.outward import fetch as fetching
from sealgate.outward.dial import AddressInfo
from sealgate.outward.fetch import MAX_REDIRECTS, Allowance, Fetched, Fetcher, Resolver
from sealgate.outward.guard import FetchError, public
from sealgate.outward.head import Origin

pytestmark = pytest.mark.anyio

Serve = Callable[..., Awaitable[Any]]
Script = Callable[[Any], Awaitable[None]]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
NOT_PUBLIC = "Its host has no address, or one that is not public."
TOO_SLOW = "It did not come in time."
HERE = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}


def info(address: str, port: int) -> AddressInfo:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


class Names:
    """A name server: ``localhost`` is here, other names are where a test puts them. ``asked`` is every question."""

    def __init__(self, *answers: list[str], **places: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self._places = places

    async def __call__(self, origin: Origin) -> list[AddressInfo]:
        self.asked.append(origin.host)
        if self._answers and origin.host == "localhost":
            found = self._answers.pop(0)
        else:
            found = self._places.get(origin.host.partition(".")[0], ["127.0.0.1"])
        return [info(each, origin.port) for each in found]


def here_or_public(address: Address) -> bool:
    """The production rule, and the one address at which tests serve."""
    return address == HERE or public(address)


@pytest.fixture
def names() -> Names:
    return Names(inner=["10.1.2.3"], both=["1.1.1.1", "127.0.0.2"], none=[])


@pytest.fixture
def fetcher(names: Names, certificates: Any) -> Fetcher:
    return Fetcher(look_up=names, may_be_asked=here_or_public, ssl_context=certificates.trusting())


async def get(fetcher: Fetcher, url: str, seconds: float = 2.0, size: int = 1 << 20) -> Fetched:
    until = asyncio.get_running_loop().time() + seconds
    return await fetcher.fetch(url, "image/png", until, Allowance(size))


async def refused(fetcher: Fetcher, url: str, seconds: float = 2.0, size: int = 1 << 20) -> str:
    """What the caller is told, which never names a host, an address or a port."""
    with pytest.raises(FetchError) as caught:
        await get(fetcher, url, seconds, size)
    text = str(caught.value)
    assert not any(word in text for word in ("127.", "10.1", "localhost", ".example", "::"))
    assert str(caught.value.__cause__) == "None"
    return text


def reply(body: bytes = PNG, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {"content-type": "image/png"}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + body


def answering(*answers: bytes) -> Script:
    """The same few answers for each connection, in order."""

    async def script(peer: Any) -> None:
        for answer in answers:
            request = await peer.request()
            seen.append(request)
            await peer.send(answer)
        await peer.left()

    seen: list[bytes] = []
    script.seen = seen  # type: ignore[attr-defined]
    return script


@pytest.fixture
def media(serve: Serve, certificates: Any) -> Callable[..., Awaitable[Any]]:
    """``await media(script)``: an https server with a certificate for ``localhost``."""

    async def start(script: Script, which: str = "localhost") -> Any:
        return await serve(script, host="localhost", context=certificates.server(getattr(certificates, which)))

    return start


async def test_a_document_comes_with_its_type_and_the_request_says_nothing_about_us(
    fetcher: Fetcher, names: Names, media: Serve
) -> None:
    script = answering(reply(headers={"content-type": "Image/PNG; charset=x"}))
    server = await media(script)
    assert await get(fetcher, server.url("/a b.png?q=ä#part")) == ("image/png", PNG)
    assert names.asked == ["localhost"]
    head = script.seen[0].decode()  # type: ignore[attr-defined]
    assert head.splitlines()[:2] == ["GET /a%20b.png?q=%C3%A4 HTTP/1.1", f"host: localhost:{server.port}"]
    sent = {line.partition(":")[0] for line in head.splitlines()[1:] if line}
    assert sent == {"host", "accept", "accept-encoding", "user-agent"}
    assert "accept-encoding: identity" in head


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://127.1/", "https://127.1.2.3/", "https://0x7f.1/", "https://0x7f000001/",
        "https://0177.0.0.1/", "https://2130706433/", "https://017700000001/", "https://0/", "https://0.0.0.0/",
        "https://10.0.0.1/", "https://0xa.1/", "https://192.168.1.1/", "https://3232235777/", "https://172.31.0.1/",
        "https://100.64.0.1/", "https://169.254.169.254/", "https://0xa9fea9fe/", "https://0251.0376.0251.0376/",
        "https://224.0.0.1/", "https://255.255.255.255/", "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[::ffff:8.8.8.8]/",
        "https://[::ffff:0:10.0.0.1]/", "https://[64:ff9b::10.0.0.1]/", "https://[64:ff9b:1::8.8.8.8]/",
        "https://[2002:7f00:1::1]/", "https://[2001:0:7f00:1::1]/", "https://[fd00:ec2::254]/", "https://[fe80::1]/",
        "https://[ff02::1]/", "https://[2001:db8::1]/",
    ],
)  # fmt: skip
async def test_an_inner_address_is_refused_however_it_is_written(url: str, usual_trust: ssl.SSLContext) -> None:
    """The production guard and the system's own reading of addresses; nothing is connected to."""
    assert await refused(Fetcher(ssl_context=usual_trust), url) == NOT_PUBLIC


async def test_a_server_on_this_machine_is_not_even_connected_to(media: Serve, usual_trust: ssl.SSLContext) -> None:
    server = await media(answering(reply()))
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        assert await refused(Fetcher(ssl_context=usual_trust), f"https://{host}:{server.port}/") == NOT_PUBLIC
    assert server.peers == []


@pytest.mark.parametrize("host", ["inner.example", "both.example", "none.example"])
async def test_every_address_of_a_name_must_be_public(fetcher: Fetcher, names: Names, host: str) -> None:
    assert await refused(fetcher, f"https://{host}/") == NOT_PUBLIC
    assert names.asked == [host]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), OSError("x")])
async def test_a_name_that_does_not_exist_looks_like_one_that_may_not_be_asked(error: Exception) -> None:
    async def look_up(_: Origin) -> list[AddressInfo]:
        raise error

    assert await refused(Fetcher(look_up=look_up), "https://nowhere.example/") == NOT_PUBLIC


async def test_what_is_no_address_at_all_is_refused(certificates: Any) -> None:
    async def look_up(_: Origin) -> list[Any]:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/inner.sock", 0))]

    found = Fetcher(look_up=look_up, may_be_asked=lambda _: True, ssl_context=certificates.trusting())
    assert await refused(found, "https://localhost/") == NOT_PUBLIC


async def test_a_second_answer_of_the_name_server_moves_nothing(media: Serve, certificates: Any) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to, and the name is not asked again."""
    server = await media(answering(reply()))
    names = Names(["127.0.0.1"], ["127.0.0.9"], ["127.0.0.9"])
    found = Fetcher(look_up=names, may_be_asked=here_or_public, ssl_context=certificates.trusting())
    assert (await get(found, server.url("/"))).data == PNG
    assert names.asked == ["localhost"]
    assert await refused(found, server.url("/")) == NOT_PUBLIC  # asked anew, checked anew
    assert len(server.peers) == 1


async def test_each_connection_of_a_chain_is_checked_anew(media: Serve, certificates: Any) -> None:
    """Rebinding between a redirect and its target, at the same name."""
    server = await media(answering(reply(b"", 302, {"location": "/next"})))
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    found = Fetcher(look_up=names, may_be_asked=here_or_public, ssl_context=certificates.trusting())
    assert await refused(found, server.url("/")) == NOT_PUBLIC
    assert (names.asked, len(server.peers)) == (["localhost"] * 2, 1)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_by_hand(fetcher: Fetcher, media: Serve, status: int) -> None:
    places = ["/b?c#d", "sub/c", "//localhost:{port}/ü"]

    async def script(peer: Any) -> None:
        path = (await peer.request()).split()[1].decode()
        paths.append(path)
        if len(paths) <= len(places):
            location = places[len(paths) - 1].format(port=server.port)
            await peer.send(reply(b"moved", status, {"location": location, "set-cookie": "a=b"}))
        else:
            await peer.send(reply())
        await peer.left()

    paths: list[str] = []
    server = await media(script)
    assert (await get(fetcher, server.url("/a/x"))).data == PNG
    assert paths == ["/a/x", "/b?c", "/sub/c", "/%C3%BC"]


async def test_a_fourth_redirect_is_not_followed(fetcher: Fetcher, media: Serve) -> None:
    server = await media(answering(reply(b"", 302, {"location": "/again"})))
    assert await refused(fetcher, server.url("/")) == "It is redirected more than 3 times."
    assert len(server.peers) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://inner.example/", NOT_PUBLIC),
        ("https://10.0.0.1/", NOT_PUBLIC),
        ("https://[::1]/", NOT_PUBLIC),
        ("//inner.example/", NOT_PUBLIC),
        ("http://localhost/", "It is not an https URL."),
        ("file:///etc/passwd", "It is not a plain https URL whose host name is in ASCII."),
        ("https://a@localhost/", "It is not a plain https URL whose host name is in ASCII."),
        ("https://localhost:22/", "Its port may not be asked: that is 443, or most of those from 1024 up."),
        ("https://[::1", "It is redirected to something that is no URL."),
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(
    media: Serve, certificates: Any, location: str, said: str
) -> None:
    async def look_up(origin: Origin) -> list[AddressInfo]:
        known = {"localhost": "127.0.0.1", "inner.example": "10.1.2.3"}
        return [info(known.get(origin.host, origin.host), origin.port)]

    found = Fetcher(look_up=look_up, may_be_asked=here_or_public, ssl_context=certificates.trusting())
    server = await media(answering(reply(b"", 302, {"location": location})))
    assert await refused(found, server.url("/")) == said
    assert len(server.peers) == 1


async def test_a_redirect_without_a_place_leads_nowhere(fetcher: Fetcher, media: Serve) -> None:
    server = await media(answering(reply(b"", 302, {"x": "y"})))
    assert await refused(fetcher, server.url("/")) == "It is redirected more than 3 times."


# Hosts that misbehave


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", reply()[:-5]])
async def test_a_silent_host_has_only_so_long(fetcher: Fetcher, media: Serve, before: bytes) -> None:
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(before)
        await peer.left()
        left.set()

    server = await media(script)
    assert await refused(fetcher, server.url("/"), seconds=0.05) == TOO_SLOW
    await asyncio.wait_for(left.wait(), 20)


async def test_a_host_that_drips_has_no_longer(fetcher: Fetcher, media: Serve) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.005)

    server = await media(script)
    started = asyncio.get_running_loop().time()
    assert await refused(fetcher, server.url("/"), seconds=0.06) == TOO_SLOW
    assert asyncio.get_running_loop().time() - started < 10


async def test_a_handshake_that_stalls_has_no_longer(fetcher: Fetcher, serve: Serve) -> None:
    async def script(peer: Any) -> None:
        await peer.left()

    server = await serve(script, host="localhost")
    assert await refused(fetcher, f"https://localhost:{server.port}/", seconds=0.05) == TOO_SLOW


async def test_a_name_server_that_does_not_answer_has_no_longer() -> None:
    async def look_up(_: Origin) -> list[AddressInfo]:
        await asyncio.get_running_loop().create_future()
        return []

    assert await refused(Fetcher(look_up=look_up), "https://media.example/", seconds=0.05) == TOO_SLOW


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_left_at_the_limit(fetcher: Fetcher, media: Serve, chunked: bool) -> None:
    sent = 0

    async def script(peer: Any) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        piece = bytes(10_000)
        while True:
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
            await asyncio.sleep(0)

    server = await media(script)
    said = "More than 1 MiB in all would have to be fetched."
    assert await refused(fetcher, server.url("/"), size=1 << 20) == said
    assert sent < 6 << 20  # what the sockets hold


async def test_fetches_share_an_allowance(fetcher: Fetcher, media: Serve) -> None:
    server = await media(answering(reply()))
    allowance = Allowance(len(PNG) * 2)
    until = asyncio.get_running_loop().time() + 2
    for _ in range(2):
        assert (await fetcher.fetch(server.url("/"), "image/png", until, allowance)).data == PNG
    with pytest.raises(FetchError, match="in all would have to be fetched"):
        await fetcher.fetch(server.url("/"), "image/png", until, allowance)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x", "identity, gzip"])
async def test_compressed_bodies_are_not_decoded(fetcher: Fetcher, media: Serve, coding: str) -> None:
    headers = {"content-type": "image/png", "content-encoding": coding}
    server = await media(answering(reply(gzip.compress(PNG), headers=headers)))
    assert await refused(fetcher, server.url("/")) == "It came compressed, which was not asked for."


async def test_a_body_that_says_it_is_not_compressed_is_taken(fetcher: Fetcher, media: Serve) -> None:
    server = await media(answering(reply(headers={"content-encoding": "Identity"})))
    assert await get(fetcher, server.url("/")) == ("", PNG)


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 500])
async def test_only_a_200_is_a_document(fetcher: Fetcher, media: Serve, status: int) -> None:
    server = await media(answering(reply(b"", status)))
    assert await refused(fetcher, server.url("/")) == f"Its host answered with status {status}."


@pytest.mark.parametrize("which", ["other", "expired"])
async def test_the_certificate_must_be_good_for_the_name(fetcher: Fetcher, media: Serve, which: str) -> None:
    server = await media(answering(reply()), which)
    assert await refused(fetcher, server.url("/")) == "The certificate of its host was not accepted."


async def test_the_name_is_what_the_certificate_is_held_against(
    fetcher: Fetcher, names: Names, certificates: Any
) -> None:
    """And what is shown in SNI: the connection goes to an address, and still speaks to the name."""
    context = certificates.server(certificates.other)
    shown: list[str | None] = []
    context.sni_callback = lambda _sock, name, _context: shown.append(name)
    started = await asyncio.start_server(_one_reply, "127.0.0.1", 0, ssl=context)
    async with started:
        port = started.sockets[0].getsockname()[1]
        assert (await get(fetcher, f"https://other.example:{port}/")).data == PNG
    assert (shown, names.asked) == (["other.example"], ["other.example"])


async def _one_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(reply())
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    "host",
    [
        ".", "..", ".x", "a..b", "-", "*", "*.example", "_", "x" * 64, "x." * 130 + "x", "a'b", "(", "!", "~", "$",
        "a;b", "a,b", "<x>", "xn--", "xn--a", "xn--zzzzzzzzz", "127.0.0.1.", "localhost.", "1.1.1.1.1", "0x", "[::1%1]",
    ],
)  # fmt: skip
async def test_no_name_breaks_us_even_if_it_had_an_address(fetcher: Fetcher, media: Serve, host: str) -> None:
    """Callers have name servers of their own, which may say anything about any name."""
    server = await media(answering(reply()))
    with pytest.raises(FetchError):
        await get(fetcher, f"https://{host}:{server.port}/")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (reply()[:-5], "It ended before its own length."),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "The answer of its host could not be understood."),
        (b"", "Its host could not be reached, or broke off."),
    ],
)
async def test_a_broken_answer_is_told_from_a_slow_one(fetcher: Fetcher, media: Serve, sent: bytes, said: str) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(sent)
        peer.fin()

    server = await media(script)
    assert await refused(fetcher, server.url("/")) == said


async def test_a_port_where_nobody_listens_is_said_to_be_that(fetcher: Fetcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://localhost:{taken.getsockname()[1]}/"
        assert await refused(fetcher, url) == "Its host could not be reached, or broke off."


async def test_cancelling_ends_the_connection_at_once(fetcher: Fetcher, media: Serve) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(reply()[:-5])
        begun.set()
        await peer.left()
        left.set()

    server = await media(script)
    task = asyncio.create_task(get(fetcher, server.url("/"), seconds=60))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(left.wait(), 20)


# Names


async def test_names_are_looked_up_in_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once, and one that nobody waits for any more holds its place until its server has answered."""
    go, looked = threading.Event(), []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[AddressInfo]:
        looked.append((host, threading.current_thread().daemon))
        go.wait(20)
        return [info("1.1.1.1", port)]

    monkeypatch.setattr(fetching.socket, "getaddrinfo", getaddrinfo)
    resolver = Resolver(most=1)
    first = asyncio.create_task(resolver(Origin("https", "slow.example", 443)))
    async with asyncio.timeout(20):
        while not looked:  # noqa: ASYNC110 - a thread cannot tell
            await asyncio.sleep(0.005)
    first.cancel()
    second = asyncio.create_task(resolver(Origin("https", "next.example", 443)))
    await asyncio.sleep(0.01)
    assert looked == [("slow.example", True)]
    go.set()
    assert await asyncio.wait_for(second, 20) == [info("1.1.1.1", 443)]
    assert [host for host, _ in looked] == ["slow.example", "next.example"]


async def test_an_error_of_the_look_up_reaches_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(fetching.socket, "getaddrinfo", getaddrinfo)
    resolver = Resolver(most=1)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver(Origin("https", "nowhere.example", 443))


async def test_the_systems_authorities_are_trusted_and_read_once(
    monkeypatch: pytest.MonkeyPatch, usual_trust: ssl.SSLContext, media: Serve
) -> None:
    read: list[str] = []

    def trust(given: ssl.SSLContext | None) -> ssl.SSLContext:
        if given is None:
            read.append(threading.current_thread().name)
        return given or usual_trust

    monkeypatch.setattr(fetching, "verifying_context", trust)
    server = await media(answering(reply()))
    found = Fetcher(look_up=Names(), may_be_asked=here_or_public)
    for _ in range(2):
        assert await refused(found, server.url("/")) == "The certificate of its host was not accepted."
    assert len(read) == 1
    assert read[0] != threading.main_thread().name


@pytest.mark.parametrize("how", ["too large", "too slow", "not found"])
async def test_what_had_come_of_a_failed_fetch_goes_with_it(fetcher: Fetcher, media: Serve, how: str) -> None:
    """Without waiting for the garbage collector: callers can make this happen as often as they like."""
    whole = reply(bytes(100_000), 404 if how == "not found" else 200)
    server = await media(answering(whole[:-1] if how == "too slow" else whole))
    gc.freeze()  # what there was before is not looked at: in a long run of tests that is much
    gc.disable()
    try:
        with contextlib.suppress(FetchError):  # what pytest offers for this keeps it
            await get(fetcher, server.url("/"), seconds=0.1, size=10_000 if how == "too large" else 1 << 20)
            raise AssertionError("it was fetched")
        kept = [each for each in gc.get_objects() if isinstance(each, FetchError | UpstreamError)]
    finally:
        gc.enable()
        gc.unfreeze()
    assert kept == []
