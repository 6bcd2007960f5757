"""Where each provider listens and what it wants to see before it talks: paths, the model in them, credentials.

A door is what a mocked provider has of its *host*; what is said behind it is its dialect (`sealgate.testing.dialects`).
Sources: the API references of the providers, and the service models of botocore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from sealgate.testing import sigv4
from sealgate.testing.received import Received

PROJECT, LOCATION, REGION, ENDPOINT, DEPLOYMENT = "mock-project", "us-central1", "us-east-1", "mock", "mock"
_URL_KEY = re.compile(r"[?&](?:key|api_key|access_token)=")


class Entry(NamedTuple):
    """What an address says: the model, where it names one, and whether a stream is wanted (None: the body says it)."""

    model: str | None
    stream: bool | None


@dataclass(frozen=True)
class Door:
    """One provider's address and credential."""

    base: str
    """What follows the origin in a ``base_url``."""
    path: str
    """A regular expression of the path, without ``base``; groups ``model`` and ``stream`` say what stands in it."""
    headers: tuple[str, ...] = ("authorization",)
    """Headers that may carry the key; in ``authorization`` it stands behind ``Bearer``."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """More of the provider's table in a gateway's configuration."""
    service: str | None = None
    """AWS's name of the service, for signatures."""
    also: Callable[[Received], str | None] | None = None
    """What else it complains of."""
    listing: str = r"/models"
    """A regular expression of the path, without ``base``, at which models are listed."""

    def entry(self, received: Received) -> Entry | None:
        """What this address asks for; None where nothing is there."""
        found = re.fullmatch(self.path, self._place(received))
        if found is None or received.method != "POST":
            return None
        named = found.groupdict()
        stream = None if "stream" not in named else named["stream"] is not None
        return Entry(unquote(named["model"]) if named.get("model") else None, stream)

    def lists(self, received: Received) -> bool:
        """Whether the models are asked for."""
        return received.method == "GET" and re.fullmatch(self.listing, self._place(received)) is not None

    def complaint(self, received: Received, key: str) -> str | None:
        """Why the credential is refused, or None. A key in an address would end up in logs: that is refused, too."""
        if _URL_KEY.search(received.path):
            return "A credential was sent in the URL."
        given = [value for name in self.headers if (value := received.headers.get(name)) is not None]
        if self.service is not None and given and given[0].startswith("AWS4"):
            return sigv4.complaint(received, self.service, REGION)
        if len(given) != 1:
            return "No credential was sent." if not given else "Two credentials were sent."
        named = next(name for name in self.headers if name in received.headers)
        wanted = f"Bearer {key}" if named == "authorization" else key
        return None if given[0] == wanted else "The credential is not valid."

    def _place(self, received: Received) -> str:
        """The path behind the origin and the base; a proxy is sent whole addresses."""
        target = received.path.partition("?")[0]
        if target.startswith("http://"):
            target = "/" + target.removeprefix("http://").partition("/")[2]
        return target.removeprefix(self.base) if target.startswith(f"{self.base}/") else target


def _version(received: Received) -> str | None:
    return None if "anthropic-version" in received.headers else "anthropic-version: header is required"


def _events(received: Received) -> str | None:
    if ":streamGenerateContent" in received.path and "alt=sse" not in received.path:
        return "Without alt=sse a stream is one JSON array."
    return None


CHAT = "/chat/completions"
GENERATE = r":(?:generateContent|(?P<stream>streamGenerateContent))"
_ON_VERTEX = f"/projects/{PROJECT}/locations/{LOCATION}"
_VERTEX = {"project": PROJECT, "location": LOCATION}
_AWS = {"aws_region": REGION}
_GOOGLE = ("authorization", "x-goog-api-key")

BEARER = Door("/v1", CHAT)
OPENAI = Door("/v1", CHAT)
AZURE = Door("", "/openai/v1" + CHAT, ("api-key",), listing="/openai/v1/models")
OLDER_AZURE = Door(
    "", rf"/openai/deployments/(?P<model>{DEPLOYMENT})" + CHAT, ("api-key",),
    {"api_version": "2024-10-21", "deployment": DEPLOYMENT},
)  # fmt: skip
ANTHROPIC = Door("/v1", "/messages", ("x-api-key", "authorization"), also=_version)
STUDIO = Door("/v1beta", "/models/(?P<model>[^/:]+)" + GENERATE, ("x-goog-api-key",), also=_events)
VERTEX = Door(
    "/v1", _ON_VERTEX + "/publishers/google/models/(?P<model>[^/:]+)" + GENERATE, _GOOGLE, _VERTEX, also=_events
)
CLAUDE_ON_VERTEX = Door(
    "/v1",
    _ON_VERTEX + "/publishers/anthropic/models/(?P<model>[^/:]+):(?:rawPredict|(?P<stream>streamRawPredict))",
    _GOOGLE,
    _VERTEX,
)
OPEN_ON_VERTEX = Door("/v1", rf"/v1beta1{_ON_VERTEX}/endpoints/openapi" + CHAT, _GOOGLE, _VERTEX)
CONVERSE = Door("", "/model/(?P<model>[^/]+)/converse(?P<stream>-stream)?", settings=_AWS, service="bedrock")
INVOKE = Door("", "/model/(?P<model>[^/]+)/invoke(?P<stream>-with-response-stream)?", settings=_AWS, service="bedrock")
SAGEMAKER = Door(
    "", f"/endpoints/{ENDPOINT}/invocations(?P<stream>-response-stream)?", settings={**_AWS, "endpoint": ENDPOINT},
    service="sagemaker",
)  # fmt: skip
