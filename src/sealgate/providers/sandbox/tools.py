"""The tools a request offers, which of them the sandbox calls, and with what.

It calls one tool, or two where parallel calls are allowed and the user's words name a second tool or a second place.
With ``auto`` it calls only when the last message is the user's, so that a tool loop comes to an end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.conversation import Conversation
from sealgate.providers.sandbox.guided import Guide, custom_writer
from sealgate.providers.sandbox.hints import Hints, read_hints
from sealgate.providers.sandbox.refused import RefusedError
from sealgate.providers.sandbox.schema.json_text import json_writer
from sealgate.providers.sandbox.words import sentence

Json = dict[str, Any]

_WORD = re.compile(r"[a-z]{3,}")
_READ = 2_000
_TWICE = re.compile(r"\b(?:and|both|each|compare|versus|vs)\b", re.IGNORECASE)
_OBJECT: Json = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. ``kind`` is ``function``, ``custom``, or ``legacy`` for the deprecated ``functions``.

    ``write`` makes the arguments as a JSON text, or the input of a custom tool.
    """

    name: str
    kind: str
    words: frozenset[str]
    write: Callable[[Chance, Hints], str]


class Call(NamedTuple):
    """A tool call: its id, the tool, and the arguments or input as text."""

    id: str
    tool: Tool
    text: str


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that may be called. ``mode`` is ``auto``, ``required`` or ``named`` (exactly one call)."""

    tools: tuple[Tool, ...]
    mode: str
    parallel: bool

    def wants_call(self, talk: Conversation) -> bool:
        """Whether the next answer calls tools."""
        return self.mode != "auto" or talk.last_role == "user"

    def calls(self, talk: Conversation, chance: Chance) -> list[Call]:
        """The calls of one choice, with arguments that satisfy the tools' schemas. Raises `RefusedError`."""
        hints = read_hints(talk.text)
        made = []
        for index, tool in enumerate(self._chosen(talk.text, hints)):
            text = tool.write(chance.fork(index), hints.turned(index))
            made.append(Call(f"call_{chance.bits():016x}{chance.bits() >> 32:08x}", tool, text))
        return made

    def _chosen(self, text: str, hints: Hints) -> list[Tool]:
        said = frozenset(_WORD.findall(text[:_READ].lower()))
        ranked = sorted(self.tools, key=lambda tool: -len(tool.words & said))
        first = ranked[0]
        if self.mode == "named" or not self.parallel:
            return [first]
        if len(ranked) > 1 and ranked[1].words & said:
            return [first, ranked[1]]
        if len(hints.names) > 1 and _TWICE.search(text, 0, _READ):
            return [first, first]
        return [first]


def read_tools(body: Json) -> Toolbox | None:
    """The tools of a request that may be called, None where there are none. Raises `RefusedError`."""
    if body.get("functions") is not None:
        return _legacy(body)
    offered = body.get("tools")
    choice = body.get("tool_choice")
    if offered is None or offered == []:
        if choice not in (None, "none", "auto"):
            raise RefusedError("'tool_choice' is only allowed with 'tools'.", param="tool_choice")
        return None
    if not isinstance(offered, list):
        raise RefusedError("'tools' must be a list.", param="tools", code="invalid_type")
    tools = tuple(_tool(each, f"tools[{index}]") for index, each in enumerate(offered))
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RefusedError(
            "'parallel_tool_calls' must be true or false.", param="parallel_tool_calls", code="invalid_type"
        )
    return _choose(tools, choice, parallel is not False)


def _choose(tools: tuple[Tool, ...], choice: Any, parallel: bool) -> Toolbox | None:
    """What ``tool_choice`` leaves of the tools."""
    if choice == "none":
        return None
    if choice is None or choice in ("auto", "required"):
        return Toolbox(tools, choice or "auto", parallel)
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools":
        allowed = choice.get("allowed_tools")
        mode = allowed.get("mode", "auto") if isinstance(allowed, dict) else None
        listed = allowed.get("tools") if isinstance(allowed, dict) else None
        if mode not in ("auto", "required") or not isinstance(listed, list) or not listed:
            raise RefusedError("'allowed_tools' needs a mode and a list of tools.", param="tool_choice")
        kept = tuple(_named(tools, each) for each in listed)
        return Toolbox(tuple(dict.fromkeys(kept)), mode, parallel)
    if kind in ("function", "custom"):
        return Toolbox((_named(tools, choice),), "named", parallel)
    raise RefusedError("'tool_choice' has a form that the sandbox does not know.", param="tool_choice")


def _named(tools: Sequence[Tool], choice: Any) -> Tool:
    kind = choice.get("type", "function") if isinstance(choice, dict) else None
    holder = choice.get(kind) if isinstance(kind, str) else None
    name = holder.get("name") if isinstance(holder, dict) else None
    for tool in tools:
        if tool.name == name and tool.kind == kind:
            return tool
    raise RefusedError(f"'tool_choice' names {name!r}, which is not among the tools.", param="tool_choice")


def _tool(tool: Any, param: str) -> Tool:
    kind = tool.get("type", "function") if isinstance(tool, dict) else None
    holder = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(holder, dict):
        raise RefusedError("A tool must be a function or a custom tool.", param=param)
    if kind == "function":
        return _function(holder, f"{param}.function", "function")
    guide = custom_writer(holder.get("format"), f"{param}.custom.format")
    return Tool(_name(holder, f"{param}.custom"), "custom", _words(holder), guide.write if guide else _free_text)


def _function(holder: Json, param: str, kind: str) -> Tool:
    schema = holder.get("parameters")
    if schema is None:
        schema = {"type": "object", "additionalProperties": False}
    where = f"{param}.parameters"
    if not isinstance(schema, dict):
        raise RefusedError("'parameters' must be an object.", param=where, code="invalid_type")

    def write(chance: Chance, hints: Hints) -> str:
        # Read only when the tool is called: of many tools most are not.
        return Guide(where, lambda: json_writer(schema, also=(_OBJECT,))).write(chance, hints)

    return Tool(_name(holder, param), kind, _words(holder), write)


def _name(holder: Json, param: str) -> str:
    name = holder.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError("A tool needs a name.", param=f"{param}.name")
    return name


def _words(holder: Json) -> frozenset[str]:
    """The words of the tool's name, by which a user's message asks for it."""
    name = str(holder.get("name", ""))
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
    return frozenset(_WORD.findall(apart.lower())) - {"get", "the", "set", "and", "for"}


def _free_text(chance: Chance, hints: Hints) -> str:
    return hints.text or sentence(chance)


def _legacy(body: Json) -> Toolbox | None:
    """The deprecated ``functions`` and ``function_call``: one call at most, answered as ``function_call``."""
    offered, choice = body["functions"], body.get("function_call")
    if not isinstance(offered, list) or not offered or not all(isinstance(each, dict) for each in offered):
        raise RefusedError(
            "'functions' must be a list of objects with at least one.", param="functions", code="invalid_type"
        )
    if choice == "none":
        return None
    tools = tuple(_function(each, f"functions[{index}]", "legacy") for index, each in enumerate(offered))
    if choice is None or choice == "auto":
        return Toolbox(tools, "auto", parallel=False)
    name = choice.get("name") if isinstance(choice, dict) else None
    for tool in tools:
        if tool.name == name:
            return Toolbox((tool,), "named", parallel=False)
    raise RefusedError(f"'function_call' names {name!r}, which is not among the functions.", param="function_call")
