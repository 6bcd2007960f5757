"""From the body of a Responses request to an `Ask`: a chat in OpenAI's inner shape, and what the answer must repeat.

What cannot be told to any model is refused; what only steers, and cannot be carried, is left out and said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sealgate.errors import Problem
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.providers.capabilities import CONTRACT
from sealgate.relay.ask import Ask
from sealgate.relay.request import decode_object, episode, model_named, typed_as
from sealgate.relay.responses_items import Conversation, with_types
from sealgate.relay.responses_shapes import FIELDS, InputTokensRequest, ResponsesRequest
from sealgate.relay.responses_tools import SEARCH, UNKNOWN, Offered
from sealgate.relay.shapes import MAX_MESSAGES

REFUSED = {
    "background": "answers are not made in the background",
    "conversation": "conversations are not kept here: send the items, or previous_response_id",
    "prompt": "there are no stored prompts here: send instructions and input",
    "moderation": "nothing is moderated here",
    "messages": "the conversation is `input` here",
    "response_format": "the form of an answer is `text.format` here",
    "max_tokens": "the limit is `max_output_tokens` here",
    "max_completion_tokens": "the limit is `max_output_tokens` here",
}
"""Fields without which the answer would be another one, and why they cannot be honoured."""
NAMES = {
    ".function.parameters": ".parameters",
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Fields of the chat that a request becomes, as callers know them; what begins with a dot is a part of a place."""
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_encode = msgspec.json.Encoder().encode
_HINTS = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "user")
_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key",
    "safety_identifier", "temperature", "top_p", "user",
)  # fmt: skip
_KNOWN_PARTS = {
    "text": frozenset({"format", "verbosity"}),
    "reasoning": frozenset({"effort", "summary", "generate_summary"}),
}


class Before(NamedTuple):
    """An earlier response that the conversation goes on from: one of them, the oldest first."""

    input: Sequence[Json]
    output: Sequence[Json]
    details: Sequence[Json]
    """What its provider wants back of the reasoning."""


class Wanted(NamedTuple):
    """What the answer must know of its request."""

    echo: Json
    """Fields of the response that repeat the request."""
    custom: frozenset[str]
    """Functions that are custom tools to the caller."""
    spaced: Mapping[str, tuple[str, str]]
    """Functions in namespaces: which, and their names there."""
    search: bool
    """Whether the function of that name is the caller's search for tools."""
    encrypted: bool
    """Whether reasoning comes with what its provider wants back of it."""
    logprobs: bool
    summary: bool
    """Whether reasoning is shown as its summary."""
    padded: bool
    """Whether deltas are padded, so that their sizes tell less."""


