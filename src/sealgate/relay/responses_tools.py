"""The tools of a Responses request, as functions of a chat and back."""

from __future__ import annotations

from collections.abc import Sequence

from sealgate.errors import Problem
from sealgate.formats.freeform import wrapped
from sealgate.providers.base import Adjustment, Json

SEARCH = "tool_search"
UNKNOWN = "this endpoint does not know it"
JOINT = "\n\n"
"""Between texts that were said apart and have to be one."""
MAX_NAME = 64
"""Characters of a function's name that providers take."""

_KNOWN = frozenset({"type", "name", "description", "parameters", "strict", "format", "tools", "execution"})


class Offered:
    """The tools of a request: what each is called upstream, and what it is to the caller.

    Functions alone are known everywhere. A custom tool of free input is offered as a function with one text; one with a
    grammar goes out as it is, to the routes that know such. Tools in a namespace have it before their names. A search
    for tools that the caller carries out is a function too; what it finds is offered from then on.
    """

    def __init__(self) -> None:
        self.tools: list[Json] = []
        self.custom: set[str] = set()
        """Upstream names of functions that are custom tools to the caller."""
        self.spaced: dict[str, tuple[str, str]] = {}
        """Upstream names of tools in namespaces, and the namespace and name that they have for the caller."""
        self.search = False
        """Whether the caller searches for tools."""
        self.lost: dict[Adjustment, None] = {}
        self._grammars: set[str] = set()
        self._names: set[str] = set()

    def add(self, tool: Json, at: str, space: Json | None = None) -> None:
        """One of the request's tools, which stands ``at`` a place, or in a namespace there."""
        for name in sorted(tool.keys() - _KNOWN):
            if tool[name] not in (None, False):
                self.lost[Adjustment(f"{at}.{name}", "dropped", UNKNOWN)] = None
        if tool["type"] == "namespace":
            for place, inner in enumerate(tool["tools"]):
                self.add(inner, f"{at}.tools[{place}]", tool)
            return
        if self.has(name := self._name(tool, space)):
            raise Problem("invalid_parameter", f"{at}: the name {name!r} is given twice.", param="tools")
        self._add(tool, space)

    def find(self, tools: Sequence[Json]) -> str:
        """Offer what a search has found; what it says to the model."""
        found: list[str] = []
        for tool in tools:
            space = tool if tool["type"] == "namespace" else None
            for inner in (tool,) if space is None else space["tools"]:
                found.append(self._name(inner, space))
                if not self.has(found[-1]):
                    self._add(inner, space)
        return f"These tools can be called now: {', '.join(found)}" if found else "No tools were found."

    def has(self, name: str) -> bool:
        """Whether there is a tool of that upstream name."""
        return name in self._names

    def _name(self, tool: Json, space: Json | None) -> str:
        return SEARCH if tool["type"] == SEARCH else self.name(tool["name"], space["name"] if space else None)

    def _add(self, tool: Json, space: Json | None) -> None:
        name = self._name(tool, space)
        self._names.add(name)
        if space is not None:
            said = [each["description"] for each in (space, tool) if each.get("description")]
            tool = {**tool, "description": JOINT.join(said) or None}
            self.spaced[name] = (space["name"], tool["name"])
        if tool["type"] == SEARCH:
            self.search = True
        if tool["type"] == "custom":
            self._add_custom(tool, name)
        else:
            self._add_function(tool, name)

    def name(self, name: str, namespace: str | None) -> str:
        """What a tool is called upstream."""
        return f"{namespace}__{name}"[:MAX_NAME] if namespace and namespace != name else name

    def _add_function(self, tool: Json, name: str) -> None:
        function: Json = {"name": name}
        for field in ("description", "parameters", "strict"):
            if tool.get(field) is not None:
                function[field] = tool[field]
        self.tools.append({"type": "function", "function": function})

    def _add_custom(self, tool: Json, name: str) -> None:
        form = tool.get("format") or {"type": "text"}
        described = {} if tool.get("description") is None else {"description": tool["description"]}
        if form["type"] == "grammar":
            self._grammars.add(name)
            grammar = {"syntax": form["syntax"], "definition": form["definition"]}
            custom = {"name": name, **described, "format": {"type": "grammar", "grammar": grammar}}
            self.tools.append({"type": "custom", "custom": custom})
            return
        self.custom.add(name)
        argument = {"type": "string", "description": "The tool's input, as free text."}
        schema: Json = {"type": "object", "properties": {"input": argument}, "required": ["input"]}
        schema["additionalProperties"] = False
        self.tools.append({"type": "function", "function": {"name": name, **described, "parameters": schema}})

    def choice(self, kind: str, name: str) -> Json:
        """A tool as a choice names it."""
        if kind == "custom" and name in self._grammars:
            return {"type": "custom", "custom": {"name": name}}
        return {"type": "function", "function": {"name": name}}

    def custom_call(self, call_id: str, name: str, text: str) -> Json:
        """An earlier call of a custom tool."""
        if name in self._grammars:
            return {"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}
        return function_call(call_id, name, wrapped(text))


def function_call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
