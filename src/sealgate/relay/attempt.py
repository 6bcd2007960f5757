"""One upstream call: written by the wire, addressed by the host, sent under limits, read event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request, Response
from sealgate.outward.inflate import inflated
from sealgate.providers.audio import Upload
from sealgate.providers.base import Adjustment, Json, Prompt, Reader, Wire, Written
from sealgate.providers.refused import without
from sealgate.providers.whole import HEAVY, WholeBody
from sealgate.receipts.inference import picked
from sealgate.relay.catalog import Route, Target
from sealgate.relay.upstreams import Upstreams

MAX_ERROR_BODY = 256 * 1024
MAX_STREAM = 256 * 1024 * 1024
"""Bytes of one stream, comments and all: what was said is kept for the receipt, and must have an end. A whole answer
has less (`sealgate.providers.whole.MAX_ANSWER`), since it needs no frame around each word."""
JSON = "application/json"
STRUCTURED = {JSON, "text/event-stream", "application/vnd.amazon.eventstream"}
"""Content types that say what a body is; others are given the benefit of the doubt."""
LINGER_SECONDS = 0.5
LINGER_BYTES = 64 * 1024
NO_EVIDENCE: Mapping[str, str] = MappingProxyType({})


class Attempt:
    """One try at one target."""

    def __init__(
        self, upstreams: Upstreams, target: Target, prompt: Prompt, background: set[asyncio.Task[None]]
    ) -> None:
        self._upstreams = upstreams
        self._target = target
        self._prompt = prompt
        self._background = background
        self._response: Response | None = None
        self._reader: Reader | None = None
        self.over = False
        """Whether all of the answer has been read."""
        self.size = 0
        """Bytes that have come of the answer's body."""
        self.adjustments: Sequence[Adjustment] = ()
        """What in the request that was sent is not as the caller sent it; known once it is open."""
        self.sent = b""
        """The body that was sent; known once it is open."""
        self.heavy = False
        """Whether so much has come at once that it is to be read, and the answer made of it, in another thread."""
        self.evidence: Mapping[str, str] = NO_EVIDENCE
        """What the answer's head shows of the machine that answers, where the operator wants that told."""

    @property
    def status(self) -> int | None:
        """The upstream's HTTP status, once its head has come."""
        return self._response.status if self._response is not None else None

    async def open(self, limits: Limits) -> None:
        """Send the request and judge the head of its answer. Raises `UpstreamError`."""
        account, prompt = self._target.route.account, self._prompt
        wire = account.kind.wires[prompt.operation]
        client, signer = self._upstreams.way(account)
        if prompt.operation != "chat" and _is_heavy(prompt):
            request, found = await asyncio.to_thread(compose, self._target, prompt)
        else:
            request, found = compose(self._target, prompt)
        self.adjustments = found.adjustments
        if signer is not None:
            request = await signer.sign(request, self._target.key)
        self.sent = request.body
        response = self._response = await client.send(request, limits)
        if (coding := response.headers.get("content-encoding")) is not None:
            response = self._response = inflated(response, coding)
        if response.status != 200:
            raise wire.failure(response.status, response.headers, await _error_body(response))
        said = response.headers.get("content-type", "")
        if (said != JSON or prompt.stream) and (mismatch := _mismatch(said, _types(self._target, prompt))):
            # An error may come as a plain 200 document where a stream was asked for; its class matters.
            document = _reader(wire, found, prompt, stream=False)
            document.feed(await _error_body(response))
            document.end()
            raise UpstreamError(Failure.BAD_RESPONSE, mismatch)
        if account.evidence_headers:
            self.evidence = picked(response.headers, account.evidence_headers)
        reader = self._reader = _reader(wire, found, prompt, stream=prompt.stream)
        if isinstance(reader, WholeBody):
            reader.headers = response.headers

    async def read(self) -> Iterable[Json]:
        """Objects in OpenAI's shape: of the next piece of a stream, or of a whole body; none once it is over."""
        reader, response = self._reader, self._response
        assert reader is not None
        assert response is not None
        if self.over:
            return ()
        while not reader.done and (piece := await response.read()):
            self.size += len(piece)
            if self.size > MAX_STREAM:
                raise UpstreamError(Failure.TOO_LARGE, "the stream has no end")
            if (found := reader.feed(piece)) or self._prompt.stream:
                return found
        self.over = True
        self.heavy = self.size > HEAVY and isinstance(reader, WholeBody)
        return await asyncio.to_thread(reader.end) if self.heavy else reader.end()

    @property
    def marked(self) -> bool:
        """Whether the upstream itself has said that the answer is over."""
        return self._reader is not None and self._reader.done

    def close(self) -> None:
        """Close the upstream connection at once, or give it back after a whole answer."""
        response = self._response
        if response is None:
            return
        if self.over and self._prompt.stream and self.marked:
            # The body's end is due at once; waiting for it aside keeps the connection usable.
            task = asyncio.get_running_loop().create_task(_read_out(response))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        else:
            response.close()

    def set_silence(self, seconds: float) -> None:
        """Allow the upstream to be silent for this long from now on."""
        if self._response is not None:
            self._response.set_silence(seconds)


