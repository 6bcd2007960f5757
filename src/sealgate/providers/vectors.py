"""What the embeddings wires that are not OpenAI's have in common: texts, parts of a request, a vector for each text.

Their readers give OpenAI's form: ``data`` with one vector for each input, and ``usage`` where the provider counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Adjustment, Json, Unmet
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.params import NOT_TAKEN
from sealgate.providers.whole import WholeBody, decoded

ONLY_TEXTS = Unmet("input", "it takes texts, not token ids")


def texts(fields: Json) -> list[str]:
    """The inputs, of a request whose inputs are texts."""
    given = fields["input"]
    return [given] if isinstance(given, str) else given


def holds_tokens(fields: Json) -> bool:
    """Whether inputs are token ids."""
    given = fields["input"]
    return not isinstance(given, str) and not isinstance(given[0], str)


def dimensions_among(fields: Json, lengths: Collection[int]) -> Unmet | None:
    """What speaks against the ``dimensions`` of a request, at a model that has vectors of these lengths only."""
    wanted = fields.get("dimensions")
    if wanted is None or wanted in lengths:
        return None
    if not lengths:
        return Unmet("dimensions", "its vectors have one length")
    return Unmet("dimensions", f"its vectors have {', '.join(map(str, sorted(lengths)))} numbers")


def split(fields: Json, most: int, size: int | None = None) -> Sequence[Json]:
    """A request as several with at most ``most`` inputs each, and texts of together at most ``size`` bytes.

    An input that alone is larger goes alone.
    """
    given = fields["input"]
    if isinstance(given, str) or isinstance(given[0], int) or (len(given) <= most and size is None):
        return (fields,)
    return [{**fields, "input": part} for part in _slices(given, most, size)]


def _slices(given: Sequence[Any], most: int, size: int | None) -> Iterator[Sequence[Any]]:
    start = held = 0
    for place, item in enumerate(given):
        length = 0 if size is None else len(str(item).encode("utf-8", "surrogatepass"))
        if place > start and (place - start == most or (size is not None and held + length > size)):
            yield given[start:place]
            start, held = place, 0
        held += length
    yield given[start:]


def dropped(fields: Json, known: Collection[str]) -> list[Adjustment]:
    """Of what is not sent because the provider has no such field."""
    return [Adjustment(name, "dropped", NOT_TAKEN) for name in sorted(fields.keys() - known - {"input"})]


class Read(NamedTuple):
    """What a document holds: its vectors in order, and the tokens of their texts where it says so."""

    vectors: Sequence[Any]
    tokens: Any = None


class VectorsReader(WholeBody):
    """One JSON document; ``read`` knows its form, and may stumble over another one."""

    def __init__(self, read: Callable[[Any, Mapping[str, str]], Read]) -> None:
        super().__init__()
        self._read = read

    def end(self) -> Iterable[Json]:
        try:
            document = decoded(self.body)
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not JSON") from None
        try:
            vectors, tokens = self._read(document, self.headers)
            data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise UpstreamError(Failure.BAD_RESPONSE, "the vectors have an unknown shape") from None
        self.done = True
        counted = {"prompt_tokens": tokens, "total_tokens": tokens} if type(tokens) is int else None
        return ({"data": data, "usage": counted},)


def total(counts: Iterable[Any]) -> int | None:
    """The sum of counts, where every one of them is there. Some say them as ``3.0``."""
    found = 0
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int | float) or count != int(count):
            return None
        found += int(count)
    return found
