"""Replies and faults in the words of the providers that do not speak OpenAI's wire.

Anthropic (also inside Bedrock and Vertex), Gemini, Bedrock's Converse, and SageMaker's envelope around OpenAI's wire or
TGI's. Each dialect gives a script for a `Reply`, one for an error, and the event that is an error in mid-stream. Of
each script of a stream every `Chunk` is one event.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from sealgate.testing import anthropic_wire, bedrock_wire, gemini_wire
from sealgate.testing.flavours import SAID, OpenAIDialect
from sealgate.testing.openai_wire import pieces
from sealgate.testing.reply import Asked, Fault, Json, Reply, Usage, arguments, held, in_form
from sealgate.testing.script import LAST_CHUNK, Chunk, Script, Sleep, Step, head, json_answer, sse


class Dialect(Protocol):
    """A provider's way to say things."""

    def answer(self, asked: Asked, reply: Reply) -> Script:
        """The script of a good answer, whole or streamed as the request asks."""

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        """The script of an error."""

    def broken(self, asked: Asked, fault: Fault) -> bytes:
        """The event that says in the middle of a stream that it has failed."""


def _text(fault: Fault) -> str:
    return fault.text or SAID[fault.name].text


def _asked_schema(body: Json) -> Any:
    """The schema that the answer must satisfy, as the Messages API and Converse are told it."""
    form = (body.get("output_config") or {}).get("format") or {}
    text = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    return form.get("schema") or (text.get("jsonSchema") or {}).get("schema")


# Anthropic

_CLAUDES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class AnthropicDialect:
    """The Messages API."""

    said: Mapping[str, tuple[int, str, str]] = {
        "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
        "quota": (429, "rate_limit_error", "Your organization has reached its monthly spend limit."),
        "overload": (529, "overloaded_error", "Overloaded"),
        "server_error": (500, "api_error", "Internal server error"),
        "auth": (401, "authentication_error", "invalid x-api-key"),
        "not_found": (404, "not_found_error", "model: the-model"),
        "bad_request": (400, "invalid_request_error", "temperature: range: -1..1"),
        "context_length": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    }

    def answer(self, asked: Asked, reply: Reply) -> Script:
        return self._message(asked, reply)(asked.received)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        if fault.name == "content_filter":
            return self.answer(asked, Reply(refusal=_text(fault)))
        status, kind, text = self.said[fault.name]
        details = {"error_code": "enforced_spend_limit_reached"} if fault.name == "quota" else None
        said = anthropic_wire.error_body(status, kind, fault.text or text, details)
        document = {"type": "error", "error": said, "request_id": asked.received.watermark}
        return json_answer(document, status, {"request-id": asked.received.watermark, **_waits(fault)})

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        said = self.error(fault)
        return sse(said, event=said["type"])

    def error(self, fault: Fault) -> Json:
        """The ``error`` event."""
        status, kind, text = self.said.get(fault.name, self.said["overload"])
        return {"type": "error", "error": anthropic_wire.error_body(status, kind, fault.text or text)}

    def _message(self, asked: Asked, reply: Reply) -> anthropic_wire.Message:
        blocks = self._blocks(asked, reply)
        called = any(block["type"] == "tool_use" for block in blocks)
        details = {"category": "general_harms", "explanation": reply.refusal} if reply.refusal is not None else None
        return anthropic_wire.Message(
            blocks=blocks,
            stop_reason="tool_use" if called and reply.finish is None else _CLAUDES[reply.reason],
            stop_details=details,
            usage={} if reply.usage is None else self._usage(reply.usage),
            model=reply.model or asked.model,
            delay=reply.delay,
        )

    def _blocks(self, asked: Asked, reply: Reply) -> list[Json]:
        thought = [] if reply.reasoning is None else [anthropic_wire.thinking(reply.reasoning, reply.signature)]
        said = [] if reply.content is None else [{"type": "text", "text": reply.content}]
        if reply.data is not None:
            said = [self._formed(asked.body, reply.data)]
        calls = [
            anthropic_wire.tool_use(name, given, call_id=call_id)
            for call_id, name, given in map(arguments, reply.tool_calls)
        ]
        return [*thought, *said, *calls]

    @staticmethod
    def _formed(body: Json, data: Any) -> Json:
        choice = body.get("tool_choice") or {}
        tools = {tool["name"]: tool for tool in body.get("tools", ())}
        # Where some tool must be called and several are offered, the answer's own is the last.
        name = choice.get("name") or (next(reversed(tools), None) if choice.get("type") == "any" else None)
        if name is not None:
            return anthropic_wire.tool_use(name, held(data, tools[name]["input_schema"]))
        return {"type": "text", "text": in_form(data, _asked_schema(body))}

    @staticmethod
    def _usage(usage: Usage) -> Json:
        """Its input has none of what a cache had, or was given."""
        return {
            "input_tokens": usage.prompt - usage.cached - usage.written,
            "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.completion,
            "output_tokens_details": {"thinking_tokens": usage.reasoning},
            "service_tier": "standard",
        }


