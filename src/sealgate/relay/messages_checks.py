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


class Calls:
    """The calls of tools in a conversation so far: each has an id of its own, and results are of calls before them."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def made(self, call: str, at: str) -> None:
        """Raises `Problem`."""
        if call in self._ids:
            raise Problem("invalid_messages", f"{at}: another call has this id too.", param=at)
        self._ids.add(call)

    def answered(self, call: str, at: str) -> None:
        """Raises `Problem`."""
        if call not in self._ids:
            raise Problem("invalid_messages", f"{at}: there is no call of that id before it.", param=at)


def is_base64(text: str) -> bool:
    """Whether a text can be base64 (RFC 4648, section 4); white space in it is passed over."""
    if not text.isascii():
        return False
    digits = text.encode().rstrip(b"=" + _BLANKS)
    return not digits.translate(None, _DIGITS) and len(digits.translate(None, _BLANKS)) % 4 != 1
