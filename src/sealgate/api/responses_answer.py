"""Answers of the Responses API: what the relay says in OpenAI's chunks, as a ``response`` or as its events.

Source: ``openai/types/responses`` of the official Python SDK, and how that SDK puts streams together.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sealgate.api.call import JSON
from sealgate.api.responses_output import STATUS, Output
from sealgate.errors import Problem
from sealgate.formats.outputs import of_output
from sealgate.providers.base import Json
from sealgate.relay.responses import Wanted

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete."""
ERROR_CODES = {
    "rate_limit_error": "rate_limit_exceeded",
    "invalid_request_error": "invalid_prompt",
}
"""Types of our errors to the few codes that a response's error may have; all others are ``server_error``."""
PAD = 16
"""Padded deltas have a length that is a multiple of this."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ResponsesDialect:
    """One answer to one request."""

    content_type = JSON

    def __init__(self, wanted: Wanted, model: str, call_id: str, created_at: int) -> None:
        """``created_at`` is Unix seconds."""
        self.id = f"resp_{call_id}"
        self._wanted = wanted
        self._model = model
        self._created_at = created_at
        self._output = Output(call_id, wanted)
        self._number = 0
        """Of the next event."""
        self._place: tuple[str, int, int] | None = None
        self._head = b""
        """An event of a piece of text at that place, but for its number and the piece."""
        self._reason: str | None = None
        self._usage: Json | None = None
        self._final: Json | None = None
        self._ours: Json = {}
        """What the gateway says of the answer, and the tier that its provider named."""

    def said(self) -> list[Json]:
        """The items so far, in the form that receipts digest: see `sealgate.formats.outputs`."""
        return of_output(self._output.items())

    @property
    def details(self) -> list[Json]:
        """Pieces of what the provider wants back of its reasoning."""
        return self._output.details

    @property
    def response(self) -> Json:
        """The response, once it is whole; from then on the same."""
        if self._final is None:
            reason = self._reason or "stop"
            status = STATUS.get(reason, "completed")
            if "tresor" in self._ours:
                self._ours["tresor"].setdefault("cost", None)
            self._final = self._made(status, self._output.items(), reason=REASONS.get(reason))
        return self._final

    # Whole

    def whole(self, payload: bytes) -> bytes:
        completion = _decode(payload)
        [choice] = completion["choices"]
        self._note(completion)
        for _ in self._output.take(choice["message"], choice.get("logprobs")):
            pass
        self._finish(choice["finish_reason"])
        return _encode(self.response)

    def _finish(self, reason: str) -> list[Json]:
        self._reason = reason
        return list(self._output.finish(reason))

    # Streamed

    def events(self, payload: bytes) -> bytes:
        chunk = _decode(payload)
        choices = chunk["choices"]
        if len(choices) == 1 and not self._wanted.padded and "tresor" not in chunk:
            [choice] = choices
            delta = choice["delta"]
            text = delta.get("content") if len(delta) == 1 and choice["finish_reason"] is None else None
            if text and not choice.get("logprobs") and (place := self._output.text(text)) is not None:
                return self._text_event(text, place)
        self._note(chunk)
        return b"".join(map(self._event, self._told(chunk)))

    def _told(self, chunk: Json) -> Iterator[Json]:
        if not self._number:
            for name in ("created", "in_progress"):
                yield {"type": f"response.{name}", "response": self._made("in_progress", [])}
        for choice in chunk["choices"]:
            yield from self._output.take(choice["delta"], choice.get("logprobs"))
            if choice["finish_reason"]:
                yield from self._finish(choice["finish_reason"])

    def _text_event(self, text: str, place: tuple[str, int, int]) -> bytes:
        """A piece of text and nothing else: what nearly every event is. Only the piece is encoded anew."""
        if place != self._place:
            item, index, part = self._place = place
            kind = b"response.output_text.delta"
            self._head = (
                b'event: %b\ndata: {"type":"%b","item_id":"%b","output_index":%d,"content_index":%d,"logprobs":[],'
                b'"sequence_number":%%d,"delta":%%b}\n\n'
            ) % (kind, kind, item.encode(), index, part)
        number = self._number
        self._number += 1
        return self._head % (number, _encode(text))

    def end(self) -> bytes:
        response = self.response
        return self._event({"type": f"response.{response['status']}", "response": response})

    def broken(self, problem: Problem, request_id: str, receipt_id: str | None) -> bytes:
        """The official SDKs raise on ``error`` in any event, and no ``response.completed`` follows."""
        told: Json = {"error": problem.body(), "request_id": request_id}
        if receipt_id is not None:
            told["receipt_id"] = receipt_id
        if not self._number:
            said = {"code": problem.code.name, "message": problem.message, "param": problem.param}
            return self._event({"type": "error", **said, **told})
        error = {"code": ERROR_CODES.get(problem.code.type, "server_error"), "message": problem.message}
        response = self._made("failed", self._output.items(), error=error)
        return self._event({"type": "response.failed", "response": response, **told})

    def _event(self, document: Json) -> bytes:
        """One event, named by its type and numbered."""
        kind = document["type"]
        document["sequence_number"] = self._number
        self._number += 1
        if self._wanted.padded and kind.endswith(".delta"):
            document["obfuscation"] = _padding(len(document["delta"]))
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(document))

    # The response

    def _note(self, payload: Json) -> None:
        """What stands beside the content of a completion or a chunk."""
        if (counts := payload.get("usage")) is not None:
            self._usage = usage(counts)
        for name in ("tresor", "episode_id", "session_id", "service_tier"):
            if (value := payload.get(name)) is not None:
                self._ours[name] = value

    def _made(
        self, status: str, output: Iterable[Json], *, reason: str | None = None, error: Json | None = None
    ) -> Json:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "background": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": self._model,
            "output": list(output),
            "usage": None if status == "in_progress" else self._usage,
            "service_tier": None,
            **self._wanted.echo,
            **self._ours,
        }


def usage(counts: Json) -> Json:
    """A chat's ``usage`` as responses count."""
    inside = counts.get("prompt_tokens_details") or {}
    outside = counts.get("completion_tokens_details") or {}
    return {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": inside.get("cached_tokens", 0),
            "cache_write_tokens": inside.get("cache_write_tokens", 0),
        },
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": outside.get("reasoning_tokens", 0)},
        "total_tokens": counts["total_tokens"],
    }


def _padding(length: int) -> str:
    """Noise that makes a text as long as others."""
    return base64.b64encode(os.urandom(PAD))[: PAD - length % PAD].decode()
