"""Parameters that a provider takes in another form, and what the caller is told of that.

The functions make the `Change` objects that rows of the provider table are written with; `adjust` applies them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sealgate.providers.base import Adjustment, Change, Json, Kind, leave_out
from sealgate.providers.capabilities import schema_in

NOT_TAKEN = "the provider takes no such field"
GUIDED_NAME = "guided_json"
"""What a schema is called where it needs a name and has none."""
_REGEX_SIGNS = frozenset("\\.^$*+?()[]{}|")
_IN_LITERALS = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def adjust(kind: Kind, fields: Json) -> tuple[Json, Sequence[Adjustment]]:
    """The caller's fields in the form this kind takes, and each change. ``fields`` is not changed."""
    changes = kind.changes
    if kind.only is None and changes.keys().isdisjoint(fields):
        return fields, ()
    body = dict(fields)
    said: list[Adjustment] = []
    for name in fields:
        if name in changes and name in body:
            said += changes[name].apply(name, fields, body)
    if kind.only is not None:
        for name in sorted(body.keys() - kind.only):
            del body[name]
            said.append(Adjustment(name, "dropped", NOT_TAKEN))
    return body, said


# By name


def renamed(to: str) -> Change:
    """The same value by another name. Where both names are given, the provider's own holds."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        value = body.pop(name)
        if to in given:
            return (Adjustment(name, "dropped", f"{to} is given too"),)
        body[to] = value
        return (Adjustment(name, "renamed", f"sent as {to}"),)

    return Change("renamed", f"`{to}`", apply)


def structured(word: str, *, as_text: bool = False) -> Change:
    """A constraint inside vLLM's ``structured_outputs``, an object as JSON text where that is wanted."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        holder, value = body.get("structured_outputs", {}), body[name]
        if type(holder) is not dict:
            return ()
        if name == "guided_json":
            value = schema_in(value) or value
        if as_text and type(value) is not str:
            value = msgspec.json.encode(value).decode()
        del body[name]
        if word in holder:
            return (Adjustment(name, "dropped", f"structured_outputs.{word} is given too"),)
        body["structured_outputs"] = {**holder, word: value}
        return (Adjustment(name, "renamed", f"sent as structured_outputs.{word}"),)

    return Change("renamed", f"`structured_outputs.{word}`", apply)


def as_format(make: Callable[[Any], Json], detail: str, read: Callable[[Any], Any] | None = None) -> Change:
    """A constraint as the provider's own kind of ``response_format``."""
    return Change("renamed", f"`response_format` {detail}", _into_format(make, "renamed", detail, read))


def schema_format(make: Callable[[Json], Json], detail: str) -> Change:
    """OpenAI's ``json_schema`` in the provider's own form."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        wanted = body[name]
        if wanted.get("type") != "json_schema":
            return ()
        body[name] = make(wanted["json_schema"].get("schema", {}))
        return (Adjustment(name, "renamed", f"sent as {detail}"),)

    return Change("renamed", f"`json_schema` as {detail}", apply)


# Emulated without loss


def guided_json(make: Callable[[Json], Json] | None = None, detail: str = "json_schema") -> Change:
    """vLLM's ``guided_json`` as ``response_format``; strict, because a constraint is what was asked for."""
    into = _into_format(make or _strict, "emulated", detail, schema_in)
    return Change("emulated", f"`response_format` {detail}", into, gives="guided_json", needs="json_schema")


def choice_as_regex(to: str | None = None, make: Callable[[Any], Json] | None = None) -> Change:
    """``guided_choice`` as a regular expression that matches exactly these texts."""
    if make is not None:
        into = _into_format(lambda options: make(alternation(options)), "emulated", "regex")
    else:
        into = _into_field(str(to), alternation)
    target = "`response_format` regex" if make else f"`{to}`"
    return Change("emulated", f"{target}, an alternation", into, gives="guided_choice", needs="guided_regex")


def choice_as_grammar(to: str | None = None, make: Callable[[Any], Json] | None = None) -> Change:
    """``guided_choice`` as a grammar of exactly these texts (GBNF)."""
    if make is not None:
        into = _into_format(lambda options: make(literals(options)), "emulated", "grammar")
    else:
        into = _into_field(str(to), literals)
    target = "`response_format` grammar" if make else f"`{to}`"
    return Change("emulated", f"{target} of these texts", into, gives="guided_choice", needs="guided_grammar")


