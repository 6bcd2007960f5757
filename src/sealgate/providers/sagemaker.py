"""AWS SageMaker: another wire inside its envelope.

An endpoint runs whatever container its owner chose; the service hands bodies on as they are. Whole answers come as the
container gave them; streams come in frames whose bytes are the container's own stream, cut anywhere. What the container
speaks says the account's ``carries``: OpenAI's wire (vLLM, SGLang, LMI, TGI's messages API), or TGI's ``inputs`` and
``parameters``. Answers are read in either form.

Source: the service model ``sagemaker-runtime`` of botocore, and the API of Text Generation Inference (``generate``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import aws
from sealgate.providers.base import Account, Adjustment, Json, Operation, Prompt, Reader, Written
from sealgate.providers.openai import UNREADABLE, OpenAIWire, StreamReader, WholeReader
from sealgate.providers.params import adjust

_encode = msgspec.json.Encoder().encode

_PARAMETERS = {
    "max_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Fields of a request that TGI has a parameter for."""
_IDLE = {"temperature": 0, "top_p": 1, "top_k": 0}
"""Values that TGI refuses, and that mean what holds without them."""
TERMS = {name: f"`parameters.{to}`" for name, to in _PARAMETERS.items()} | {
    "messages": "`inputs`, as one text", "stop": "`parameters.stop`",
    "response_format": "`parameters.grammar`",
    "temperature": "`parameters.temperature`, with `parameters.do_sample`",
    "max_completion_tokens": "`parameters.max_new_tokens`",
}  # fmt: skip
"""Where parameters stand in TGI's body."""
UNKNOWN_SHAPE = (AttributeError, TypeError)
_SPEAKERS = {"assistant": "Assistant", "system": "System", "developer": "System", "tool": "Tool", "function": "Tool"}


class SageMakerHost(aws.AwsHost):
    """``POST {base_url}/endpoints/{name}/invocations``; where the account names no endpoint, the model is one."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        name = account.endpoint or model
        if not name.strip("."):
            raise UpstreamError(Failure.MODEL_GONE, "An endpoint's name is not only dots.")
        way = "invocations-response-stream" if stream else "invocations"
        return f"{account.base_url}/endpoints/{quote(name, safe='')}/{way}"


class CarriedWire:
    """OpenAI's wire inside SageMaker's."""

    stream_type = aws.EVENT_STREAM

    def __init__(self) -> None:
        self._inner = OpenAIWire()

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:
        return self._inner.write(account, prompt, model, max_output)

    def reader(self, fields: Json, *, stream: bool) -> Reader:  # noqa: ARG002
        return CarriedStreamReader() if stream else CarriedReader()

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)


class TgiWire(CarriedWire):
    """TGI's own request: one text, and parameters."""

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields, adjusted = adjust(account.kind, prompt.fields)
        said = list(adjusted)
        parameters: Json = {
            to: fields[name] for name, to in _PARAMETERS.items() if name in fields and not _is_idle(name, fields[name])
        }
        if parameters.get("temperature"):
            parameters["do_sample"] = True
        if (stop := fields.get("stop")) is not None:
            parameters["stop"] = [stop] if isinstance(stop, str) else stop
        form = fields.get("response_format") or {}
        if form.get("type") in ("json", "regex"):
            parameters["grammar"] = {"type": form["type"], "value": form["value"]}
        body: Json = {"inputs": _text(fields["messages"], said), "parameters": {**parameters, "details": True}}
        if prompt.stream:
            body["stream"] = True
        return Written(_encode(body | prompt.extra_body), said)


def _is_idle(name: str, value: Any) -> bool:
    return name in _IDLE and (value >= 1 if name == "top_p" else value <= _IDLE[name])


