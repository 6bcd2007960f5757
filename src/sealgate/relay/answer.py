"""What the caller reads: an upstream's chunks or completion, relabelled as ours.

One `Answer` belongs to one attempt. It is pure: `take` is given each upstream object and returns the payloads that are
ready to go out, `end` is called when the upstream has ended properly. Whether an answer is streamed or whole differs
only in how it is rendered; deciding whether it is complete is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats import choices as forms
from sealgate.limits.prices import Tariff, shown
from sealgate.providers.base import Json
from sealgate.relay import content as contents
from sealgate.relay import finish, tool_calls
from sealgate.relay import usage as usages
from sealgate.relay.reasoning import Thoughts
from sealgate.relay.transcript import Transcript, Unkept
from sealgate.relay.usage import Usage

_encode = msgspec.json.Encoder().encode

PASSED_ON = ("system_fingerprint", "service_tier")
_UNWEIGHED = ("role", "anthropic")
_PLAIN = frozenset({"role", "content"})
_RENAMED = contents.BOOKKEEPING | {"content", "reasoning_content", "reasoning"}


class Label(msgspec.Struct, frozen=True):
    """What an answer says of itself besides its content."""

    id: str
    model: str
    created: int
    episode_id: str
    tresor: Json
    tariff: Tariff | None = None
    """What the answer costs."""
    session_id: str | None = None

    @property
    def groups(self) -> Json:
        """What the request belongs to."""
        found = {"episode_id": self.episode_id}
        return found if self.session_id is None else {**found, "session_id": self.session_id}


class Answer(ABC):
    """What every answer has: whether content came, what was used, and how it ended."""

    def __init__(self, label: Label, choices: int, request_bytes: int, stops: Sequence[str] = ()) -> None:
        self.label = label
        self.expected = choices
        self.has_content = False
        self.reported: Usage | None = None
        self.begun: Usage | None = None
        """What was counted at an answer's start: the prompt."""
        self.reported_model: str | None = None
        self.characters = 0
        self.thoughts: Thoughts | None = None
        self._request_bytes = request_bytes
        self._stops = stops
        self._passed: Json = {}

    @property
    def finished(self) -> bool:
        """Whether every choice that was asked for has said that it is over."""
        return False

    @property
    def usage(self) -> Usage:
        return self.reported or usages.with_begun(usages.estimate(self._request_bytes, self.characters), self.begun)

    @property
    def cost(self) -> int | None:
        """What the usage so far costs, in nano-units; None where the route has no price."""
        tariff = self.label.tariff
        if tariff is None:
            return None
        usage = self.usage
        return tariff.cost(usage.prompt, usage.completion, usage.cached, usage.cache_write, usage.reasoning)

    @property
    def _tresor(self) -> Json:
        """With what the answer cost, where it is whole."""
        cost = self.cost
        return {**self.label.tresor, "cost": None if cost is None else shown(cost)}

    @abstractmethod
    def said(self) -> list[Json] | bytes:
        """What the caller was given so far, in the form that receipts digest: see `sealgate.formats.choices`.

        Bytes where they are canonical already. Only for an answer that gets a receipt.
        """

    @abstractmethod
    def take(self, upstream: Json) -> list[bytes]:
        """Payloads made ready by one upstream object. Raises `UpstreamError` when it says that the answer failed."""

    def take_big(self, upstream: Json) -> list[bytes]:
        """As `take`, of a heavy object and in a thread of its own: what takes long may be done here."""
        return self.take(upstream)

    @abstractmethod
    def end(self) -> list[bytes]:
        """The last payloads. Raises `UpstreamError` when the answer is not complete."""

    def _note(self, upstream: Json) -> bool:
        """Take what an object says besides its choices. Whether something came that is passed on, and had not yet.

        Of what is passed on the first value holds.
        """
        if (usage := upstream.get("usage")) is not None:
            found = usages.read(usage)
            if found is not None and usage.get("so_far"):
                self.begun = found
            else:
                self.reported = found or self.reported
        if self.reported_model is None and isinstance(model := upstream.get("model"), str):
            self.reported_model = model
        new = False
        for name in PASSED_ON:
            if (value := upstream.get(name)) is not None and name not in self._passed:
                self._passed[name] = value
                new = True
        return new

    def _beside(self, choice: Json) -> Json:
        """What else is told of a choice: what Azure's content filter says of it, and the stop text that ended it."""
        filtered = choice.get("content_filter_results")
        found = {"content_filter_results": filtered} if filtered else {}
        return {**found, **finish.stopped_at(choice, self._stops)} if self._stops else found

    def _require_substance(self) -> None:
        if not self.has_content and self.reported is None:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no content and no usage")


