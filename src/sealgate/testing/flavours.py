"""OpenAI's wire as a mocked provider speaks it, in one of its flavours: `sealgate.testing.family` has one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sealgate.testing.openai_wire import Answer
from sealgate.testing.reply import Asked, Fault, Json, Reply, Usage, in_form
from sealgate.testing.script import Script, Sleep, Step, json_answer, sse


class Said(NamedTuple):
    """An error: status, type, code, sentence."""

    status: int
    kind: str
    code: str | None
    text: str


SAID: Mapping[str, Said] = {
    "rate_limit": Said(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    "quota": Said(429, "insufficient_quota", "credit_balance_exhausted",
                  "You exceeded your current quota, please check your plan and billing details."),
    "overload": Said(503, "service_unavailable_error", "server_is_overloaded", "The server is overloaded."),
    "server_error": Said(500, "server_error", None, "The server had an error while processing your request."),
    "auth": Said(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "not_found": Said(404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "bad_request": Said(400, "invalid_request_error", "invalid_value", "Invalid value for 'temperature'."),
    "context_length": Said(400, "invalid_request_error", "context_length_exceeded",
                           "This model's maximum context length is 8192 tokens."),
    "content_filter": Said(400, "invalid_request_error", "content_policy_violation",
                           "The request was rejected by the content policy."),
}  # fmt: skip
"""What OpenAI says."""


def openai_error(said: Said) -> Json:
    return {"error": {"message": said.text, "type": said.kind, "param": None, "code": said.code}}


def counted(usage: Usage) -> Json:
    """OpenAI's usage: every part inside its whole."""
    return {
        **plain(usage),
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def plain(usage: Usage) -> Json:
    total = usage.prompt + usage.completion
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}


def _same(message: Json, reply: Reply) -> Json:  # noqa: ARG001
    return message


@dataclass(frozen=True)
class Flavour:
    """What sets a provider on OpenAI's wire apart from OpenAI."""

    shape: Callable[[Said], Json] = openai_error
    """The body of an error."""
    said: Mapping[str, Said] = field(default_factory=dict)
    """Its errors, as far as they are not OpenAI's."""
    usage: Callable[[Usage], Json] = counted
    usage_at: str = "end"
    """``end``: in a chunk of its own, if asked for; ``finish``: on the last chunk, unasked."""
    message: Callable[[Json, Reply], Json] = _same
    """What becomes of a message and of a delta."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Its words for why an answer ends; those for calls are of streams only."""
    whole_calls: bool = False
    """Whether a streamed call comes in one piece."""
    logprobs: Callable[[Json], Json] | None = None
    first: Sequence[Json] = ()
    """Chunks that come before everything."""
    broken: Callable[[Said], Json] | None = None
    """The error in the middle of a stream, where that has a form of its own."""


class OpenAIDialect:
    """OpenAI's wire in one of its flavours."""

    def __init__(self, flavour: Flavour | None = None) -> None:
        self.flavour = flavour or Flavour()

    def answer(self, asked: Asked, reply: Reply) -> Script:
        """The script of a good answer, whole or streamed."""
        told = self._answer(asked, reply)
        if asked.stream:
            return told.stream(asked.received, [*map(sse, self.chunks(asked, reply)), told.done()])
        return self._whole(asked, reply)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        """The script of an error."""
        said = self.says(fault)
        wait = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
        return json_answer(self.flavour.shape(said), said.status, {"x-request-id": asked.received.watermark, **wait})

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        """The event that says in the middle of a stream that it has failed."""
        return sse((self.flavour.broken or self.flavour.shape)(self.says(fault)))

    def says(self, fault: Fault) -> Said:
        """Status and words of an error."""
        said = self.flavour.said.get(fault.name) or SAID[fault.name]
        return said if fault.text is None else said._replace(text=fault.text)

    def chunks(self, asked: Asked, reply: Reply) -> list[Json]:
        """The chunks of a stream."""
        envelope = {"id": f"chatcmpl-{asked.received.watermark}", "object": "chat.completion.chunk", "model": "mock"}
        found = [{**envelope, **each} for each in self.flavour.first]
        return [*found, *(self._chunk(each, reply) for each in self._merged(self._answer(asked, reply), asked))]

    def completion(self, asked: Asked, reply: Reply) -> Json:
        """The whole answer."""
        found = self._answer(asked, reply).completion(asked.received)
        for choice in found["choices"]:
            choice["message"] = self.flavour.message(choice["message"], reply)
            self._finish(choice)
        return found

    def _whole(self, asked: Asked, reply: Reply) -> Iterator[Step]:
        if reply.delay:
            yield Sleep(reply.delay)
        yield from json_answer(self.completion(asked, reply), headers={"x-request-id": asked.received.watermark})

    def _answer(self, asked: Asked, reply: Reply) -> Answer:
        body = asked.body if isinstance(asked.body, dict) else {}
        text = reply.content
        if reply.data is not None:
            text = in_form(reply.data, _schema(body))
        at: Any = self.flavour.usage_at
        return Answer(
            text,
            tool_calls=reply.tool_calls,
            reasoning=reply.reasoning,
            refusal=reply.refusal,
            finish_reason=reply.reason,
            usage=None if reply.usage is None else self.flavour.usage(reply.usage),
            usage_at=at,
            logprobs=bool(body.get("logprobs")),
            model=reply.model or asked.model,
            delay=reply.delay,
        )

    def _merged(self, told: Answer, asked: Asked) -> list[Json]:
        """The chunks, each call in one of them where the provider streams none."""
        chunks = told.chunks(asked.received)
        if not self.flavour.whole_calls or not told.tool_calls:
            return chunks
        calls = [{"index": index, **call} for index, call in enumerate(told.tool_calls)]
        kept = [each for each in chunks if not _of_calls(each)]
        place = next(number for number, each in enumerate(chunks) if _of_calls(each))
        whole = {**chunks[place], "choices": [{**chunks[place]["choices"][0], "delta": {"tool_calls": calls}}]}
        return [*kept[:place], whole, *kept[place:]]

    def _chunk(self, chunk: Json, reply: Reply) -> Json:
        for choice in chunk["choices"]:
            choice["delta"] = self.flavour.message(choice["delta"], reply)
            self._finish(choice, streamed=True)
        return chunk

    def _finish(self, choice: Json, *, streamed: bool = False) -> None:
        said = str(choice.get("finish_reason"))
        if said in self.flavour.reasons and (streamed or said != "tool_calls"):
            choice["finish_reason"] = self.flavour.reasons[said]
        if self.flavour.logprobs is not None and choice.get("logprobs"):
            choice["logprobs"] = self.flavour.logprobs(choice["logprobs"])


def _of_calls(chunk: Json) -> bool:
    return any("tool_calls" in choice["delta"] for choice in chunk["choices"])


def _schema(body: Json) -> Any:
    """The schema that an answer must satisfy, by any of the names in use; None where none is prescribed."""
    form = body.get("response_format") or {}
    known = form.get("json_schema") or {}
    if form.get("type") in ("json_object", "json"):
        return form.get("schema") or form.get("value") or {}
    return known.get("schema") or (body.get("structured_outputs") or {}).get("json") or body.get("guided_json")