def _waits(fault: Fault) -> dict[str, str]:
    return {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}


# Gemini

_GEMINIS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}


class GeminiDialect:
    """``generateContent``, as AI Studio and Vertex AI answer."""

    said: Mapping[str, tuple[int, str, tuple[Json, ...]]] = {
        "rate_limit": (429, "Resource exhausted. Please try again later.",
                       (gemini_wire.quota_failure("GenerateRequestsPerMinutePerProjectPerModel"),)),
        "quota": (429, "You exceeded your current quota, please check your plan and billing details.",
                  (gemini_wire.quota_failure("GenerateRequestsPerDayPerProjectPerModel"),)),
        "overload": (503, "The model is overloaded. Please try again later.", ()),
        "server_error": (500, "An internal error has occurred.", ()),
        "auth": (400, "API key not valid. Please pass a valid API key.",
                 ({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},)),
        "not_found": (404, "models/the-model is not found for API version v1beta.", ()),
        "bad_request": (400, "Invalid value at 'generation_config.temperature'.", ()),
        "context_length": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed.", ()),
    }  # fmt: skip

    def answer(self, asked: Asked, reply: Reply) -> Script:
        return self._generated(asked, reply)(asked.received)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        if fault.name == "content_filter":
            blocked = {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 3},
            }
            if not asked.stream:
                return json_answer(blocked)
            return gemini_wire.Generated().stream([blocked])
        status, text, details = self.said[fault.name]
        if fault.retry_after is not None:
            details = (*details, gemini_wire.retry_info(f"{fault.retry_after:g}s"))
        behaviour = gemini_wire.google_error(status, fault.text or text, *details)
        return behaviour(asked.received) if callable(behaviour) else behaviour

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        status, text, details = self.said.get(fault.name, self.said["overload"])
        return sse({"error": gemini_wire.error_body(status, fault.text or text, *details)}, newline="\r\n")

    def _generated(self, asked: Asked, reply: Reply) -> gemini_wire.Generated:
        parts = [] if reply.reasoning is None else [gemini_wire.thought(reply.reasoning)]
        text = reply.content
        if reply.data is not None:
            text = in_form(reply.data, (asked.body.get("generationConfig") or {}).get("responseJsonSchema"))
        calls = [
            gemini_wire.function_call(name, given, call_id=call_id, signature=reply.signature if number == 0 else None)
            for number, (call_id, name, given) in enumerate(map(arguments, reply.tool_calls))
        ]
        if calls and text is not None:
            parts += [{"text": piece} for piece in pieces(text)]
        candidate: Json = {}
        if reply.refusal is not None:
            candidate["finishMessage"] = reply.refusal
        if (asked.body.get("generationConfig") or {}).get("responseLogprobs"):
            candidate["logprobsResult"] = {
                "chosenCandidates": [{"token": piece, "logProbability": -0.25} for piece in pieces(text or "")]
            }
        return gemini_wire.Generated(
            "" if reply.refusal is not None or (calls and text is None) else None if calls else text,
            parts=[*parts, *calls],
            finish_reason=_GEMINIS[reply.reason],
            usage=None if reply.usage is None else self._usage(reply.usage),
            candidate=candidate,
            model=reply.model,
            delay=reply.delay,
        )

    @staticmethod
    def _usage(usage: Usage) -> Json:
        """What a cache had lies inside the prompt, and thoughts beside the answer."""
        return {
            "promptTokenCount": usage.prompt,
            "cachedContentTokenCount": usage.cached,
            "candidatesTokenCount": usage.completion - usage.reasoning,
            "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": usage.prompt + usage.completion,
        }


