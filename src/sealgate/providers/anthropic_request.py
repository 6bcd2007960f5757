"""A chat request in OpenAI's shape as a request of the Messages API.

Source: the Messages API reference (platform.claude.com/docs/en/api/messages) and its pages on extended thinking,
effort, structured outputs and stop reasons.
"""

from __future__ import annotations

from typing import Any

from sealgate.providers.anthropic_form import ANSWER_TOOL, Form, cites, in_words, native
from sealgate.providers.anthropic_messages import Conversation
from sealgate.providers.anthropic_models import Model
from sealgate.providers.anthropic_stops import stops
from sealgate.providers.base import Adjustment, Json
from sealgate.providers.params import NOT_TAKEN

HINTS = frozenset({"user", "safety_identifier", "parallel_tool_calls", "reasoning_effort", "top_k"})
"""The hints that it knows."""
SAMPLING = ("temperature", "top_p", "top_k")
LEAST_BUDGET = 1024
"""Tokens of thinking below which the provider refuses."""
MOST_BUDGET = 128_000
LONGEST_USER = 256
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
"""Which part of ``max_tokens`` an effort is, for models that think by a number of tokens."""
_NEAREST = {"minimal": "low", "xhigh": "high", "max": "high"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


TERMS = {
    "messages": "`messages`, `system`", "max_completion_tokens": "`max_tokens`",
    "stop": "`stop_sequences`; white space alone is watched for in the answer",
    "parallel_tool_calls": "`tool_choice` with `disable_parallel_tool_use`",
}  # fmt: skip
"""Where parameters stand in the body."""
_SAMPLED = "not taken by newer models, nor while the model thinks"
_USER = f"`metadata.user_id`, up to {LONGEST_USER} characters"
DEPENDS = {
    "temperature": f"at most 1; {_SAMPLED}",
    "top_p": f"{_SAMPLED}, nor beside `temperature` from Claude 4.1 on",
    "top_k": _SAMPLED,
    "reasoning_effort": "`output_config.effort` and `thinking`, or a number of tokens in `thinking`, by the model",
    "response_format": "`output_config.format`, or a tool that must be called, or words, by model and host",
    "user": _USER,
    "safety_identifier": _USER,
}
"""What the model or the value decides."""


class Draft:
    """One request's body as it comes about. ``sampling`` and ``formats`` say what model, version and host take."""

    def __init__(self, fields: Json, model: Model, *, sampling: bool, formats: bool, max_output: int | None) -> None:
        self.fields = dict(fields)
        self.model = model
        self.body: Json = {}
        self.said: list[Adjustment] = []
        self._sampling = sampling
        self._formats = formats
        self._cites = cites(fields)
        self._conversation = Conversation()
        self._forced = False
        self._thinks = False
        self._max_output = max_output

    def write(self, wanted: Form | None) -> Json:
        """The body, but for what names the model, the version and the way of the answer. Raises `UpstreamError`."""
        take = self.fields.pop
        self._limits()
        self._messages(take("messages"))
        self._tools(take("tools", None), take("tool_choice", None), take("parallel_tool_calls", None))
        self._form(wanted)
        self._effort(take("reasoning_effort", None))
        self._sample()
        self._user(take("user", None), take("safety_identifier", None))
        for name in ("n", "logprobs", "response_format"):
            take(name, None)  # what they may still say here is what happens anyway, or said already
        self.said += [Adjustment(name, "dropped", NOT_TAKEN) for name in sorted(self.fields)]
        return self.body

    def _say(self, param: str, action: str, detail: str) -> None:
        self.said.append(Adjustment(param, action, detail))

    def _limits(self) -> None:
        older, newer = self.fields.pop("max_tokens", None), self.fields.pop("max_completion_tokens", None)
        self.body["max_tokens"] = newer or older or self._max_output or self.model.usual_tokens
        taken, watched = stops(self.fields)
        self.fields.pop("stop", None)
        if taken:
            self.body["stop_sequences"] = taken
        if watched:
            self._say("stop", "emulated", "white space is watched for in the answer")

    def _messages(self, messages: list[Json]) -> None:
        read = self._conversation
        read.read(messages)
        if read.system:
            plain = len(read.system) == 1 and read.system[0].keys() == {"type", "text"}
            self.body["system"] = read.system[0]["text"] if plain else read.system
        self.body["messages"] = read.turns
        self.said += read.said

    # Tools

    def _tools(self, tools: list[Json] | None, choice: Any, parallel: bool | None) -> None:
        if not tools:
            if names := self._conversation.names_called():
                # A conversation with calls is refused where no tools are declared.
                self.body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in names]
                self.body["tool_choice"] = {"type": "none"}
                self._say("tools", "emulated", "the tools that were called are declared, and none may be called")
            return
        self.body["tools"] = [self._tool(tool) for tool in tools]
        said = self._choice(choice)
        if parallel is False and (said is None or said["type"] != "none"):
            said = {**(said or {"type": "auto"}), "disable_parallel_tool_use": True}
        if said is not None:
            self.body["tool_choice"] = said
            self._forced = said["type"] in ("any", "tool")

    def _choice(self, choice: Any) -> Json | None:
        if choice is None:
            return None
        if isinstance(choice, dict):
            if name := (choice.get("function") or {}).get("name"):
                return {"type": "tool", "name": name}
            choice = (choice.get("allowed_tools") or {}).get("mode")
        return {"type": _CHOICES.get(choice, "auto")}

    def _tool(self, tool: Json) -> Json:
        function = tool["function"]
        found: Json = {"name": function["name"]}
        if function.get("description"):
            found["description"] = function["description"]
        found["input_schema"] = {"type": "object", **(function.get("parameters") or {"properties": {}})}
        if function.get("strict"):
            closed = native(found["input_schema"]) if self._formats else None
            if closed is not None and not closed[1]:
                found["strict"] = True
                found["input_schema"] = closed[0]
            else:
                self._say("tools[].function.strict", "dropped", "the model cannot be held to this schema")
        if "cache_control" in tool:
            found["cache_control"] = tool["cache_control"]
        return found

    # The answer's form

    def _form(self, wanted: Form | None) -> None:
        if wanted is None:
            return
        closed = native(wanted.schema) if self._formats and not self._cites else None
        if closed is not None:
            self.body["output_config"] = {"format": {"type": "json_schema", "schema": closed[0]}}
            if closed[1]:
                bounds = ", ".join(sorted(set(closed[1])))
                self._say("response_format", "emulated", f"told to the model in words: {bounds}")
        elif self._forced:
            self._say("response_format", "emulated", "a tool must be called, so that there is no text to prescribe")
        elif self.model.forces:
            self._answer_tool(wanted)
        else:
            self._in_words(wanted)

    def _in_words(self, wanted: Form) -> None:
        """For models that have no form for this schema and cannot be made to call a tool."""
        before = self.body.get("system", [])
        if isinstance(before, str):
            before = [{"type": "text", "text": before}]
        self.body["system"] = [*before, {"type": "text", "text": in_words(wanted)}]
        self._say("response_format", "emulated", "asked for in words")

    def _answer_tool(self, wanted: Form) -> None:
        """A tool that takes the answer: the only choice, or one beside the caller's tools where those may be called."""
        choice = self.body.get("tool_choice", {})
        own = self.body.get("tools", [])
        tool = {"name": ANSWER_TOOL, "description": "Gives the answer to the user.", "input_schema": wanted.schema}
        self.body["tools"] = [*own, tool]
        alone = not own or choice.get("type") == "none"
        self.body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL} if alone else {**choice, "type": "any"}
        self._forced = True
        self._say("response_format", "emulated", "sent as a tool that must be called")

    # Thinking

    def _effort(self, level: Any) -> None:
        if level is None:
            return
        if level == "none":
            self._no_thinking()
        elif self.model.thinking == "never" or level not in _SHARES:
            self._drop_effort("the model knows no such thing")
        elif self.model.thinking == "budget":
            self._budget(level)
        else:
            self._adaptive(level)

    def _adaptive(self, level: str) -> None:
        near = level if level in self.model.efforts else _NEAREST.get(level, level)
        self.body["output_config"] = {**self.body.get("output_config", {}), "effort": near}
        detail = "output_config.effort" if near == level else f"output_config.effort {near}"
        if self._forced:
            detail += "; no thinking is asked for, since a tool must be called"
        else:
            self.body["thinking"] = {"type": "adaptive"}
            self._thinks = True
        self._say("reasoning_effort", "renamed", f"sent as {detail}")

    def _budget(self, level: str) -> None:
        most = self.body["max_tokens"]
        if self._forced:
            self._drop_effort("a tool must be called, which the provider refuses while the model thinks")
        elif most <= LEAST_BUDGET:
            self._drop_effort(f"max_tokens leaves no room for thinking, which takes {LEAST_BUDGET} tokens")
        elif self._conversation.unsigned_calls:
            self._drop_effort("the tool calls that are answered came back without their reasoning_details")
        else:
            tokens = max(LEAST_BUDGET, min(int(most * _SHARES[level]), MOST_BUDGET))
            self.body["thinking"] = {"type": "enabled", "budget_tokens": tokens}
            self._thinks = True
            self._say("reasoning_effort", "renamed", f"sent as thinking.budget_tokens {tokens}")

    def _no_thinking(self) -> None:
        if not self.model.thinks_unasked:
            self._say("reasoning_effort", "renamed", "none is what happens where no thinking is asked for")
        elif self.model.still is not None:
            self.body["thinking"] = {"type": self.model.still}
            self._say("reasoning_effort", "renamed", f"sent as thinking {self.model.still}")
        else:
            self.body["output_config"] = {**self.body.get("output_config", {}), "effort": "low"}
            self._say("reasoning_effort", "renamed", "sent as output_config.effort low, since the model always thinks")

    def _drop_effort(self, detail: str) -> None:
        self._say("reasoning_effort", "dropped", detail)

    # Hints

    def _sample(self) -> None:
        given = {name: self.fields.pop(name) for name in SAMPLING if name in self.fields}
        if not self._sampling:
            for name in given:
                self._say(name, "dropped", "the model takes no such field")
            return
        if self._thinks:
            for name in given:
                self._say(name, "dropped", "not taken while the model thinks")
            return
        if given.get("top_k", 1) < 1:
            del given["top_k"]
            self._say("top_k", "dropped", "it asks for what happens anyway")
        if given.get("temperature", 0) > 1:
            self._say("temperature", "renamed", f"{given['temperature']} sent as 1, the most the provider takes")
            given["temperature"] = 1
        if "temperature" in given and "top_p" in given and not self.model.sampling_together:
            del given["top_p"]
            self._say("top_p", "dropped", "not taken beside temperature")
        self.body.update(given)

    def _user(self, user: str | None, safety: str | None) -> None:
        name = "safety_identifier" if safety else "user"
        given = safety or user or ""
        if len(given) > LONGEST_USER:
            self._say(name, "dropped", f"the provider takes {LONGEST_USER} characters at most")
        elif given:
            self.body["metadata"] = {"user_id": given}
            self._say(name, "renamed", "sent as metadata.user_id")
        if safety and user:
            self._say("user", "dropped", "safety_identifier is given too")
