"""Structured output where a provider cannot hold its model to it: asked for as well as can be, checked, repaired once.

Asked for in the provider's own way, where its wire knows one (a tool that must be called, a schema of which only a part
is enforced), else in words.

What does not satisfy the schema then is a failure of the route, never an answer. Until it is checked nothing is sent,
so a stream in this mode comes at once, after comments that keep it alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.providers.capabilities import missing, needed, schema_in
from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import Checker
from sealgate.providers.sandbox.schema.shape import Schemas
from sealgate.relay import finish
from sealgate.relay.attempt import NO_EVIDENCE, Attempt
from sealgate.relay.catalog import Route, Target
from sealgate.relay.upstreams import Upstreams

PRESCRIBED = frozenset({"json_object", "json_schema", "guided_json", "guided_choice"})
"""Capabilities that a wire may only emulate; see `sealgate.providers.base.Wire.holds`."""
CHECKABLE = PRESCRIBED | {"tools_with_format"}
"""Capabilities that a route need not have, because what comes can be checked."""
UNCHECKED = frozenset({"length", "content_filter", "tool_calls"})
"""Finish reasons of answers that are none to the schema, and pass as they are."""

ASK = "Answer with one JSON document and nothing else. It must satisfy this JSON Schema:\n"
REPAIR = "That is not one JSON document that satisfies the schema. Answer again: the corrected document, nothing else."
CHOOSE = "Answer with exactly one of these texts and nothing else:\n"
CHOOSE_AGAIN = "That is none of the texts. Answer again: one of them, nothing else."
CHECKED = "checked against the schema and repaired once"
EMULATED = f"asked for in words, {CHECKED}"

_PARAMETERS = ("guided_choice", "guided_json", "response_format")
"""Where a form may be prescribed; the first of them says most."""

_encode = msgspec.json.Encoder().encode


def schema_of(fields: Json) -> Any:
    """The schema that a request holds its answer to, or None; a choice of texts as a schema of a text."""
    if "guided_choice" in fields:
        return {"enum": fields["guided_choice"]}
    if "guided_json" in fields:
        return schema_in(fields["guided_json"])
    form = fields.get("response_format") or {}
    if form.get("type") == "json_schema":
        return form["json_schema"].get("schema", {})
    return {"type": "object"} if form.get("type") == "json_object" else None


def is_held(route: Route, fields: Json, wanted: frozenset[str]) -> bool:
    """Whether the provider itself holds the answer to what is prescribed, as far as the route can do it at all."""
    return wanted.isdisjoint(PRESCRIBED) or route.account.kind.wire.holds(fields, route.upstream_model)


def can_check(fields: Json) -> bool:
    """Whether the request's schema can be checked here."""
    schema = schema_of(fields)
    if schema is None:
        return False
    try:
        schemas = Schemas(schema)
        for reference in _references(schema):
            schemas.resolve(reference)
    except UnsupportedError:
        return False
    return True


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def as_sent(prompt: Prompt, route: Route) -> Prompt:
    """The request as it is sent to a route that cannot be held to its schema: as its wire does it, or in words."""
    if missing(route.capabilities, needed(prompt.fields)):
        return _in_words(prompt, route)
    return replace(prompt, stream=False)


def _in_words(prompt: Prompt, route: Route) -> Prompt:
    asked = prompt.fields
    fields = {name: value for name, value in asked.items() if name not in _PARAMETERS}
    able, texts = route.capabilities, asked.get("guided_choice")
    if texts is None and "json_object" in able and ("tools" not in asked or "tools_with_format" in able):
        fields["response_format"] = {"type": "json_object"}
    said = ASK + _encode(schema_of(asked)).decode() if texts is None else CHOOSE + _encode(texts).decode()
    order = {"role": "system", "content": said}
    return replace(prompt, fields={**fields, "messages": [order, *asked["messages"]]}, stream=False, native=None)