# AWS

_CONVERSES = {**_CLAUDES, "content_filter": "content_filtered"}
_AWS: Mapping[str, tuple[int, str, str]] = {
    "rate_limit": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "quota": (400, "ServiceQuotaExceededException", "Your account has reached its limit of tokens per day."),
    "overload": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "server_error": (500, "InternalServerException", "The system encountered an unexpected error."),
    "auth": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model."),
    "bad_request": (400, "ValidationException", "Value at 'temperature' failed to satisfy constraint."),
    "context_length": (400, "ValidationException", "Input is too long for requested model."),
}


def _aws_refusal(asked: Asked, fault: Fault) -> Script:
    status, name, text = _AWS[fault.name]
    named = {"x-amzn-errortype": name, "x-amzn-requestid": asked.received.watermark, **_waits(fault)}
    return json_answer({"message": fault.text or text}, status, named)


def _aws_exception(fault: Fault) -> bytes:
    _, name, text = _AWS.get(fault.name, _AWS["overload"])
    return bedrock_wire.exception(name[:1].lower() + name[1:], fault.text or text)


class ConverseDialect:
    """Bedrock's Converse."""

    def answer(self, asked: Asked, reply: Reply) -> Script:
        return bedrock_wire.Converse(
            blocks=self._blocks(asked, reply),
            stop_reason=None if reply.finish is None and reply.refusal is None else _CONVERSES[reply.reason],
            usage=None if reply.usage is None else self._usage(reply.usage),
            delay=reply.delay,
        )(asked.received)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        if fault.name == "content_filter":
            return self.answer(asked, Reply(_text(fault), finish="content_filter"))
        return _aws_refusal(asked, fault)

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        return _aws_exception(fault)

    def _blocks(self, asked: Asked, reply: Reply) -> list[Json]:
        thought = [] if reply.reasoning is None else [bedrock_wire.reasoning(reply.reasoning, reply.signature)]
        text = reply.content if reply.refusal is None else reply.refusal
        said = [] if text is None else [{"text": text}]
        if reply.data is not None:
            said = [self._formed(asked.body, reply.data)]
        calls = [
            bedrock_wire.tool_use(name, given, call_id=call_id)
            for call_id, name, given in map(arguments, reply.tool_calls)
        ]
        return [*thought, *said, *calls]

    @staticmethod
    def _formed(body: Json, data: Any) -> Json:
        config = body.get("toolConfig") or {}
        choice = config.get("toolChoice") or {}
        specs = {tool["toolSpec"]["name"]: tool["toolSpec"] for tool in config.get("tools", ())}
        name = (choice.get("tool") or {}).get("name") or (next(reversed(specs), None) if "any" in choice else None)
        if name is not None:
            return bedrock_wire.tool_use(name, held(data, specs[name]["inputSchema"]["json"]))
        schema = _asked_schema(body)
        return {"text": in_form(data, schema if schema is None else msgspec.json.decode(schema))}

    @staticmethod
    def _usage(usage: Usage) -> Json:
        """Its input has none of what a cache had, or was given; its total has."""
        return {
            "inputTokens": usage.prompt - usage.cached - usage.written,
            "cacheReadInputTokens": usage.cached,
            "cacheWriteInputTokens": usage.written,
            "outputTokens": usage.completion,
            "totalTokens": usage.prompt + usage.completion,
        }


