"""What a mocked provider is told to say, in words that belong to no provider: `Reply`, `Usage`, `Fault`; and `Asked`.

One `Reply` reads alike wherever it is said: each dialect of `sealgate.testing.mock` puts it into its provider's own
form, whole or as a stream, as the request asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from sealgate.testing.openai_wire import GREETING, tool
from sealgate.testing.received import Received

Json = dict[str, Any]
Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]

Refused: TypeAlias = Literal[
    "rate_limit", "quota", "overload", "server_error", "auth", "not_found", "bad_request", "context_length",
    "content_filter",
]  # fmt: skip
Struck: TypeAlias = Literal[
    "cut", "reset", "stall", "silent", "empty", "html", "truncated", "not_json", "bytewise", "gzip"
]
REFUSED: tuple[Refused, ...] = get_args(Refused)
"""What a provider says no with, each in its own words and with its own status."""
STRUCK: tuple[Struck, ...] = get_args(Struck)
"""What happens to a good answer on its way."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of an answer. ``cached`` and ``written`` lie inside ``prompt``, ``reasoning`` inside ``completion``.

    Where a provider counts one of them beside its whole, its mock does so too: the sum is the same.
    """

    prompt: int = 30
    completion: int = 12
    cached: int = 0
    written: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer, or what a provider takes for one."""

    text: str | None = None
    """Streamed word by word. Unset: a greeting, unless there is something else to say."""
    _: KW_ONLY
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """Calls as `tool` makes them; ``tool("now", {})`` is one without arguments."""
    reasoning: str | None = None
    """What was thought before; signed where the provider signs."""
    signature: str = "signature-of-the-mock"
    data: Any = None
    """An answer in a prescribed form: the value. Where the request makes the model call a tool for it, it does."""
    refusal: str | None = None
    """The model will not answer, and says so in these words."""
    finish: Finish | None = None
    """Unset: what follows from the rest."""
    usage: Usage | None = Usage()
    """None: the provider says nothing of it."""
    model: str | None = None
    """The model that claims to answer; unset: the one asked for."""
    delay: float = 0.0
    """Seconds before each event of a stream but the first, and before a whole answer."""

    @property
    def content(self) -> str | None:
        """The text, the greeting included; None where something else is said instead."""
        silent = self.tool_calls or self.refusal is not None or self.data is not None
        return GREETING if self.text is None and not silent else self.text

    @property
    def reason(self) -> Finish:
        """Why it ends."""
        if self.finish is not None:
            return self.finish
        return "content_filter" if self.refusal is not None else "tool_calls" if self.tool_calls else "stop"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong: ``Fault("rate_limit", retry_after=2)``, ``Fault("cut", after=3)``.

    The names are `REFUSED`, which are the provider's own errors, and `STRUCK`, which happen on the way.
    """

    name: Refused | Struck
    _: KW_ONLY
    after: int | None = None
    """How many events of a stream come first. An error by its status, unless this is set; a cut after 3 events."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait, said in its own way. Unset: nothing is said of it."""
    text: str | None = None
    """The provider's sentence; unset: one that it could have said."""
    reply: Reply = Reply()
    """The answer that goes wrong."""

    def __post_init__(self) -> None:
        if self.name not in (*REFUSED, *STRUCK):
            raise ValueError(f"there is no fault {self.name!r}; there are {', '.join((*REFUSED, *STRUCK))}")


class Asked(NamedTuple):
    """One request that reached a mocked provider, understood."""

    received: Received
    model: str | None
    """The model asked for, wherever the provider's API names it."""
    stream: bool
    body: Any
    """The body as JSON; None if it is not JSON."""

    @property
    def text(self) -> str:
        """What the user said last, whatever the form."""
        turns = [turn for turn in _turns(self.body) if turn.get("role") in ("user", None)]
        return _text(turns[-1].get("content") or turns[-1].get("parts")) if turns else ""

    @property
    def path(self) -> str:
        """The request target, query included."""
        return self.received.path

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        return self.received.headers


def _turns(body: Any) -> list[Json]:
    if not isinstance(body, dict):
        return []
    if "inputs" in body:
        return [{"role": "user", "content": body["inputs"]}]
    found = body.get("messages") or body.get("contents")
    return [turn for turn in found if isinstance(turn, dict)] if isinstance(found, list) else []


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def in_form(data: Any, schema: Any) -> str:
    """``data`` as the text of an answer: JSON where a schema is prescribed, else a text as it is."""
    if schema is None and isinstance(data, str):
        return data
    return json.dumps(held(data, schema), ensure_ascii=False)


def held(data: Any, schema: Any) -> Any:
    """``data`` as a model would give it to this schema: inside its only property, where an object is demanded."""
    if isinstance(data, dict) or not isinstance(schema, dict):
        return data
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict) and len(properties) == 1:
        return {next(iter(properties)): data}
    return data


def arguments(call: Mapping[str, Any]) -> tuple[str, str, Any]:
    """Id, name and arguments (an object) of a call as `tool` makes it."""
    function = call["function"]
    return call["id"], function["name"], json.loads(function["arguments"] or "{}")


__all__ = ["REFUSED", "STRUCK", "Asked", "Fault", "Finish", "Refused", "Reply", "Struck", "Usage", "arguments", "held",
           "in_form", "tool"]  # fmt: skip
