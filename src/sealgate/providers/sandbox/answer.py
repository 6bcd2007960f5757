"""What the sandbox answers: each choice as tokens, cut where limits and stops say, before anything goes on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sealgate.providers.sandbox import prose, tokens
from sealgate.providers.sandbox.chance import Chance, digest
from sealgate.providers.sandbox.hints import read_hints
from sealgate.providers.sandbox.logprobs import token_logprob
from sealgate.providers.sandbox.request import Ask
from sealgate.providers.sandbox.tools import Call

LONGEST = 32_768
"""Tokens of an answer, all choices together, however much is asked for."""
FILL = 256
"""Tokens that ``ignore_eos`` fills where the request sets no limit."""


@dataclass(slots=True)
class Called:
    """A tool call with its arguments as tokens."""

    call: Call
    pieces: list[str]


@dataclass(slots=True)
class Choice:
    """One choice. ``content`` holds the tokens of the refusal where ``refused`` is set."""

    index: int
    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    refused: bool = False
    finish: str = "stop"
    stopped: str | None = None
    """The stop text that ended it."""
    logprobs: list[dict[str, Any]] | None = None

    def count(self) -> int:
        """Completion tokens: reasoning, text, and each call's name and arguments."""
        called = sum(tokens.count(each.call.tool.name) + len(each.pieces) for each in self.calls)
        return len(self.reasoning) + len(self.content) + called


def choices(ask: Ask, kind: str) -> list[Choice]:
    """The choices of an answer by a model of that kind (a name of the table in `models`). Raises `RefusedError`."""
    # A seed may be of any size; what does not fit the generator's 64 bits is hashed into them.
    seed = ask.seed if -(1 << 62) < ask.seed < 1 << 62 else digest(str(ask.seed).encode())
    seeded = Chance(ask.talk.fingerprint).fork(seed)
    start = Chance(seeded.bits(), seeded.budget)
    return [_choice(ask, kind, index, start.fork(index)) for index in range(ask.n)]


def usage(ask: Ask, made: list[Choice]) -> dict[str, Any]:
    """OpenAI's ``usage`` for these choices."""
    written = sum(choice.count() for choice in made)
    return {
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": ask.prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": sum(len(choice.reasoning) for choice in made)},
    }


def _choice(ask: Ask, kind: str, index: int, chance: Chance) -> Choice:
    choice = Choice(index)
    left = max(1, LONGEST // ask.n) if ask.limit is None else min(ask.limit, max(1, LONGEST // ask.n))
    effort = ask.effort or ("medium" if kind == "think" else None)
    if effort is not None:
        whole = tokens.split(prose.reasoning(ask.talk, chance.fork(100), effort))
        choice.reasoning = whole[:left]
        left -= len(choice.reasoning)
    if kind == "refuse":
        choice.refused = True
        _say(choice, prose.REFUSAL, ask, left)
    elif ask.toolbox is not None and ask.toolbox.wants_call(ask.talk):
        _call(choice, ask.toolbox.calls(ask.talk, chance), left)
    elif ask.guide is not None:
        _say(choice, ask.guide.write(chance, read_hints(ask.talk.text)), ask, left)
    else:
        _talk(choice, ask, chance, left)
    if kind == "filter":
        _filter(choice)
    if ask.top is not None and choice.content:
        marks = chance.fork(200)
        choice.logprobs = [token_logprob(token, ask.top, marks) for token in choice.content]
    return choice


def _talk(choice: Choice, ask: Ask, chance: Chance, left: int) -> None:
    """Free text; with ``ignore_eos`` filled up to the limit, which then is why it ends."""
    text = prose.answer(ask.talk, chance, choice.index, ask.n)
    if not ask.ignore_eos:
        _say(choice, text, ask, left)
        return
    wanted = min(left, FILL) if ask.limit is None else left
    stopped = _say(choice, "".join(prose.fill_tokens(text, chance, wanted)), ask, left)
    choice.finish = "stop" if stopped else "length"


def _say(choice: Choice, text: str, ask: Ask, left: int) -> bool:
    """Cut the text at the limit, then at the first stop; true where a stop was found.

    A stop that the limit cuts off is not found.
    """
    pieces = tokens.split(text)
    if len(pieces) > left:
        pieces = pieces[:left]
        choice.finish = "length"
    choice.content = pieces
    if not ask.stops:
        return False
    kept = "".join(pieces)
    cut, stop = min(((at, stop) for stop in ask.stops if (at := kept.find(stop)) >= 0), default=(-1, ""))
    if cut < 0:
        return False
    choice.content = tokens.split(kept[:cut])
    choice.finish, choice.stopped = "stop", stop
    return True


def _call(choice: Choice, calls: list[Call], left: int) -> None:
    """Tool calls, the last one broken off where the limit falls."""
    choice.finish = "tool_calls"
    for call in calls:
        left -= tokens.count(call.tool.name)
        if left < 0:
            choice.finish = "length"
            return
        pieces = tokens.split(call.text)
        choice.calls.append(Called(call, pieces[:left]))
        left -= len(pieces)
        if left < 0:
            choice.finish = "length"
            return
    if calls[0].tool.kind == "legacy":
        choice.finish = "function_call"


def _filter(choice: Choice) -> None:
    """What a content filter leaves: half of the text."""
    choice.content = choice.content[: max(1, len(choice.content) // 2)]
    choice.finish, choice.stopped = "content_filter", None