class InvokeDialect(AnthropicDialect):
    """Claude behind Bedrock's InvokeModel: Anthropic's documents, in frames where they are streamed."""

    def answer(self, asked: Asked, reply: Reply) -> Script:
        told = self._message(asked, reply)
        if not asked.stream:
            return told(asked.received)
        return _frames([self._frame(each) for each in told.events(asked.received) if each["type"] != "ping"], reply)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        if fault.name == "content_filter":
            return super().refusal(asked, fault)
        return _aws_refusal(asked, fault)

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        return _aws_exception(fault)

    @staticmethod
    def _frame(document: Json) -> bytes:
        held_in = base64.b64encode(msgspec.json.encode(document)).decode()
        return bedrock_wire.event("chunk", {"bytes": held_in, "p": "abcdefgh"})


class CarriedDialect(OpenAIDialect):
    """OpenAI's wire inside SageMaker's envelope."""

    def answer(self, asked: Asked, reply: Reply) -> Script:
        if not asked.stream:
            return super().answer(asked, reply)
        events = [sse(each) for each in self.chunks(asked, reply)]
        return _frames([bedrock_wire.event("PayloadPart", each) for each in [*events, sse("[DONE]")]], reply)

    def refusal(self, asked: Asked, fault: Fault) -> Script:
        return json_answer(*_sagemaker(fault, asked))

    def broken(self, asked: Asked, fault: Fault) -> bytes:  # noqa: ARG002
        text = _text(fault)
        return bedrock_wire.exception("ModelStreamError", text, Message=text, ErrorCode="StreamBroken")


class TgiDialect(CarriedDialect):
    """TGI's own wire inside SageMaker's envelope."""

    def answer(self, asked: Asked, reply: Reply) -> Script:
        form = (asked.body.get("parameters") or {}).get("grammar") or {}
        text = reply.content or ""
        if reply.data is not None:
            text = in_form(reply.data, form.get("value") if form.get("type") == "json" else None)
        details = self._details(reply)
        if not asked.stream:
            return json_answer([{"generated_text": text, "details": details}])
        tokens: list[Json] = [
            {"token": {"id": n, "text": each, "special": False}} for n, each in enumerate(pieces(text))
        ]
        last: Json = {"token": {"id": 0, "text": "</s>", "special": True}, "generated_text": text, "details": details}
        events = [sse({"generated_text": None, "details": None, **each}).replace(b"data: ", b"data:", 1)
                  for each in [*tokens, last]]  # fmt: skip
        return _frames([bedrock_wire.event("PayloadPart", each) for each in events], reply)

    @staticmethod
    def _details(reply: Reply) -> Json:
        usage = reply.usage
        counts: Json = {} if usage is None else {"generated_tokens": usage.completion, "input_length": usage.prompt}
        return {"finish_reason": "length" if reply.reason == "length" else "eos_token", **counts}


_CONTAINER = {
    "rate_limit": (429, "ThrottlingException", "Rate exceeded"),
    "overload": (503, "ServiceUnavailable", "The endpoint is not ready."),
    "server_error": (500, "InternalFailure", "Internal failure"),
    "quota": (400, "ServiceQuotaExceededException", "Your account has reached its limit of tokens per day."),
    "auth": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
}


def _sagemaker(fault: Fault, asked: Asked) -> tuple[Json, int, Json]:
    """SageMaker's own errors, and those of the container, which it repeats."""
    named = {"x-amzn-requestid": asked.received.watermark, **_waits(fault)}
    if fault.name in _CONTAINER:
        status, name, text = _CONTAINER[fault.name]
        return {"message": fault.text or text}, status, {**named, "x-amzn-errortype": name}
    if fault.name == "not_found":
        text = fault.text or "Endpoint mock of account 123456789012 not found."
        return {"Message": text}, 400, {**named, "x-amzn-errortype": "ValidationError"}
    said = SAID[fault.name]
    original = fault.text or said.text
    document = {
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
        "Message": f"Received client error ({said.status}) from primary with message.",
        "OriginalMessage": original,
        "OriginalStatusCode": said.status,
    }
    return document, 424, {**named, "x-amzn-errortype": "ModelError"}


def _frames(frames: list[bytes], reply: Reply) -> Iterator[Step]:
    yield head(200, bedrock_wire.EVENT_STREAM)
    for number, each in enumerate(frames):
        if reply.delay and number:
            yield Sleep(reply.delay)
        yield Chunk(each)
    yield LAST_CHUNK
