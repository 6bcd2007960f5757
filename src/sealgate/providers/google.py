"""Google's hosts: AI Studio by a key in a header, Vertex AI by project and location with tokens that expire.

Source: ``google-genai`` (``_api_client.py``); Vertex AI's REST reference; ``google-auth`` for what a machine knows of
its own account (application default credentials).
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Request
from sealgate.providers import gemini_errors
from sealgate.providers.anthropic import AnthropicWire
from sealgate.providers.base import Account, Operation
from sealgate.providers.gemini_embeddings import method_of

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SLACK = 300.0
"""Seconds before its end from which on a token is renewed."""
DEADLINE = 20.0
"""Seconds that a request waits for a token at most."""
PAUSE = 10.0
"""Seconds between two renewals, the first of which failed while the old token was still good."""
EXPRESS = ("AIza", "AQ.")
"""How Google's API keys begin; anything else is an access token."""


class StudioHost:
    """``{base_url}/models/{model}:generateContent`` with the header ``x-goog-api-key``: URLs end up in logs."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:
        method = "batchEmbedContents" if operation == "embeddings" else _method(stream=stream)
        return f"{account.base_url}/{_path(model, 'models')}:{method}"

    def credential(self, secret: str) -> dict[str, str]:
        return {"x-goog-api-key": secret}

    def signer(self, account: Account) -> None:  # noqa: ARG002
        return None


class VertexHost:
    """What the hosts of Vertex AI share: where a project is, and who asks."""

    def credential(self, secret: str) -> dict[str, str]:
        if secret.startswith(EXPRESS):
            return {"x-goog-api-key": secret}
        return {"authorization": f"Bearer {secret}"}

    def signer(self, account: Account) -> Tokens | None:
        return None if account.secrets else Tokens()


class GeminiOnVertex(VertexHost):
    """``…/publishers/google/models/{model}:generateContent``; tuned models by their ``endpoints/…``."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:
        path = _path(model, "models", "endpoints")
        owned = path if path.startswith("endpoints/") else f"publishers/google/{path}"
        method = method_of(model) if operation == "embeddings" else _method(stream=stream)
        return f"{_place(account)}/{owned}:{method}"


class ClaudeOnVertex(VertexHost):
    """``…/publishers/anthropic/models/{model}:rawPredict``, which takes Anthropic's own body."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        method = "streamRawPredict" if stream else "rawPredict"
        return f"{_place(account)}/publishers/anthropic/{_path(model, 'models')}:{method}"


class ClaudeOnVertexWire(AnthropicWire):
    """Anthropic's wire, but where the host itself refuses, it does so in Google's words."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        if gemini_errors.status_in(body) is not None:
            return gemini_errors.failure(status, headers, body)
        return super().failure(status, headers, body)


class OpenOnVertex(VertexHost):
    """``…/endpoints/openapi/chat/completions``: open models behind OpenAI's wire, by names like ``meta/llama-…``."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        place = _place(account).replace("/v1/projects/", "/v1beta1/projects/")
        return f"{place}/endpoints/openapi/chat/completions"


def _place(account: Account) -> str:
    """Where a project's models are. A ``base_url`` of the operator's may hold the project already, or need none."""
    root = account.base_url
    if account.project is None or "/projects/" in root:
        return root
    return f"{root}/projects/{_segment(account.project)}/locations/{_segment(account.location or 'global')}"


def _method(*, stream: bool) -> str:
    return "streamGenerateContent?alt=sse" if stream else "generateContent"


def _path(model: str, usual: str, *others: str) -> str:
    """A model's place under its collection, which may be written in its name: ``gemini-…``, ``models/gemini-…``."""
    collection, slash, name = model.partition("/")
    if slash and collection in (usual, *others, "tunedModels"):
        return f"{collection}/{_segment(name)}"
    return f"{usual}/{_segment(model)}"


def _segment(name: str) -> str:
    if name in ("", ".", ".."):
        raise UpstreamError(Failure.MODEL_GONE, "A model's name is not only dots.")
    return quote(name, safe="@")


class Tokens:
    """Access tokens of the account this machine knows as its own, each used until shortly before it ends.

    One renewal runs at a time, in a thread, because the library blocks; requests wait for it under a deadline. While a
    token is still good, a renewal that fails or takes long delays nobody.
    """

    def __init__(self) -> None:
        self._credentials: Any = None
        self._token: str | None = None
        self._ends = 0.0
        self._quiet_until = 0.0
        """After a renewal that failed, while the token is still good: the next one is not due before."""
        self._renewal: asyncio.Task[None] | None = None

    async def sign(self, request: Request, key: int) -> Request:  # noqa: ARG002
        left = self._ends - _now()
        if left <= 0:
            await self._wait(self._renewing())
        elif left <= SLACK and monotonic() >= self._quiet_until:
            self._renewing()
        headers = {**request.headers, "authorization": f"Bearer {self._token}"}
        if project := getattr(self._credentials, "quota_project_id", None):
            headers["x-goog-user-project"] = project
        return replace(request, headers=headers)

    def _renewing(self) -> asyncio.Task[None]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
            self._renewal.add_done_callback(_looked_at)
        return self._renewal

    async def _wait(self, renewal: asyncio.Task[None]) -> None:
        try:
            # Shielded: the next request may still get what this one has waited for in vain.
            await asyncio.wait_for(asyncio.shield(renewal), DEADLINE)
        except TimeoutError:
            raise UpstreamError(Failure.TIMEOUT, "no access token came in time") from None
        except UpstreamError as error:
            raise UpstreamError(error.failure, error.text) from None  # one for each that waited: it is written to

    async def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError

        try:
            self._credentials = await asyncio.to_thread(_refreshed, self._credentials)
        except (GoogleAuthError, OSError, ValueError) as error:
            self._quiet_until = monotonic() + PAUSE
            raise UpstreamError(Failure.CREDENTIAL, f"no access token: {error}") from None
        self._token = self._credentials.token
        self._ends = _end_of(self._credentials)


def _looked_at(task: asyncio.Task[None]) -> None:
    """A renewal that fails with nobody waiting is no news: the next request tries again, and tells."""
    if not task.cancelled():
        task.exception()


def _end_of(credentials: Any) -> float:
    """When its token ends, in Unix seconds. The library says it in UTC, without a zone."""
    expiry = credentials.expiry
    if expiry is None:
        return _now() + 2 * SLACK
    return float(expiry.replace(tzinfo=datetime.UTC).timestamp())


def _now() -> float:
    """Unix seconds: what a token's end is held against is the clock of those who gave it."""
    return datetime.datetime.now(datetime.UTC).timestamp()


def _refreshed(credentials: Any) -> Any:
    """Credentials with a new token. Blocks: on files, and on the network."""
    import google.auth
    from google.auth.transport.requests import Request as Transport

    if credentials is None:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    credentials.refresh(Transport())
    return credentials


STUDIO = StudioHost()
GEMINI_ON_VERTEX = GeminiOnVertex()
CLAUDE_ON_VERTEX = ClaudeOnVertex()
CLAUDE = ClaudeOnVertexWire("vertex-2023-10-16")
OPEN_ON_VERTEX = OpenOnVertex()
