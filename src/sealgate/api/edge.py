"""The edge: Uvicorn's HTTP/1.1 protocol with the rules that can live nowhere else.

One message at a time is given to the parser: what a caller sends before its turn waits as bytes, bounded. The end of
each head and body is found here as well as by the parser (llhttp), and a request is refused where the two disagree.

Decided here, where the standards leave it open: header names with an underscore are dropped, because gateways map
them to dashes (A13); trailers are dropped; ``Expect`` other than ``100-continue`` is ignored (RFC 9110, 10.1.1 lets a
server do so); an upgrade is never done and the request is answered as if it had not asked (A18); a caller that closes
its sending side is taken to have left (G4); methods that the parser does not know are not HTTP.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httptools
import uvicorn

from sealgate.api.call import CONNECTION, NOTED
from sealgate.api.edge_connection import ANSWER, BODY, CROWDED, HEAD, IDLE, NEVER, EdgeConnection, OnRefusal, Shared
from sealgate.api.edge_cycle import UNREAD_BYTES, App, Connection, Cycle
from sealgate.api.edge_head import Head, HeadReader
from sealgate.api.edge_peers import NOBODY, Peers
from sealgate.api.edge_rules import ChunkFraming, EdgeLimits, RefusedError, head_code, parser_code
from sealgate.api.edge_tls import Certificate

__all__ = ["Connection", "EdgeLimits", "EdgeProtocol", "edge_protocol", "server_config"]

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class EdgeProtocol(EdgeConnection):
    """One connection, with the reading. `edge_protocol` makes the class for a server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scope: dict[str, Any] = {}
        """What the scopes of this connection's requests have in common; a copy is filled in for each."""
        self._head_done = False
        self._message_done = False
        self._keep_alive = False
        self._framing: ChunkFraming | None = None
        self.parser = self._new_parser()

    def _new_parser(self) -> Any:
        """One that tells only where head, body and message end: `HeadReader` cuts the head faster than it can."""
        listener = SimpleNamespace(
            on_headers_complete=self.on_headers_complete,
            on_body=self.on_body,
            on_message_complete=self.on_message_complete,
        )
        return httptools.HttpRequestParser(listener)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": "",
            "root_path": "",
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "headers": (),
            NOTED: {},
            "state": {},
            "extensions": {CONNECTION: self.connection},
        }

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state <= BODY:
            self._advance(data)
        elif state == ANSWER:
            self._hold(data)
        elif state == CROWDED:
            self._refuse("overloaded")

    def _advance(self, data: bytes) -> None:
        """Take as much of ``data`` as belongs to the message at hand; the rest waits."""
        try:
            while data and self._state <= BODY:
                data = self._take_body(data) if self._state == BODY else self._take_head(data)
        except RefusedError as refused:
            self._refuse(refused.code)
        except httptools.HttpParserError as error:
            cause = error.__context__
            in_body = self._state == BODY
            self._refuse(cause.code if isinstance(cause, RefusedError) else parser_code(str(error), in_body))
        else:
            if data and self._state == ANSWER:
                self._hold(data)
            elif self._state == BODY and self._deadline == NEVER:
                self._start_body_clock()

    def _hold(self, data: bytes) -> None:
        """Keep what comes before its turn. Reading goes on, since only a read notices that the caller has left."""
        self._held += data
        if len(self._held) > self.limits.pipelined_bytes:
            self.flow.pause_reading()

    def advance_held(self) -> None:
        if self._state != ANSWER:
            return
        data = bytes(self._held)
        self._held.clear()
        self._idle()
        self._advance(data)

    def _take_head(self, data: bytes) -> bytes:
        """Give the parser the head, or the part of it that is here. Returns what follows it."""
        if not self._head:
            if data[0] in b"\r\n":  # RFC 9112, 2.2: empty lines before a request are skipped
                data = data.lstrip(b"\r\n")
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                head, rest = (data[:end], data[end:]) if end < len(data) else (data, b"")
                self._give_head(head, head)
                return rest
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(0, before - 3)) + 4
        if end <= 3:
            self._give_part(data)
            return b""
        whole, self._head = bytes(self._head[:end]), bytearray()
        self._give_head(whole, data[: end - before])
        return data[end - before :]

    def _give_part(self, part: bytes) -> None:
        code = head_code(self._head, self.limits)
        if code is not None:
            raise RefusedError(code)
        if self._state == IDLE:
            self._state = HEAD
            self._due(self.limits.header_seconds)
        if part:
            self.parser.feed_data(part)

    def _give_head(self, head: bytes, part: bytes) -> None:
        """``part`` completes ``head``: let the parser judge it, read it, and start the application on it."""
        limits = self.limits
        if len(head) > limits.request_line_bytes or len(head) > limits.header_bytes:
            code = head_code(head, limits)
            if code is not None:
                raise RefusedError(code)
        self._message_done = False
        upgrade = False
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            upgrade = True
        read = self.shared.heads.read(head)
        if not self._head_done or (self._message_done != (read.length == 0) and not upgrade):
            raise RefusedError("invalid_http")  # the parser does not see the end of the head where we do
        self._head_done = False
        if upgrade:
            self._ignore_upgrade(read)
        self._begin(read)

    def _ignore_upgrade(self, head: Head) -> None:
        """The parser stops at an upgrade and takes no body. Another one does, as if none had been asked for."""
        self.parser = self._new_parser()
        if head.length != 0:
            framing = b"transfer-encoding: chunked" if head.length is None else b"content-length: %d" % head.length
            keep_alive = self._keep_alive
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            self._head_done, self._keep_alive = False, keep_alive

    def _begin(self, head: Head) -> None:
        cycle = self._active = Cycle(self, self._scope_of(head), head)
        cycle.keep_alive = self._keep_alive and not head.target.old and not self._draining
        self._fresh = False
        self._deadline = NEVER
        if head.length == 0:
            self._state = ANSWER
        else:
            self._state = BODY
            self._framing = ChunkFraming(self.limits.chunk_extension_bytes) if head.length is None else None
        cycle.task = self.loop.create_task(cycle.run(self.app))
        self.tasks.add(cycle.task)

    def _scope_of(self, head: Head) -> dict[str, Any]:
        target = head.target
        scope = self._scope.copy()
        if self._proxied:
            scope["client"], scope["scheme"] = self.shared.peers.origin(scope["client"], scope["scheme"], head.headers)
        if target.old:
            scope["http_version"] = "1.0"
        scope["method"] = target.method
        scope["path"] = target.path
        scope["raw_path"] = target.raw_path
        scope["query_string"] = target.query
        scope["headers"] = head.headers
        scope[NOTED] = head.noted
        scope["state"] = self.app_state.copy()
        return scope

    def _take_body(self, data: bytes) -> bytes:
        """Give the parser the body's part of ``data``. Returns what follows the body."""
        cycle = self._active
        assert cycle is not None
        if self._framing is not None:
            end = self._framing.feed(data)
        else:
            assert cycle.body_left is not None
            end = cycle.body_left if cycle.body_left <= len(data) else -1
        part, rest = (data, b"") if end < 0 else (data[:end], data[end:])
        self._body_seen += len(part)
        self.parser.feed_data(part)
        if (self._state == BODY) != (end < 0):  # the parser does not see the end of the body where we do
            raise RefusedError("invalid_http")
        return rest

    # What the parser says

    def on_headers_complete(self) -> None:
        if self._head_done or self._state == BODY:
            raise RefusedError("invalid_http")
        self._head_done = True
        self._keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        cycle = self._active
        if cycle is None or self._state != BODY:
            raise RefusedError("invalid_http")
        cycle.add_body(body)
        if cycle.unread > UNREAD_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self._state != BODY:  # it has no body, and is begun after its head has been read
            self._message_done = True
            return
        cycle = self._active
        assert cycle is not None
        cycle.end_body()
        self._deadline = NEVER
        if cycle.response_complete:
            self._idle()
        else:
            self._state = ANSWER


def edge_protocol(
    limits: EdgeLimits,
    hosts: frozenset[str] | None = None,
    on_refusal: OnRefusal | None = None,
    peers: Peers = NOBODY,
) -> type[EdgeProtocol]:
    """The protocol for one server, to be given to `uvicorn.Config` as ``http``.

    ``hosts`` are the names served (see `HeadReader`), ``peers`` the proxies that are believed. ``on_refusal`` hears the
    code and the peer of each request and connection that the edge turned away: `request_timeout` also where nothing was
    said to the caller.
    """
    shared = Shared(limits, HeadReader(limits, hosts), peers)
    if on_refusal is not None:
        shared.on_refusal = on_refusal
    return type("EdgeProtocol", (EdgeProtocol,), {"shared": shared})


def server_config(
    app: App,
    host: str,
    port: int,
    limits: EdgeLimits,
    *,
    hosts: frozenset[str] | None = None,
    on_refusal: OnRefusal | None = None,
    peers: Peers = NOBODY,
    tls: Certificate | None = None,
) -> uvicorn.Config:
    """Uvicorn's settings for the edge. Uvicorn itself believes no forwarded headers: ``peers`` judges them."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="auto",
        http=edge_protocol(limits, hosts, on_refusal, peers),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=None,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
    )
