"""``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from sealgate.api.call import IN_API, Call
from sealgate.api.desk import HEADERS, OPENAI, Desk, hold_to
from sealgate.api.forms import in_dialect, require_json
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import Tresor
from sealgate.errors import Problem
from sealgate.relay.embeddings import EmbeddingsRequest, read_embeddings
from sealgate.relay.hall import Hall


class Embedding(Struct):
    """The vector of one input: numbers, or base64 where that was asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Struct):
    """Tokens of the inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct):
    """One vector for each input, in order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    episode_id: str
    tresor: Tresor


def routes(hall: Hall, guard: Guard) -> list[Route]:
    header: Any = [each for each in HEADERS if each[0] != "X-Tresor-Timeout-Seconds"]
    return [
        Route(
            "POST",
            "/embeddings",
            "key",
            Embeddings(hall, guard),
            "Turn texts into vectors.",
            body=EmbeddingsRequest,
            answer=EmbeddingList,
            header=tuple(header),
        )
    ]


class Embeddings:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "embeddings", "embedding")

    async def __call__(self, call: Call) -> None:
        server = self._hall.settings.server
        caller, controls = await self._desk.enter(call)
        if controls.timeout is not None:
            raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for chat completions only.")
        require_json(call, lenient=call.mount == IN_API)
        body = await call.body(server.max_body_bytes)
        with in_dialect(call):
            ask = read_embeddings(body, server.default_model, controls.trace)
        hold_to(ask, caller, controls)
        await self._desk.answer(call, caller, controls, ask, body, OPENAI)