class Responding:
    """One request, read. Raises `Problem` for what is wrong in it; nothing here does I/O."""

    def __init__(
        self,
        body: bytes,
        default_model: str | None = None,
        trace: Mapping[str, str] | None = None,
        shape: type[ResponsesRequest] = ResponsesRequest,
    ) -> None:
        self.fields = decode_object(body)
        self.items: list[Json] = []
        """What was asked, as items."""
        self._given = {name: value for name, value in self.fields.items() if value is not None}
        self._refuse()
        self._complete()
        self.typed = typed_as(shape, self._given)
        self.model = model_named(self.typed.model, default_model)
        self._episode = episode(self.typed.episode_id)
        self._trace = trace or {}
        self._size = len(body)
        self._lost: dict[Adjustment, None] = {}
        self._offered = Offered()
        for index, tool in enumerate(self._given.get("tools") or ()):
            self._offered.add(tool, f"tools[{index}]")

    @property
    def previous(self) -> str | None:
        """The id of the response that the conversation goes on from."""
        return self.typed.previous_response_id

    def keeps(self, *, most: int) -> bool:
        """Whether the answer is to be kept: where the caller says so, and the request has at most ``most`` bytes."""
        if not self.typed.store:
            return False
        if self._size > most:
            why = f"requests of more than {most} bytes are not kept" if most else "this server keeps no responses"
            self._lose("store", why)
            return False
        return True

    def _refuse(self) -> None:
        given = self._given
        for name in sorted((CONTRACT | REFUSED.keys()) & given.keys() - FIELDS):
            if given[name] is False:
                continue
            why = REFUSED.get(name, "it is no parameter of this endpoint")
            raise Problem("unsupported_parameter", f"{name}: {why}.", param=name)

    def _complete(self) -> None:
        """Say what may be left unsaid, so that the types can be told apart; and refuse types that nobody knows."""
        given = self._given
        if isinstance(items := given.get("input"), list):
            given["input"] = with_types(items)
        for index, tool in enumerate(tools if isinstance(tools := given.get("tools"), list) else ()):
            kind = tool.get("type") if isinstance(tool, dict) else None
            own = kind in ("function", "custom", "namespace") or (kind == SEARCH and tool.get("execution") == "client")
            if isinstance(kind, str) and not own:
                at = f"tools[{index}]"
                why = f"{at}: tools of type {kind[:64]!r} run at their provider, and are not supported."
                raise Problem("unsupported_parameter", why, param=at)
        choice = given.get("tool_choice")
        kind = choice.get("type") if isinstance(choice, dict) else None
        if isinstance(kind, str) and kind not in ("function", "custom", "allowed_tools"):
            why = f"tool_choice: tools of type {kind[:64]!r} are not supported."
            raise Problem("unsupported_parameter", why, param="tool_choice")

    def _lose(self, name: str, why: str) -> None:
        self._lost[Adjustment(name, "dropped", why)] = None

    # The answer's side

    def wanted(self, *, store: bool) -> Wanted:
        """``store`` says whether the answer will be kept."""
        given, typed = self._given, self.typed
        reasoning, text = given.get("reasoning") or {}, given.get("text") or {}
        summary = reasoning.get("summary") or reasoning.get("generate_summary")
        echo: Json = dict.fromkeys(_ECHOED) | {name: given[name] for name in _ECHOED if name in given}
        echo |= {
            "metadata": given.get("metadata") or {},
            "parallel_tool_calls": given.get("parallel_tool_calls", True),
            "reasoning": {"effort": reasoning.get("effort"), "summary": summary},
            "store": store,
            "text": {"format": text.get("format") or {"type": "text"}}
            | ({"verbosity": text["verbosity"]} if text.get("verbosity") else {}),
            "tool_choice": given.get("tool_choice", "auto"),
            "tools": [_echoed(tool) for tool in given.get("tools") or ()],
            "top_logprobs": given.get("top_logprobs", 0),
            "truncation": "disabled",
        }
        include = typed.include or ()
        return Wanted(
            echo=echo,
            custom=frozenset(self._offered.custom),
            spaced=self._offered.spaced,
            search=self._offered.search,
            encrypted=ENCRYPTED in include,
            logprobs=LOGPROBS in include or bool(typed.top_logprobs),
            summary=summary is not None,
            padded=bool(typed.stream_options and typed.stream_options.include_obfuscation),
        )

    # The model's side

    def ask(self, before: Sequence[Before] = ()) -> Ask:
        """The request, after what was said ``before``."""
        typed = self.typed
        self._rules()
        talk = self._conversation(before)
        fields: Json = {"messages": talk.finish()}
        counted = isinstance(typed, InputTokensRequest)
        if not (fields["messages"] or counted) or len(fields["messages"]) > MAX_MESSAGES:
            code = "too_many_items" if fields["messages"] else "invalid_messages"
            raise Problem(code, f"input: the conversation must have 1 to {MAX_MESSAGES} messages.", param="input")
        self._carry(fields)
        self._settings(fields)
        self._unknown()
        return Ask(
            named=typed,
            model=self.model,
            type="chat",
            prompt=Prompt(fields, bool(typed.stream), {}, {}, self._trace),
            episode_id=self._episode,
            session_id=typed.session_id,
            include_usage=True,
            media_param=talk.by_url,
            adjustments=[*self._lost, *self._offered.lost, *talk.lost],
            size=self._size - talk.media_size + sum(_length(each) for each in before),
            max_tokens=typed.max_output_tokens,
            names=NAMES,
            fields=self.fields,
        )

    def _conversation(self, before: Sequence[Before]) -> Conversation:
        talk = Conversation(self._offered)
        if instructions := self._given.get("instructions"):
            talk.instruct(instructions)
        for each in before:
            talk.take(each.input)
            talk.take(each.output, "output", each.details)
        given = self._given.get("input", [])
        self.items = [message(given)] if isinstance(given, str) else given
        talk.take(self.items)
        return talk

    def _rules(self) -> None:
        """What spans several fields."""
        typed = self.typed
        if typed.stream_options is not None and not typed.stream:
            raise Problem("invalid_parameter", "stream_options needs stream to be true.", param="stream_options")
        if typed.tool_choice not in (None, "none", "auto") and not self._offered.tools:
            raise Problem("invalid_parameter", "tool_choice needs tools.", param="tool_choice")

    def _carry(self, fields: Json) -> None:
        """What has the same meaning in a chat, under its name there."""
        given = self._given
        fields |= {name: given[name] for name in ("temperature", "top_p", *_HINTS) if name in given}
        if "max_output_tokens" in given:
            fields["max_completion_tokens"] = given["max_output_tokens"]
        if self._offered.tools:
            fields["tools"] = self._offered.tools
            if "tool_choice" in given:
                fields["tool_choice"] = self._choice(given["tool_choice"])
            if "parallel_tool_calls" in given:
                fields["parallel_tool_calls"] = given["parallel_tool_calls"]

    def _settings(self, fields: Json) -> None:
        given, typed = self._given, self.typed
        text, reasoning = given.get("text") or {}, given.get("reasoning") or {}
        if (form := text.get("format")) is not None and form["type"] != "text":
            schema = {
                name: form[name] for name in ("name", "schema", "strict", "description") if form.get(name) is not None
            }
            fields["response_format"] = {"type": form["type"]} | ({"json_schema": schema} if "schema" in form else {})
        if text.get("verbosity"):
            fields["verbosity"] = text["verbosity"]
        if reasoning.get("effort"):
            fields["reasoning_effort"] = reasoning["effort"]
        for name in ("summary", "generate_summary"):
            if reasoning.get(name) not in (None, "auto"):
                self._lose(f"reasoning.{name}", "reasoning is shown as its provider gives it")
        if LOGPROBS in (typed.include or ()) or typed.top_logprobs:
            fields["logprobs"] = True
            if typed.top_logprobs:
                fields["top_logprobs"] = typed.top_logprobs

    def _unknown(self) -> None:
        """What is left out."""
        given = self._given
        for name in sorted(given.keys() - FIELDS):
            if given[name] is not False or name not in REFUSED:
                self._lose(name, UNKNOWN)
        for name, known in _KNOWN_PARTS.items():
            for inner in sorted((given.get(name) or {}).keys() - known):
                if given[name][inner] is not None:
                    self._lose(f"{name}.{inner}", UNKNOWN)
        if "service_tier" in given:
            self._lose("service_tier", "callers may not set this")
        if given.get("truncation") == "auto":
            self._lose("truncation", "a conversation that is too long is refused, not cut")

    # Tools

    def _choice(self, given: Any) -> Any:
        if isinstance(given, str):
            return given
        if given["type"] != "allowed_tools":
            return self._named(given)
        allowed = {"mode": given["mode"], "tools": [self._named(tool) for tool in given["tools"]]}
        return {"type": "allowed_tools", "allowed_tools": allowed}

    def _named(self, tool: Json) -> Json:
        name = self._offered.name(tool["name"], tool.get("namespace"))
        if not self._offered.has(name):
            why = f"tool_choice: there is no tool {tool['name'][:64]!r}."
            raise Problem("invalid_parameter", why, param="tool_choice")
        return self._offered.choice(tool["type"], name)


def message(text: str) -> Json:
    """A text that was asked, as the item it stands for."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def _echoed(tool: Json) -> Json:
    """A tool with all that the schema of responses demands."""
    return {"description": None, "parameters": None, "strict": None, **tool} if tool["type"] == "function" else tool


def _length(before: Before) -> int:
    """Bytes of an earlier response, for estimates."""
    return len(_encode(before))