def _text(messages: list[Json], said: list[Adjustment]) -> str:
    """A conversation as one text. A single message of the user is sent as it is: it may follow a template already."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return _plain(messages[0].get("content"))
    said.append(Adjustment("messages", "emulated", "sent as one text, each turn after its speaker's name"))
    turns = [f"{_SPEAKERS.get(each['role'], 'User')}: {_plain(each.get('content'))}" for each in messages]
    return "\n".join([*turns, "Assistant:"])


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


# Answers


class CarriedReader(WholeReader):
    """A completion of OpenAI's, or TGI's ``generated_text``."""

    def end(self) -> Iterable[Json]:
        if b'"generated_text"' in (body := self.body):
            try:
                answer = msgspec.json.decode(body)
            except UNREADABLE:
                raise UpstreamError(Failure.BAD_RESPONSE, "the body is not JSON") from None
            if isinstance(answer, list) and answer:
                answer = answer[0]
            if isinstance(answer, dict) and isinstance(answer.get("generated_text"), str):
                try:
                    return (_generated(answer),)
                except UNKNOWN_SHAPE:
                    raise UpstreamError(Failure.BAD_RESPONSE, "the answer's details have an unknown shape") from None
        return super().end()


def _generated(answer: Json) -> Json:
    details = answer.get("details") or {}
    message = {"role": "assistant", "content": answer["generated_text"]}
    # Without details nothing says why it ended.
    choice = {"index": 0, "message": message, "finish_reason": details.get("finish_reason") or "stop"}
    return {"choices": [choice], "usage": _usage(details)}


def _usage(details: Json) -> Json | None:
    """OpenAI's ``usage``, where both counts are there."""
    prompt, completion = (
        details.get("input_length") or len(details.get("prefill") or ()),
        details.get("generated_tokens"),
    )
    if not prompt or completion is None:
        return None
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class CarriedStreamReader:
    """Frames that carry a stream of OpenAI's chunks or of TGI's tokens; or a whole document, where none was made."""

    def __init__(self) -> None:
        self._frames = aws.FrameReader()
        self._inner: StreamReader | CarriedReader | None = None
        self._calls = _Calls()
        self.done = False

    def feed(self, piece: bytes) -> Iterator[Json]:
        """One by one, so that what came before a failure in the same piece is not lost."""
        for frame in self._frames.feed(piece):
            if frame.event == "PayloadPart":
                for found in self._take(frame.payload):
                    chunk = found if "choices" in found else self._read(found)
                    self._calls.note(chunk)
                    yield chunk
                if self._inner is not None and self._inner.done:
                    self.done = True
                    yield from self._calls.finish()

    def end(self) -> Iterable[Json]:
        if not isinstance(self._inner, CarriedReader):
            return ()
        return tuple(_as_chunk(answer) for answer in self._inner.end())

    def _take(self, payload: bytes) -> Iterable[Json]:
        if self._inner is None:
            payload = payload.lstrip()
            if not payload:
                return ()
            self._inner = CarriedReader() if payload[:1] in (b"{", b"[") else StreamReader()
        return self._inner.feed(payload)

    def _read(self, event: Json) -> Json:
        try:
            return self._token(event)
        except UNKNOWN_SHAPE:
            raise UpstreamError(Failure.BAD_STREAM, "a token has an unknown shape") from None

    def _token(self, event: Json) -> Json:
        """One of TGI's events. The text of the whole comes once more at the end; it is not needed."""
        token = event.get("token") or {}
        delta = {} if token.get("special") or not token.get("text") else {"content": token["text"]}
        choice: Json = {"index": 0, "delta": delta}
        if event.get("generated_text") is None:
            return {"choices": [choice]}
        details = event.get("details") or {}
        self.done = True
        choice["finish_reason"] = details.get("finish_reason") or "stop"
        return {"choices": [choice], "usage": _usage(details)}


class _Calls:
    """Tool calls that end without a finish reason: TGI 3 streams them and then says ``[DONE]``."""

    def __init__(self) -> None:
        self._arguments: dict[Any, str] = {}
        self._finished = False

    def note(self, chunk: Json) -> None:
        try:
            for choice in chunk["choices"] or ():
                self._finished = self._finished or bool(choice.get("finish_reason"))
                for call in (choice.get("delta") or {}).get("tool_calls") or ():
                    more = (call.get("function") or {}).get("arguments") or ""
                    self._arguments[call.get("index")] = self._arguments.get(call.get("index"), "") + more
        except (AttributeError, TypeError):
            self._finished = True  # of an unknown shape: that is judged elsewhere

    def finish(self) -> Iterable[Json]:
        """The finish that is missing, if all arguments are whole: then nothing was cut off."""
        if self._finished or not self._arguments:
            return ()
        try:
            for text in self._arguments.values():
                msgspec.json.decode(text)
        except (*UNREADABLE, TypeError):
            return ()
        self._finished = True
        return ({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},)


def _as_chunk(answer: Json) -> Json:
    choices = [{"delta" if name == "message" else name: v for name, v in each.items()} for each in answer["choices"]]
    return {**answer, "choices": choices}


CARRIED = CarriedWire()
TGI = TgiWire()
SAGEMAKER_HOST = SageMakerHost("sagemaker")