class WholeAnswer(Answer):
    """One ``chat.completion`` object."""

    _body: bytes = b""
    _choices: list[Json]

    @property
    def finished(self) -> bool:
        return bool(self._body)

    def take(self, upstream: Json) -> list[bytes]:
        self._note(upstream)
        try:
            choices = [self._choice(index, choice) for index, choice in enumerate(upstream["choices"])]
        except (AttributeError, KeyError, TypeError) as error:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has an unknown shape") from error
        if not choices:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no choices")
        self._require_substance()
        self._choices = choices
        label = self.label
        self._body = _encode(
            {
                "id": label.id,
                "object": "chat.completion",
                "created": label.created,
                "model": label.model,
                "choices": choices,
                "usage": self.usage.render(),
                **self._passed,
                **label.groups,
                "tresor": self._tresor,
            }
        )
        return []

    def end(self) -> list[bytes]:
        if not self._body:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is empty")
        return [self._body]

    def said(self) -> list[Json]:
        return forms.of_completion(self._choices)

    def _choice(self, position: int, choice: Json) -> Json:
        message = choice.get("message")
        if message is None and choice.get("finish_reason"):
            message = {}  # Azure sends none where a filter has taken all of it
        if not isinstance(message, dict):
            raise UpstreamError(Failure.BAD_RESPONSE, "a choice has no message")
        message = _message(message)
        calls = message.get("tool_calls")
        self._weigh(message)
        if self.thoughts is not None:
            self.thoughts.take(position, message)
        said = choice.get("finish_reason")
        if said in (None, "") and not calls:
            raise UpstreamError(Failure.TRUNCATED, "a choice has no finish reason")
        index, logprobs = choice.get("index"), choice.get("logprobs")
        return {
            "index": index if isinstance(index, int) else position,
            "message": message,
            "logprobs": None if logprobs is None else contents.logprobs(logprobs, message["content"] or ""),
            "finish_reason": finish.reason(said or "stop", called=bool(calls)),
            **self._beside(choice),
        }

    def _weigh(self, message: Json) -> None:
        for name, value in message.items():
            if name not in _UNWEIGHED and value:
                self.has_content = True
                self.characters += len(value) if isinstance(value, str) else len(_encode(value))


