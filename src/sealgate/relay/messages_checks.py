"""What Anthropic refuses of a request whose form is right: checked at the door, so that every model answers alike.

Source: the Messages API's own errors, and platform.claude.com/docs/en/build-with-claude/extended-thinking.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sealgate.errors import Problem
from sealgate.providers.base import Json
from sealgate.relay.messages_shapes import MessagesRequest, ThinkingEnabled

INTERLEAVED = "interleaved-thinking-"
"""The beta with which a budget is that of all thinking between calls of tools, and may be beyond ``max_tokens``."""

_BLANKS = b" \r\n\t"
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" + _BLANKS


def check_budget(typed: MessagesRequest, betas: Sequence[str]) -> None:
    """Raises `Problem` where thinking would leave nothing for the answer."""
    thinking = typed.thinking
    if not isinstance(thinking, ThinkingEnabled) or thinking.budget_tokens < typed.max_tokens:
        return
    if not any(beta.startswith(INTERLEAVED) for beta in betas):
        at = "thinking.budget_tokens"
        raise Problem("invalid_parameter", f"{at}: max_tokens must be more than this.", param=at)


def check_names(offered: Iterable[Json]) -> None:
    """Raises `Problem` where two tools have one name."""
    names: set[str] = set()
    for place, tool in enumerate(offered):
        name = tool.get("name")
        if name in names:
            at = f"tools[{place}].name"
            raise Problem("invalid_parameter", f"{at}: another tool has this name too.", param=at)
        if name is not None:
            names.add(name)


def check_turns(turns: Sequence[Json]) -> None:
    """Raises `Problem` where a user says nothing, or where calls of tools and their results do not belong together."""
    calls, before = _Calls(), ""
    for index, turn in enumerate(turns):
        at, role, content = f"messages[{index}].content", turn["role"], turn["content"]
        if role == "user" and not _says(content):
            raise Problem("invalid_messages", f"{at}: this turn is empty.", param=at)
        if role == "assistant" and before == "user":
            calls.end(f"messages[{index - 1}].content")
        if not isinstance(content, str):
            calls.take(content, at)
        before = role if role != "system" else before
    if before == "user":
        calls.end(f"messages[{len(turns) - 1}].content")


def _says(content: str | list[Json]) -> bool:
    if isinstance(content, str):
        return bool(content)
    return any(block["type"] != "text" or block["text"] for block in content)


class _Calls:
    """The calls of a conversation so far: each is answered once, in the turn behind it.

    Those that wait have ids of their own; some upstreams use an id again once it has its result.
    """

    def __init__(self) -> None:
        self._made: set[str] = set()
        self._open: dict[str, None] = {}

    def take(self, blocks: Iterable[Json], at: str) -> None:
        for place, block in enumerate(blocks):
            if block["type"] == "tool_use":
                self._call(block["id"], f"{at}[{place}].id")
            elif block["type"] == "tool_result":
                self._result(block["tool_use_id"], f"{at}[{place}].tool_use_id")

    def end(self, at: str) -> None:
        """The turn that answers is over."""
        if self._open:
            name = next(iter(self._open))[:64]
            raise Problem("invalid_messages", f"{at}: the result of the call {name!r} is missing.", param=at)

    def _call(self, name: str, at: str) -> None:
        if name in self._open:
            raise Problem("invalid_messages", f"{at}: another call that has no result yet has this id.", param=at)
        self._made.add(name)
        self._open[name] = None

    def _result(self, name: str, at: str) -> None:
        if name not in self._open:
            why = "this call has a result already" if name in self._made else "there is no call of that id before it"
            raise Problem("invalid_messages", f"{at}: {why}.", param=at)
        del self._open[name]


def is_base64(text: str) -> bool:
    """Whether a text can be base64 (RFC 4648, section 4); white space in it is passed over."""
    if not text.isascii():
        return False
    digits = text.encode().rstrip(b"=" + _BLANKS)
    return not digits.translate(None, _DIGITS) and len(digits.translate(None, _BLANKS)) % 4 != 1