def _is_heavy(prompt: Prompt) -> bool:
    upload = prompt.fields.get("file")
    return isinstance(upload, Upload) and len(upload.data) > HEAVY


def _reader(wire: Wire, found: Written, prompt: Prompt, *, stream: bool) -> Reader:
    return wire.reader(prompt.fields, stream=stream) if found.reader is None else found.reader(stream)


def compose(target: Target, prompt: Prompt) -> tuple[Request, Written]:
    """What goes to the provider, and how it was written."""
    route, key = target
    account = route.account
    found = written(route, prompt)
    place = prompt.operation, prompt.stream
    url = route.urls.get(place)
    if url is None:
        host = account.kind.host
        url = host.url(account, route.upstream_model, stream=prompt.stream, operation=prompt.operation)
        route.urls[place] = url
    headers = account.headers(prompt, key)
    if found.headers:
        headers = {**headers, **found.headers}
    return Request("POST", url, headers, found.body), found


def written(route: Route, prompt: Prompt) -> Written:
    """The body that a route gets, without what its model refuses."""
    account, said = route.account, None
    if route.refuses or prompt.refused:
        prompt, said = without(prompt, route.refuses | prompt.refused)
    wire = account.kind.wires[prompt.operation]
    found = wire.write(account, prompt, route.upstream_model, route.max_output_tokens)
    if prompt.native is not None and found.reader is None:
        found = replace(found, adjustments=[*prompt.native.lost, *found.adjustments])
    return replace(found, adjustments=[*said, *found.adjustments]) if said else found


async def _error_body(response: Response) -> bytes:
    """As much of an error's body as is needed to understand it; a broken body is no reason to know less."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < MAX_ERROR_BODY and (piece := await response.read()):
            pieces.append(piece)
            size += len(piece)
    except UpstreamError:
        pass
    return b"".join(pieces)


def _types(target: Target, prompt: Prompt) -> Sequence[str]:
    """The content types that an answer may have."""
    kind, operation = target.route.account.kind, prompt.operation
    if not prompt.stream:
        return (JSON,)
    streamed = kind.wires[operation].stream_type
    # Providers of transcripts that know no streams pass over that one was asked for.
    return (streamed, JSON) if kind.array_streams or operation != "chat" else (streamed,)


def _mismatch(said: str, wanted: Sequence[str]) -> str | None:
    """Why an answer of this type is plainly not what was asked for: a page, or a document instead of a stream."""
    if said in wanted:
        return None
    kind = said.partition(";")[0].strip().lower()
    if kind == "text/html" or (kind not in wanted and kind in STRUCTURED):
        return f"the answer came as {kind}"
    return None


async def _read_out(response: Response) -> None:
    response.set_silence(LINGER_SECONDS)
    size = 0
    try:
        while size < LINGER_BYTES and (piece := await response.read()):
            size += len(piece)
    except UpstreamError:
        pass
    finally:
        response.close()
