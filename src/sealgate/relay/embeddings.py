"""Embeddings: the request's form, and the answer in the numbers' encoding that the caller asked for.

OpenAI's reference of embeddings is the inner language: readers give one document with ``data`` and ``usage``.
"""

from __future__ import annotations

import base64
import math
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sealgate.errors import Failure, Problem, UpstreamError
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.receipts.receipt import canonical_or_none
from sealgate.relay import form
from sealgate.relay.answer import Answer, Label
from sealgate.relay.ask import Ask
from sealgate.relay.request import decode_object, episode
from sealgate.relay.shapes import OF_CHAT, Directed, Failover, of_chat

MAX_INPUTS = 2048
MAX_TOKENS = 300_000
OWN = frozenset({"model", "region", "provider", "failover", "encoding_format", "episode_id"})
"""Fields that do not go upstream as they came. The encoding is ours to give: providers' habits differ."""

_NUMBERS = {float, int}

_encode = msgspec.json.Encoder().encode

Text = Annotated[str, Meta(min_length=1)]
TokenIds = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=MAX_TOKENS)]


class EmbeddingsRequest(Directed, kw_only=True):
    """The body of ``POST /v1/embeddings``."""

    input: Annotated[
        Text | list[Any], Meta(description="A text, a list of texts, token ids, or a list of lists of token ids.")
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Meta(description="Numbers, or little-endian 32-bit floats in base64; the default is `float`."),
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1, le=65536)] | None, Meta(description="Length of each vector, where models offer it.")
    ] = None
    user: Annotated[str | None, Meta(description="The caller's own user; usage can be grouped by it.")] = None
    failover: Failover = None
    episode_id: Annotated[str | None, Meta(description="UUID of version 7 that groups inferences.")] = None


def read_embeddings(body: bytes, default_model: str | None = None, trace: Mapping[str, str] | None = None) -> Ask:
    """Parse and check a request for embeddings. Raises `Problem`."""
    fields = decode_object(body)
    try:
        typed = msgspec.convert(fields, EmbeddingsRequest)
    except msgspec.ValidationError:
        raise _refused(fields) from None
    model = typed.model or default_model
    if not model:
        raise Problem("invalid_model", param="model")
    _check(typed.input)
    given = {name: value for name, value in fields.items() if value is not None and name not in OWN}
    carried = {name: value for name, value in given.items() if not of_chat(name)}
    prompt = Prompt(carried, False, {}, {}, trace or {}, operation="embeddings")
    return Ask(
        named=typed,
        model=model,
        type="embedding",
        prompt=prompt,
        episode_id=episode(typed.episode_id),
        adjustments=[Adjustment(name, "dropped", OF_CHAT) for name in given if of_chat(name)],
        size=len(body),
        choices=vectors_wanted(typed.input),
        max_tokens=0,
        fields=fields,
    )


def _refused(fields: Json) -> Problem:
    details = form.places(fields, EmbeddingsRequest)
    param = form.dotted(details[0].loc)
    code = "invalid_model" if param == "model" else "invalid_failover" if param == "failover" else "invalid_parameter"
    return Problem(code, f"{param}: {details[0].msg}.", param=param, details=details)


def _check(given: str | list[Any]) -> None:
    """A list is one of texts, of token ids, or of lists of these; nothing in it is empty."""
    if isinstance(given, str):
        return
    if not given:
        raise Problem("invalid_parameter", "input: the list is empty.", param="input")
    for kind in (list[Text], TokenIds, list[TokenIds]):
        try:
            msgspec.convert(given, kind)
        except msgspec.ValidationError:
            continue
        if kind is not TokenIds and len(given) > MAX_INPUTS:
            raise Problem("too_many_items", f"input has more than {MAX_INPUTS} items.", param="input")
        return
    raise Problem(
        "invalid_parameter",
        "input: a text, a list of texts, token ids, or a list of lists of token ids; none of them empty.",
        param="input",
    )


def vectors_wanted(given: str | Sequence[Any]) -> int:
    """How many vectors an input asks for."""
    return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)