class StreamedAnswer(Answer):
    """``chat.completion.chunk`` objects. Only the delta is encoded anew for each; the rest is prepared once."""

    def __init__(
        self,
        label: Label,
        choices: int,
        request_bytes: int,
        *,
        include_usage: bool,
        usage_on_finish: bool,
        receipted: bool = True,
        stops: Sequence[str] = (),
    ) -> None:
        super().__init__(label, choices, request_bytes, stops)
        self._usage_chunk = include_usage and not usage_on_finish
        self._usage_on_finish = usage_on_finish
        self._held: list[tuple[int, str, Json]] = []
        self._begun: set[int] = set()
        self._closed: set[int] = set()
        self._flows = False
        """Whether the first choice has begun, and is not over."""
        self._blank: set[int] = set()
        """Choices that have said an empty text for their reason to end."""
        self._calls: dict[int, tool_calls.ToolCalls] = {}
        self._transcript = Transcript() if receipted else Unkept()
        self._prepare()

    def _prepare(self) -> None:
        label = self.label
        shared = {
            "id": label.id,
            "object": "chat.completion.chunk",
            "created": label.created,
            "model": label.model,
            **self._passed,
        }
        self._head = _encode(shared)[:-1] + b',"choices":'
        self._tail = b',"usage":null}' if self._usage_chunk else b"}"
        self._before_text = self._head + b'[{"index":0,"delta":{"content":'
        self._after_text = b'},"finish_reason":null}]' + self._tail

    @property
    def finished(self) -> bool:
        return len(self._closed) >= self.expected and not self._begun - self._closed

    def take(self, upstream: Json) -> list[bytes]:
        if self._note(upstream):
            self._prepare()
        ready: list[bytes] = []
        choices = upstream.get("choices")
        if choices:
            before = self._transcript.mark()
            try:
                for choice in choices:
                    self._choice(choice, ready)
            except (AttributeError, KeyError, TypeError) as error:
                self._transcript.forget(before)
                raise UpstreamError(Failure.BAD_STREAM, "a chunk has an unknown shape") from error
            except UpstreamError:
                self._transcript.forget(before)
                raise
        return ready

    def said(self) -> list[Json]:
        return self._transcript.choices()

    def end(self) -> list[bytes]:
        ready: list[bytes] = []
        for index in sorted((self._begun - self._closed) & self._blank & self._calls.keys()):
            # xAI may end tool calls with an empty reason; the walk has seen that the stream itself is whole.
            self._close(index, "tool_calls", {}, ready)
        if not self._closed or self._begun - self._closed:
            failure = Failure.TRUNCATED if self.has_content else Failure.BAD_RESPONSE
            raise UpstreamError(failure, "the stream ended without a finish reason")
        self._require_substance()
        self._release(ready, keep=0)
        if self._usage_chunk:
            priced = b"" if self.label.tariff is None else b',"tresor":' + _encode(self._tresor)
            ready.append(self._head + b'[],"usage":' + _encode(self.usage.render()) + priced + b"}")
        return ready

    def _choice(self, choice: Json, ready: list[bytes]) -> None:
        index, delta = choice.get("index") or 0, choice.get("delta")
        text = delta.get("content") if type(delta) is dict and len(delta) == 1 else None
        if text and index == 0 and self._flows and type(text) is str and choice.get("logprobs") is None:
            # A piece of text and nothing else: what nearly every chunk is.
            self.characters += len(text)
            self._transcript.pieces.append(text)
            ready.append(self._before_text + _encode(text) + self._after_text)
        elif type(index) is not int:
            raise TypeError("a choice's index is no number")
        elif index in self._closed:
            return
        else:
            self._piece(index, choice, ready)
        said = choice.get("finish_reason")
        if said:
            self._close(index, said, self._beside(choice), ready)
            if self.has_content:
                # One choice with content is over now; of several, only the end tells which finish was the last.
                self._release(ready, keep=int(self.expected > 1 or self._usage_on_finish))
        elif said is not None:
            self._blank.add(index)

    def _piece(self, index: int, choice: Json, ready: list[bytes]) -> None:
        # A few servers send a whole message where a stream has its first delta.
        delta = choice.get("delta") or (choice.get("message") if index not in self._begun else None)
        kept = self._delta(index, delta) if delta else {}
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            logprobs = contents.logprobs(logprobs, kept.get("content", ""))
        if kept:
            self.has_content = True
            if self.thoughts is not None:
                self.thoughts.take(index, kept)
            self._begin(index, ready)
            self._transcript.pieces.append((index, kept))
            ready.append(self._chunk(index, _encode(kept), logprobs))
        elif logprobs and index in self._begun:
            ready.append(self._chunk(index, b"{}", logprobs))

    def _begin(self, index: int, ready: list[bytes]) -> None:
        if index not in self._begun:
            self._begun.add(index)
            self._flows = 0 in self._begun - self._closed
            ready.append(self._chunk(index, b'{"role":"assistant"}', None))

    def _close(self, index: int, said: Any, beside: Json, ready: list[bytes]) -> None:
        calls = self._calls.get(index)
        reason = finish.reason(said, called=calls is not None)
        if calls is not None and reason != "length" and (rest := calls.unsaid()):
            self._transcript.pieces.append((index, {"tool_calls": rest}))
            ready.append(self._chunk(index, _encode({"tool_calls": rest}), None))
        self._closed.add(index)
        self._flows = 0 in self._begun - self._closed
        self._held.append((index, reason, beside))

    def _release(self, ready: list[bytes], keep: int) -> None:
        """Send the finish chunks that were held back, all but ``keep``; the very last carries what is ours."""
        while len(self._held) > keep:
            index, reason, beside = self._held.pop(0)
            self._begin(index, ready)
            self._transcript.pieces.append((index, reason))
            ready.append(self._finish_chunk(index, reason, beside, last=not keep and not self._held))

    def _delta(self, index: int, delta: Json) -> Json:
        """The delta with only what carries something, under OpenAI's names."""
        kept: Json = {}
        for name, value in delta.items():
            if not value or name in contents.BOOKKEEPING:
                continue
            if name == "content":
                if type(value) is str:
                    kept["content"] = value
                else:
                    self._parts(value, kept)
            elif name == "tool_calls":
                kept["tool_calls"] = self._calls.setdefault(index, tool_calls.ToolCalls()).take(value)
                self.characters += sum(len(c["function"].get("arguments") or "") for c in kept["tool_calls"]
                                       if "function" in c)  # fmt: skip
            elif name in ("reasoning_content", "reasoning"):
                if thoughts := contents.reasoning(delta):
                    kept["reasoning_content"] = thoughts
            elif not isinstance(value, int | float):
                kept[name] = value
        self.characters += len(kept.get("content", "")) + len(kept.get("reasoning_content", ""))
        return kept

    @staticmethod
    def _parts(content: Any, kept: Json) -> None:
        text, thoughts = contents.split(content)
        if thoughts:
            kept["reasoning_content"] = thoughts
        if details := contents.signed(content):
            kept["reasoning_details"] = details
        if text:
            kept["content"] = text

    def _chunk(self, index: int, delta: bytes, logprobs: Any) -> bytes:
        extra = b"" if logprobs is None else b',"logprobs":' + _encode(logprobs)
        return b'%b[{"index":%d,"delta":%b%b,"finish_reason":null}]%b' % (self._head, index, delta, extra, self._tail)

    def _finish_chunk(self, index: int, reason: str, beside: Json, *, last: bool) -> bytes:
        extra = b"," + _encode(beside)[1:-1] if beside else b""
        body = b'%b[{"index":%d,"delta":{},"finish_reason":"%b"%b}]' % (self._head, index, reason.encode(), extra)
        if not last:
            return body + self._tail
        ours = self._tresor if self._usage_on_finish else self.label.tresor
        body += b',%b,"tresor":%b' % (_encode(self.label.groups)[1:-1], _encode(ours))
        if self._usage_on_finish:
            return body + b',"usage":' + _encode(self.usage.render()) + b"}"
        return body + self._tail


def _message(message: Json) -> Json:
    """A message under OpenAI's names, without what is empty."""
    given = message.get("content")
    if type(given) is str and message.keys() <= _PLAIN:
        return {"role": "assistant", "content": given}
    text, thoughts = (None, "") if given is None else contents.split(given)
    found: Json = {"role": "assistant", "content": text}
    if thoughts := contents.reasoning(message) or thoughts:
        found["reasoning_content"] = thoughts
    if details := contents.signed(given):
        found["reasoning_details"] = details
    for name, value in message.items():
        if name == "tool_calls":
            if value:
                found[name] = tool_calls.whole(value)
        elif name not in _RENAMED and value is not None and value != []:
            found[name] = value
    return found
