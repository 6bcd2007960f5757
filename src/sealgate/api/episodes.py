"""``GET /v1/episodes/{id}``: which inferences a caller's episode holds; never what they said."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from sealgate.api import forms
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.query import Query
from sealgate.api.routes import Route
from sealgate.errors import Problem, StorageError
from sealgate.formats import ids, moments
from sealgate.providers.base import Json
from sealgate.relay.hall import Hall
from sealgate.sessions import episodes
from sealgate.sessions.episodes import Inference

USUAL = 50
MOST = 200
FURTHEST = 1_000_000_000
QUERY = (
    ("limit", f"How many to list, 1 to {MOST}; {USUAL} where nothing is said."),
    ("offset", "How many to leave out before them, oldest first."),
)
PREFIXES = {"chat.completions": "chatcmpl-", "messages": "msg_", "responses": "resp_"}
"""What stands before a request's id in the answers of an endpoint; nothing, where they have no id."""


class EpisodeUsage(Struct):
    """Tokens of an inference."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class EpisodeInference(Struct):
    """One inference."""

    id: Annotated[str, Meta(description="As in its answer.")]
    request_id: Annotated[str, Meta(description="As in `X-Request-ID`.")]
    created_at: Annotated[str, Meta(description="ISO 8601, UTC.")]
    model: Annotated[str, Meta(description="As the caller wrote it.")]
    routed_model: Annotated[str | None, Meta(description="The route that served; null where none did.")]
    outcome: Annotated[str, Meta(description="`ok`, or how else it ended.")]
    usage: EpisodeUsage | None
    session_id: str | None
    receipt_id: str | None


class Episode(Struct):
    """A page of an episode."""

    episode_id: str
    inferences: list[EpisodeInference]
    total: int
    limit: int
    offset: int
    has_more: bool


def routes(hall: Hall, guard: Guard) -> list[Route]:
    told = "The inferences of an episode of the caller's own, oldest first."
    return [Route("GET", "/episodes/{id}", "key", Episodes(hall, guard), told, answer=Episode, query=QUERY)]


class Episodes:
    """The endpoint. What is another customer's is answered as what there is not (row B7)."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def __call__(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        with forms.in_dialect(call):
            query = Query(call.scope["query_string"])
            limit, offset = query.number("limit", USUAL, 1, MOST), query.number("offset", 0, 0, FURTHEST)
        if ids.uuid7_milliseconds(call.path_value) is None:
            raise Problem("not_found")
        episode_id = ids.dashed(call.path_value.replace("-", "").lower())
        ask = partial(
            episodes.page, customer_id=caller.customer_id, episode_id=episode_id, limit=limit, offset=offset
        )  # fmt: skip
        try:
            found = await self._hall.storage.read(ask)
        except StorageError as error:
            raise Problem("storage_unavailable", "Episodes cannot be read at the moment.") from error
        if not found.total:
            raise Problem("not_found")
        shown = {
            "episode_id": episode_id,
            "inferences": [_shown(each) for each in found.inferences],
            "total": found.total,
            "limit": limit,
            "offset": offset,
            "has_more": offset + len(found.inferences) < found.total,
        }
        await call.json(shown)


def _shown(one: Inference) -> Json:
    usage: Json | None = None
    if one.prompt_tokens is not None and one.completion_tokens is not None:
        total = one.prompt_tokens + one.completion_tokens
        usage = {
            "prompt_tokens": one.prompt_tokens, "completion_tokens": one.completion_tokens, "total_tokens": total,
        }  # fmt: skip
    return {
        "id": PREFIXES.get(one.endpoint, "") + one.id,
        "request_id": one.request_id,
        "created_at": moments.iso(one.created_at),
        "model": one.model,
        "routed_model": one.routed_model,
        "outcome": one.outcome,
        "usage": usage,
        "session_id": one.session_id,
        "receipt_id": one.receipt_id,
    }
