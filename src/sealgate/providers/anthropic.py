"""Anthropic's Messages API: the wire, also inside other hosts, and Anthropic's own host.

Source: platform.claude.com/docs/en/api/messages. The wire is written for the versions 2023-06-01 and 2026-10-21.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sealgate.errors import UpstreamError
from sealgate.providers import anthropic_errors
from sealgate.providers.anthropic_answer import AnthropicWholeReader
from sealgate.providers.anthropic_form import form, holds
from sealgate.providers.anthropic_models import facts
from sealgate.providers.anthropic_native import NativeBody, NativeStreamReader, NativeWholeReader, can_take
from sealgate.providers.anthropic_request import HINTS, Draft
from sealgate.providers.anthropic_stream import AnthropicStreamReader
from sealgate.providers.base import Account, Json, Native, Operation, Prompt, Reader, Written
from sealgate.providers.params import adjust

__all__ = ["ANTHROPIC", "HINTS", "MESSAGES", "ON_BEDROCK", "ON_VERTEX", "AnthropicHost", "AnthropicStreamReader",
           "AnthropicWire", "version_header"]  # fmt: skip

VERSION = "2023-06-01"
"""Sent where the account names none."""
WITHOUT_SAMPLING = "2026-10-21"
"""From this version on, ``temperature``, ``top_p`` and ``top_k`` are unknown fields, whatever the model."""

_encode = msgspec.json.Encoder().encode


class AnthropicWire:
    """Requests of the Messages API and what comes back.

    ``in_body`` is for hosts that name the model in the address: the ``anthropic_version`` that stands in the body
    there, where the model does not. ``says_stream`` is whether the body says that the answer is to be streamed,
    ``formats`` whether the host takes ``output_config.format`` and strict tools, where the model does,
    ``betas_in_body`` whether betas stand there as well, in place of a header.
    ``stream_type`` is the content type of streams.
    """

    def __init__(
        self,
        in_body: str | None = None,
        *,
        says_stream: bool = True,
        formats: bool = True,
        betas_in_body: bool = False,
        stream_type: str = "text/event-stream",
    ) -> None:
        self.stream_type = stream_type
        self._in_body = in_body
        self._says_stream = says_stream
        self._formats = formats
        self._betas_in_body = betas_in_body

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:
        """The body. Raises `UpstreamError` for media that the provider has no form for."""
        known = facts(model)
        older = self._in_body is not None or (account.anthropic_version or VERSION) < WITHOUT_SAMPLING
        if (native := prompt.native) is not None and can_take(prompt, formats=known.formats and self._formats):
            return self._as_it_came(native, prompt, model, sampling=known.sampling and older)
        fields, adjusted = adjust(account.kind, prompt.fields)
        draft = Draft(
            fields,
            known,
            sampling=known.sampling and older,
            formats=known.formats and self._formats,
            max_output=max_output,
        )
        body = draft.write(form(prompt.fields))
        self._address(body, model, stream=prompt.stream)
        if prompt.extra_body:
            body.update(prompt.extra_body)
        return Written(_encode(body), [*adjusted, *draft.said])

    def _as_it_came(self, native: Native, prompt: Prompt, model: str, *, sampling: bool) -> Written:
        draft = NativeBody(native.body)
        body = draft.write(sampling=sampling, refused=prompt.refused)
        self._address(body, model, stream=prompt.stream)
        headers = {}
        if native.betas and self._betas_in_body:
            body["anthropic_beta"] = list(native.betas)
        elif native.betas:
            headers["anthropic-beta"] = ",".join(native.betas)
        return Written(_encode(body), list(draft.said), headers, native_reader)

    def _address(self, body: Json, model: str, *, stream: bool) -> None:
        """What names the model, the version, and the way of the answer."""
        if self._in_body is None:
            body["model"] = model
        else:
            body["anthropic_version"] = self._in_body
        if stream and self._says_stream:
            body["stream"] = True

    def reader(self, fields: Json, *, stream: bool) -> Reader:
        return AnthropicStreamReader(fields) if stream else AnthropicWholeReader(fields)

    def holds(self, fields: Json, model: str) -> bool:
        known = facts(model)
        return holds(fields, formats=known.formats and self._formats, forces=known.forces)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return anthropic_errors.failure(status, headers, body)


def native_reader(stream: bool) -> Reader:
    """For answers to what went out as it came."""
    return NativeStreamReader() if stream else NativeWholeReader()


class AnthropicHost:
    """``POST {base_url}/messages`` with the header ``x-api-key``."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        base = account.base_url
        # Anthropic's own clients are given the origin alone.
        return f"{base}/v1/messages" if base.count("/") == 2 else f"{base}/messages"

    def credential(self, secret: str) -> dict[str, str]:
        return {"x-api-key": secret}

    def signer(self, account: Account) -> None:  # noqa: ARG002
        return None


def version_header(account: Account) -> dict[str, str]:
    """The header that every request needs."""
    return {"anthropic-version": account.anthropic_version or VERSION}


MESSAGES = AnthropicWire()
ON_VERTEX = AnthropicWire("vertex-2023-10-16")
ON_BEDROCK = AnthropicWire(
    "bedrock-2023-05-31",
    says_stream=False,
    betas_in_body=True,
    formats=False,  # InvokeModel answers 400 to output_config.format
    stream_type="application/vnd.amazon.eventstream",
)
"""Its readers take server-sent events; a host with frames gives the documents in them to ``feed_event``."""
ANTHROPIC = AnthropicHost()
