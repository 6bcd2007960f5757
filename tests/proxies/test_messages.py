"""One reading of every message: what a proxy takes for a request is what the edge takes for it (RFC 9112, 11.2)."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.api.edge_server import Application, Served
from tests.proxies.conftest import Before
from tests.proxies.front import Front

from sealgate.api.edge_peers import Peers
from sealgate.api.edge_rules import EdgeLimits

QUIET = 0.25
"""Seconds without a byte after which an attacker has heard everything."""
HOST = b"Host: api.example\r\n"
HIDDEN = b"GET /hidden?NUMBER HTTP/1.1\r\n" + HOST + b"\r\n"
"""The request that one side may take for a body and the other for a request. ``NUMBER`` becomes the attack's own."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"
EMPTY = b"0\r\n\r\n"


def length(count: int) -> bytes:
    return b"Content-Length: %d\r\n" % count


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /first?NUMBER " + version + b"\r\n" + HOST + b"".join(lines) + b"\r\n" + body


def part(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CL_TE = EMPTY + HIDDEN
"""Over at once where it is read in chunks, and one body where it is read by ``Content-Length``."""
TE_CL = part(HIDDEN) + EMPTY
SHORT = length(TE_CL.index(b"\r\n") + 2)
"""The length of the first chunk's size line: what follows would be the next request."""


def hidden_coding(line: bytes) -> dict[str, bytes]:
    """A coding that one side may see and the other may not, with bodies that make the most of it."""
    name = repr(line)[2:-1]
    return {
        f"{name} after a length": post(length(len(CL_TE)), line, body=CL_TE),
        f"{name} before a length": post(line, length(len(CL_TE)), body=CL_TE),
        f"{name} and a short length": post(SHORT, line, body=TE_CL),
    }


CODINGS = [
    CHUNKED,
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
    b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
    b"TRANSFER-ENCODING: CHUNKED\r\n",
    b'Transfer-Encoding: "chunked"\r\n',
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\n",
    b"Transfer-Encoding: chunked\x00\r\n",
    b"Transfer-Encoding: chunked\xa0\r\n",
    b"Transfer-Encoding\x00: chunked\r\n",
    b"Connection: Content-Length\r\nTransfer-Encoding: chunked\r\n",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    b"X:y\r\n\rTransfer-Encoding: chunked\r\n",
]
LENGTHS = [
    b"Content-Length: +%d\r\n",
    b"Content-Length: 0%d\r\n",
    b"Content-Length: 0x%d\r\n",
    b"Content-Length: %d,0\r\n",
    b"Content-Length: -%d\r\n",
    b"Content-Length: %d\r\nContent-Length: 0\r\n",
    b"Content-Length : %d\r\n",
    b"Content-Length: 0\r\nContent-Length: %d\r\n",
    b"Content-Length:\r\n %d\r\n",
    b"Content-Length: 0\n 1\r\nX: %d\r\n",
    b"Content-Length: %d\n",
    b"Content_Length: %d\r\n",
    b"Content-Length: %d 0\r\n",
    b"Content-Length: %d\r\n" * 2,
    b"Connection: close, Content-Length\r\nContent-Length: %d\r\n",
    b"Content-Length: %d\x00\r\n",
]
CHUNKS = {
    "a size with a prefix": b"0x0\r\n\r\n" + HIDDEN,
    "a negative size": b"-1\r\n\r\n" + HIDDEN,
    "a size beyond all numbers": b"1" + b"0" * 16 + b"\r\n\r\n" + HIDDEN,
    "a size that ends in a bare LF": b"0\n\r\n" + HIDDEN,
    "a size that ends in a bare CR": b"0\r\r\n\r\n" + HIDDEN,
    "an extension with a bare LF": b"1;\nx\r\n0\r\n\r\n" + HIDDEN,
    "an extension": b'1;a="b"\r\nx\r\n' + EMPTY + HIDDEN,
    "a space before the size": b" 0\r\n\r\n" + HIDDEN,
    "a space after the size": b"0 \r\n\r\n" + HIDDEN,
    "data that is too long": b"1\r\nxyz\r\n" + EMPTY + HIDDEN,
    "data without its end": b"1\r\nx" + EMPTY + HIDDEN,
    "data that ends in two other bytes": b"1\r\nxXX" + EMPTY + HIDDEN,
    "data that ends in a bare LF": b"1\r\nx\n" + EMPTY + HIDDEN,
    "no empty line at the end": b"0\r\n" + HIDDEN,
    "an end of bare LFs": b"0\n\n" + HIDDEN,
    "a trailer that gives a length": b"0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "a trailer with a bare LF": b"0\r\nX: y\n\r\n" + HIDDEN,
    "an empty size": b"\r\n" + EMPTY + HIDDEN,
}
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
HEADS = {
    "two requests, as they should be": post(length(1), body=b"x") + HIDDEN,
    "two requests in chunks, as they should be": post(CHUNKED, body=part(b"x") + EMPTY) + HIDDEN,
    "a body of a GET": b"GET /first?NUMBER HTTP/1.1\r\n" + HOST + length(len(HIDDEN)) + b"\r\n" + HIDDEN,
    "a body of a HEAD": b"HEAD /first?NUMBER HTTP/1.1\r\n" + HOST + length(len(HIDDEN)) + b"\r\n" + HIDDEN,
    "chunks in HTTP/1.0": post(CHUNKED, b"Connection: keep-alive\r\n", body=CL_TE, version=b"HTTP/1.0"),
    "a version that is not": post(length(0), version=b"HTTP/1.9") + HIDDEN,
    "no version": b"GET /first?NUMBER\r\n" + HIDDEN,
    "two versions": b"GET /first?NUMBER HTTP/1.0 HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "only bare LFs": (post(length(len(HIDDEN))) + HIDDEN).replace(b"\r\n", b"\n"),
    "a head that ends in bare LFs": b"GET /first?NUMBER HTTP/1.1\r\nHost: api.example\n\n" + HIDDEN,
    "a request line that ends in a bare CR": b"GET /first?NUMBER HTTP/1.1\r" + HOST + b"\r\n" + HIDDEN,
    "a tab in the request line": b"GET\t/first?NUMBER HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "two hosts": b"GET /first?NUMBER HTTP/1.1\r\nHost: a.example\r\n" + HOST + b"\r\n" + HIDDEN,
    "another host in the target": b"GET http://a.example/first?NUMBER HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a line end in a target's escape": b"GET /first?NUMBER%0d%0aX:y HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "an expectation": post(length(len(HIDDEN)), b"Expect: 100-continue\r\n", body=HIDDEN),
    "another expectation": post(length(len(HIDDEN)), b"Expect: y 100-continue\r\n", body=HIDDEN),
    "an upgrade to HTTP/2": post(UPGRADE, length(len(HIDDEN)), body=HIDDEN),
    "an upgrade to a web socket": b"GET /first?NUMBER HTTP/1.1\r\n" + HOST + WEBSOCKET + b"\r\n" + HIDDEN,
    "a line without a colon": post(b"Transfer-Encoding\r\n", length(len(HIDDEN)), body=HIDDEN),
    "an empty name": post(b": x\r\n", length(len(HIDDEN)), body=HIDDEN),
}
ATTACKS: dict[str, bytes] = {
    **{name: attack for coding in CODINGS for name, attack in hidden_coding(coding).items()},
    **{
        f"{repr(line)[2:-1]} with a body of {what}": post(line.replace(b"%d", b"%d" % count), body=HIDDEN)
        for line in LENGTHS
        for what, count in (("all", len(HIDDEN)), ("nothing", 0))
    },
    **{f"chunks: {name}": post(CHUNKED, body=body) for name, body in CHUNKS.items()},
    **HEADS,
}

Reading = tuple[str, str, str]
"""Method, target and body."""


class Recorder(Application):
    """Answers each request with what was understood, and keeps that by the attack's own number."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: dict[str, list[Reading]] = {}
        self.connections: set[Any] = set()

    async def do_echo(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = await self._read(scope["path"], receive)
        if body is None:
            return
        self.connections.add(scope["extensions"]["sealgate.connection"])
        query = scope["query_string"].decode("latin-1")
        reading = (scope["method"], f"{scope['raw_path'].decode('latin-1')}?{query}", body.decode("latin-1"))
        self.readings.setdefault(query[:6], []).append(reading)
        text = json.dumps([*reading, scope["client"], scope["scheme"]]).encode()
        # Base64 in the head, because an answer to HEAD has no body.
        headers = [(b"content-length", b"%d" % len(text)), (b"x-read", base64.b64encode(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def edge(recorder: Recorder) -> Iterator[Served]:
    with Served(EdgeLimits(), application=recorder, peers=Peers(["127.0.0.1"])) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(before: Before, edge: Served) -> Front:
    return before(edge.port)


def say(proxy: Front, data: bytes, quiet: float = QUIET) -> bytes:
    """Send all of it over a new connection and give what comes back until it is quiet for that long."""
    heard = b""
    with contextlib.suppress(OSError), proxy.socket(quiet) as sock:
        sock.sendall(data)
        while piece := sock.recv(65536):
            heard += piece
    return heard


def answers(heard: bytes) -> list[Reading]:
    """The readings that the attacker was answered with, in order; the proxy's and the edge's refusals are left out."""
    if heard.startswith(b"["):  # an answer in HTTP/0.9 has no head
        method, target, text, *_ = json.loads(heard)
        return [(method, target, text)]
    found: list[Reading] = []
    stream = io.BytesIO(heard)
    while heard[stream.tell() :].strip():
        line = stream.readline()
        head = http.client.parse_headers(stream)
        if line.split()[1] == b"100":
            continue
        if head["x-read"]:
            method, target, text, *_ = json.loads(base64.b64decode(head["x-read"]))
            found.append((method, target, text))
        if not (head["x-read"] and method == "HEAD"):
            stream.read(int(head["content-length"] or 0))
    return found


def test_no_attack_is_read_in_two_ways(proxy: Front, recorder: Recorder) -> None:
    """Each request that the edge understood was answered to the one who sent it, in order; so nobody else's was."""
    heard: dict[str, list[Reading]] = {}

    def attack(number: str, quiet: float = QUIET) -> None:
        heard[number] = answers(say(proxy, attacks[number].replace(b"NUMBER", number.encode()), quiet))
        assert probe(proxy, number) == ("POST", f"/probe?p{number[1:]}", number), names[number]

    initial = proxy.name[0]
    names = {f"{initial}-{number:04}": name for number, name in enumerate(ATTACKS)}
    attacks = {number: ATTACKS[name] for number, name in names.items()}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attack, names))

    for number in [number for number in heard if heard[number] != recorder.readings.get(number, [])]:
        again = number.upper()  # on a busy machine an answer may come after the attacker has given up
        names[again], attacks[again] = names[number], attacks[number]
        attack(again, quiet=2)
        assert heard[again] == recorder.readings.get(again, []), names[number]

    understood = {names[number]: len(found) for number, found in heard.items()}
    assert understood["two requests, as they should be"] == 2
    assert understood["two requests in chunks, as they should be"] == 2
    assert sum(count == 0 for count in understood.values()) > len(ATTACKS) / 3, "most of these are refused"