def only_allowed(*, none: bool = False) -> Change:
    """``allowed_tools`` by offering only these; with ``none``, also the choice of none by offering no tools."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        choice = body[name]
        if none and choice == "none":
            del body[name]
            said = [Adjustment(name, "emulated", "no tools are offered")]
            if body.pop("tools", None) is not None:
                said.append(Adjustment("tools", "dropped", "tool_choice is none"))
            return said
        allowed = choice.get("allowed_tools") if type(choice) is dict else None
        offered = _among(given.get("tools", ()), allowed["tools"]) if allowed else None
        if not allowed or not offered:
            return ()
        body[name], body["tools"] = allowed["mode"], offered
        return (
            Adjustment(name, "emulated", f"sent as {allowed['mode']}"),
            Adjustment("tools", "emulated", "only the allowed ones are offered"),
        )

    choices = "`none` and `allowed_tools`" if none else "`allowed_tools`"
    return Change("emulated", f"{choices} by leaving tools out", apply)


# Other values


def effort(levels: Mapping[str, str], off: tuple[str, Any] | None = None) -> Change:
    """``reasoning_effort`` by the levels a provider knows; ``off`` is the field and value that mean ``none``."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        level = body[name]
        if level == "none" and off is not None and off[0] not in given:
            del body[name]
            body[off[0]] = off[1]
            return (Adjustment(name, "renamed", f"sent as {off[0]}"),)
        if level not in levels:
            return ()
        body[name] = levels[level]
        return (Adjustment(name, "renamed", f"{level} sent as {levels[level]}"),)

    steps = [f"{one}→{other}" for one, other in levels.items()] + ([f"none→`{off[0]}`"] if off else [])
    return Change("renamed", ", ".join(steps), apply)


def in_list() -> Change:
    """A single text as a list of one."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        if type(body[name]) is list:
            return ()
        body[name] = [body[name]]
        return (Adjustment(name, "renamed", "sent as a list"),)

    return Change("renamed", "always a list", apply)


def idle(value: Any) -> Change:
    """A value that asks for nothing is left out, where even that is refused. Any other one stays."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        if body[name] != value:
            return ()
        del body[name]
        return (Adjustment(name, "dropped", "it asks for what happens anyway"),)

    return Change("dropped", "where it asks for nothing", apply)


def only_with(name_of_other: str, change: Change) -> Change:
    """A change for where another parameter is given, too; without that, the parameter is left out."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        return (change.apply if name_of_other in given else leave_out)(name, given, body)

    return Change(change.action, f"{change.detail}, with `{name_of_other}`", apply)


def counted_logprobs() -> Change:
    """``logprobs`` as the number of tokens to tell of at each place, where others have ``top_logprobs`` for that."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        if body[name] is not True:
            del body[name]
            return (Adjustment(name, "dropped", "it asks for what happens anyway"),)
        body[name] = max(1, body.pop("top_logprobs", 1))
        said = [Adjustment(name, "renamed", "sent as a number")]
        return said + ([Adjustment("top_logprobs", "renamed", f"sent as {name}")] if "top_logprobs" in given else [])

    return Change("renamed", "as a number, with `top_logprobs`", apply)