class EmbeddingsAnswer(Answer):
    """The list of vectors, one for each input, in order."""

    _body = b""
    _canonical: bytes | None = None

    def __init__(self, label: Label, ask: Ask) -> None:
        super().__init__(label, ask.choices, ask.size)
        self._base64 = ask.fields is not None and ask.fields.get("encoding_format") == "base64"
        self._length = ask.prompt.fields.get("dimensions")
        """Of every vector; that of the first one, where none was asked for."""
        self._vectors: list[Any] = []

    @property
    def finished(self) -> bool:
        return bool(self._body)

    def said(self) -> list[Json] | bytes:
        return self._canonical or self._listed()

    def _listed(self) -> list[Json]:
        return [{"index": index, "embedding": vector} for index, vector in enumerate(self._vectors)]

    def take_big(self, upstream: Json) -> list[bytes]:
        """The form that receipts digest is made here too: the thread that signs has other requests' rows to write."""
        ready = self.take(upstream)
        if "receipt_id" in self.label.tresor:
            self._canonical = canonical_or_none(self._listed())
        return ready

    def take(self, upstream: Json) -> list[bytes]:
        self._note(upstream)
        self._vectors = [self._written(vector) for vector in in_order(upstream.get("data"), self.expected)]
        self.has_content = True
        usage = self.usage
        # One by one, so that of many in a thread of their own none keeps other threads waiting.
        written = (
            _encode({"object": "embedding", "index": index, "embedding": vector})
            for index, vector in enumerate(self._vectors)
        )
        rest = {
            "model": self.label.model,
            "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt},
            "episode_id": self.label.episode_id,
            "tresor": self._tresor,
        }
        self._body = b'{"object":"list","data":[%b],%b' % (b",".join(written), _encode(rest)[1:])
        return []

    def end(self) -> list[bytes]:
        if not self._body:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is empty")
        return [self._body]

    def _written(self, vector: Any) -> Any:
        """A vector in the caller's encoding, whichever it came in. Raises `UpstreamError` where it is none."""
        came_packed = isinstance(vector, str)
        numbers = unpacked(vector) if came_packed else vector
        if not isinstance(numbers, list) or not numbers:
            raise UpstreamError(Failure.BAD_RESPONSE, "a vector is missing")
        _check_numbers(numbers)
        if self._length is None:
            self._length = len(numbers)
        elif len(numbers) != self._length:
            raise UpstreamError(Failure.BAD_RESPONSE, f"a vector has not {self._length} numbers")
        if self._base64:
            return vector if came_packed else packed(numbers)
        return numbers


def _check_numbers(vector: list[Any]) -> None:
    """Raises `UpstreamError` for what is no number, or none that JSON can say."""
    kinds = set(map(type, vector))
    if kinds <= _NUMBERS:
        try:
            if all(map(math.isfinite, vector)):
                return
        except OverflowError:
            pass
    raise UpstreamError(Failure.BAD_RESPONSE, "a vector holds what is no number")


def in_order(data: Any, expected: int) -> list[Any]:
    """The vectors by their indexes. Raises `UpstreamError` unless there is exactly one for each input."""
    if not isinstance(data, list) or len(data) != expected:
        raise UpstreamError(Failure.BAD_RESPONSE, "there is not one vector for each input")
    found: dict[int, Any] = {}
    for place, item in enumerate(data):
        if not isinstance(item, dict):
            raise UpstreamError(Failure.BAD_RESPONSE, "a vector is missing")
        index = item.get("index", place)
        found[index if isinstance(index, int) else place] = item.get("embedding")
    if found.keys() != set(range(expected)):
        raise UpstreamError(Failure.BAD_RESPONSE, "the vectors' indexes are not those of the inputs")
    return [found[index] for index in range(expected)]


def packed(vector: Sequence[Any]) -> str:
    """Little-endian 32-bit floats in base64, as OpenAI's SDKs read them."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    except (struct.error, OverflowError):
        raise UpstreamError(Failure.BAD_RESPONSE, "a vector holds what is no number") from None


def unpacked(text: str) -> list[float]:
    """The numbers in such a text."""
    try:
        raw = base64.b64decode(text, validate=True)
        numbers = array("f")
        numbers.frombytes(raw)
    except ValueError:
        raise UpstreamError(Failure.BAD_RESPONSE, "a vector is no base64 of 32-bit floats") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