def probe(proxy: Front, number: str) -> Reading:
    """What a stranger is answered, whose request may share a connection to the edge with the attack."""
    connection = proxy.connect(seconds=5)
    try:
        connection.request("POST", f"/probe?p{number[1:]}", number.encode())
        method, target, text, *_ = json.loads(connection.getresponse().read())
        return method, target, text
    finally:
        connection.close()


@pytest.mark.parametrize(
    "target", ["/a%2Fb", "/a//b", "/a/../b", "/a/%2e%2e/b", "/a;b=c", "/A.", "/a%00", "/a?b=c%20d&e=%2F", "/%E4%B8%AD"]
)
def test_a_target_goes_on_as_it_was_sent(proxy: Front, target: str) -> None:
    heard = answers(say(proxy, f"GET {target} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n".encode()))
    assert heard in ([("GET", target if "?" in target else f"{target}?", "")], [])
    if target not in ("/a/../b", "/a/%2e%2e/b", "/a%00"):
        assert heard, "it was refused"


def test_a_connection_of_a_caller_and_one_to_the_edge_serve_many_requests(proxy: Front, recorder: Recorder) -> None:
    known = set(recorder.connections)
    with contextlib.closing(proxy.connect()) as connection:
        connection.connect()
        own = connection.sock
        for number in range(20):
            connection.request("POST", "/echo", b"x" * number)
            assert json.loads(connection.getresponse().read())[2] == "x" * number
        assert connection.sock is own
    assert len(recorder.connections - known) <= 2


@pytest.mark.parametrize("scheme", ["http", "https", "https, http"])
def test_the_edge_sees_https_and_the_caller_whatever_he_says(proxy: Front, scheme: str) -> None:
    with contextlib.closing(proxy.connect(source="127.0.0.9")) as connection:
        connection.request("GET", "/echo", headers={"X-Forwarded-Proto": scheme, "X-Forwarded-For": "203.0.113.9"})
        *_, client, seen = json.loads(connection.getresponse().read())
        assert (client, seen) == (["127.0.0.9", 0], "https")