def along(with_name: str, detail: str) -> Change:
    """What the change of another parameter takes with it, which also tells of it."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        return ()

    return Change("renamed", f"{detail}, with `{with_name}`", apply)


def messages(*, developer: bool = False, unnamed: Collection[str] = (), without: Collection[str] = ()) -> Change:
    """Messages of role ``developer`` as ``system``; ``name`` left out of messages of the roles in ``unnamed``.

    ``without`` are fields that are left out of every message, and of the calls in it.
    """

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        before = given[name]
        older = developer and "developer" in [message.get("role") for message in before]
        named = unnamed and [message for message in before if "name" in message and message.get("role") in unnamed]
        fields = [field for field in without if any(_holds(message, field) for message in before)]
        if not older and not named and not fields:
            return ()
        body[name] = [_message(each, developer=developer, unnamed=unnamed, without=without) for each in before]
        said = [Adjustment("messages[].role", "renamed", "developer sent as system")] if older else []
        return [
            *said,
            *(
                Adjustment(f"messages[].{field}", "dropped", NOT_TAKEN)
                for field in (["name"] if named else []) + fields
            ),
        ]

    details = ["role `developer` as `system`"] if developer else []
    details += [f"without `{field}`" for field in (["name"] if unnamed else []) + sorted(without)]
    return Change("renamed" if developer else "dropped", ", ".join(details), apply)


def with_reasoning(change: Change, off: tuple[str, Any]) -> Change:
    """``change``, and an empty ``reasoning_content`` for calls of tools that come back without any.

    For providers that demand it while they reason; most clients leave it out. ``off`` is the field and value that say
    that nothing is reasoned.
    """

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        said = list(change.apply(name, given, body))
        if given.get(off[0]) == off[1] or given.get("reasoning_effort") == "none":
            return said
        bare = [each.get("tool_calls") and "reasoning_content" not in each for each in body[name]]
        if any(bare):
            body[name] = [
                {**each, "reasoning_content": ""} if lacks else each
                for each, lacks in zip(body[name], bare, strict=True)
            ]
            said.append(Adjustment("messages[].reasoning_content", "emulated", "sent empty, where a call came without"))
        return said

    return Change(change.action, f"{change.detail}, calls with an empty `reasoning_content` at least", apply)


# What they are made of


def alternation(options: Iterable[str]) -> str:
    """A regular expression that matches these texts and nothing else."""
    return f"({'|'.join(''.join(_escaped(sign) for sign in option) for option in options)})"


def _escaped(sign: str) -> str:
    return "\\" + sign if sign in _REGEX_SIGNS else {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(sign, sign)


def literals(options: Iterable[str]) -> str:
    """A grammar (GBNF) of these texts and nothing else."""
    quoted = (f'"{"".join(_IN_LITERALS.get(sign, sign) for sign in option)}"' for option in options)
    return f"root ::= {' | '.join(quoted)}"


def _strict(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": GUIDED_NAME, "strict": True, "schema": schema}}


def _into_format(
    make: Callable[[Any], Json], action: str, detail: str, read: Callable[[Any], Any] | None = None
) -> Callable[[str, Json, Json], Iterable[Adjustment]]:
    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        value = body[name] if read is None else read(body[name])
        if value is None:
            return ()
        del body[name]
        body["response_format"] = make(value)
        said = [Adjustment(name, action, f"sent as response_format {detail}")]
        if "response_format" in given:
            said.append(Adjustment("response_format", "dropped", f"{name} says more"))
        return said

    return apply


def _into_field(to: str, make: Callable[[Any], Any]) -> Callable[[str, Json, Json], Iterable[Adjustment]]:
    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        value = body.pop(name)
        if to in given:
            return (Adjustment(name, "dropped", f"{to} is given too"),)
        body[to] = make(value)
        return (Adjustment(name, "emulated", f"sent as {to}"),)

    return apply


def _among(tools: Iterable[Json], allowed: Iterable[Json]) -> list[Json]:
    names = {_name(tool) for tool in allowed} - {None}
    return [tool for tool in tools if _name(tool) in names]


def _name(tool: Json) -> Any:
    """A tool's name; None where what stands there is none."""
    kind = tool.get("type", "function") if type(tool) is dict else None
    holder = tool.get(kind) if type(kind) is str else None
    name = holder.get("name") if type(holder) is dict else None
    return name if type(name) is str else None


def _holds(message: Json, field: str) -> bool:
    return bool(message.get(field)) or any(field in call for call in message.get("tool_calls") or ())


def _message(message: Json, *, developer: bool, unnamed: Collection[str], without: Collection[str]) -> Json:
    role = message.get("role")
    if role in unnamed or not message.keys().isdisjoint(without):
        gone = {"name", *without} if role in unnamed else without
        message = {key: value for key, value in message.items() if key not in gone}
    if without and (calls := message.get("tool_calls")):
        bare = [{key: value for key, value in call.items() if key not in without} for call in calls]
        message = {**message, "tool_calls": bare}
    return {**message, "role": "system"} if developer and role == "developer" else message