class CheckedAttempt:
    """As `Attempt`, for routes that cannot be held to the request's schema: at most two upstream calls.

    ``may_repair`` is asked before the second one.
    """

    marked = True
    heavy = False

    def __init__(
        self,
        upstreams: Upstreams,
        target: Target,
        prompt: Prompt,
        background: set[asyncio.Task[None]],
        may_repair: Callable[[], bool],
    ) -> None:
        self.over = False
        self.status: int | None = None
        self.adjustments: Sequence[Adjustment] = ()
        self.sent = b""
        self.evidence = NO_EVIDENCE
        """The body of the call that was answered with what goes out."""
        self._upstreams = upstreams
        self._target = target
        self._prompt = prompt
        self._background = background
        self._may_repair = may_repair
        self._plain = "guided_choice" in prompt.fields
        self._schemas = Schemas(schema_of(prompt.fields))
        self._events: Iterable[Json] = ()

    async def open(self, limits: Limits) -> None:
        """Generate until the answer satisfies the schema. Raises `UpstreamError`."""
        asked = self._prompt.fields
        prompt = as_sent(self._prompt, self._target.route)
        answer = await self._generate(prompt, limits)
        if not self._accept(answer):
            if not self._may_repair():
                raise UpstreamError(Failure.SCHEMA)
            said = answer["choices"][0]["message"].get("content") or ""
            order = CHOOSE_AGAIN if self._plain else REPAIR
            again = [{"role": "assistant", "content": said}, {"role": "user", "content": order}]
            fields = {**prompt.fields, "messages": prompt.fields["messages"] + again}
            first, answer = answer, await self._generate(replace(prompt, fields=fields, native=None), limits)
            answer["usage"] = _sum(first.get("usage"), answer.get("usage"))
            if not self._accept(answer):
                raise UpstreamError(Failure.SCHEMA)
        name = next(name for name in _PARAMETERS if name in asked)
        detail = EMULATED if prompt.fields["messages"] is not asked["messages"] else CHECKED
        self.adjustments = [*self.adjustments, Adjustment(name, "emulated", detail)]
        self._events = _streamed(answer) if self._prompt.stream else (answer,)

    async def read(self) -> Iterable[Json]:
        self.over = True
        return self._events

    def set_silence(self, seconds: float) -> None:
        """Nothing comes from the upstream any more."""

    def close(self) -> None:
        """Each call was closed when it ended."""

    async def _generate(self, prompt: Prompt, limits: Limits) -> Json:
        """One whole answer."""
        attempt = Attempt(self._upstreams, self._target, prompt, self._background)
        try:
            await attempt.open(limits)
            self.adjustments, self.sent = attempt.adjustments, attempt.sent
            self.evidence = attempt.evidence
            found: Json | None = None
            while not attempt.over:
                for event in await attempt.read():
                    found = event
        finally:
            self.status = attempt.status
            attempt.close()
        try:
            message = found["choices"][0]["message"]  # type: ignore[index]
        except (IndexError, KeyError, TypeError):
            message = None
        if found is None or not isinstance(message, dict):
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no message")
        return found

    def _accept(self, answer: Json) -> bool:
        """Whether the answer may go out; its content is then the document alone."""
        choice = answer["choices"][0]
        message = choice["message"]
        calls = message.get("tool_calls")
        reason = finish.reason(choice.get("finish_reason") or "stop", called=bool(calls))
        if reason in UNCHECKED or message.get("refusal") or calls:
            return True
        content = message.get("content")
        if not isinstance(content, str):
            return False
        text = content.strip() if self._plain else _without_fence(content.strip())
        try:
            value = text if self._plain else msgspec.json.decode(text)
            held = Checker(self._schemas, Budget()).ok(self._schemas.root, value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UnsupportedError):
            return False
        if held:
            message["content"] = text
        return held


def _without_fence(text: str) -> str:
    """The inside of a fenced code block, which models like to put around a document."""
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") + 1 : -3].strip()
    return text


def _sum(one: Any, other: Any, depth: int = 2) -> Any:
    """Usage of both generations: counts, and the details that some are made of."""
    if depth and isinstance(one, dict) and isinstance(other, dict):
        return {name: _sum(one.get(name), other.get(name), depth - 1) for name in one | other}
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return other if one is None else one


def _streamed(answer: Json) -> list[Json]:
    """A whole answer as the chunks of a stream."""
    choice = answer["choices"][0]
    message = {name: value for name, value in choice["message"].items() if value is not None}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    rest = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    stopped = {name: choice[name] for name in finish.TELLING if name in choice}
    return [
        {
            **rest,
            "choices": [{"index": 0, "delta": message, "logprobs": choice.get("logprobs"), "finish_reason": None}],
        },
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice.get("finish_reason"), **stopped}]},
        {"choices": [], "usage": answer.get("usage")},
    ]
