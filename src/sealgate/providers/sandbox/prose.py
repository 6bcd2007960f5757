"""What the sandbox says: who it is, what it was sent, and filler where length was asked for.

Every text is a function of the conversation, the seed and the number of the choice.
"""

from __future__ import annotations

import re

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.conversation import Conversation
from sealgate.providers.sandbox.words import sentence

HONEST = "This is Sealgate's offline sandbox, not a language model."
GIST = 240
"""Characters of the last user message that an answer repeats."""
MOST_WORDS = 4_000
"""The longest text that a wish in words ("500 words") gets."""

_WORDS_WANTED = re.compile(r"\b(\d{1,6})[ -](words?|sentences?|paragraphs?|lines?)\b", re.IGNORECASE)
_WORDS_EACH = {"w": 1, "s": 11, "p": 60, "l": 11}
_LONG = re.compile(r"\b(?:essay|story|article|long|detailed|poem|report)\b", re.IGNORECASE)
_LONG_WORDS = 120
_READ = 2_000
"""How much of a user's message is searched for wishes."""


def answer(talk: Conversation, chance: Chance, index: int, n: int) -> str:
    """The text of one choice of an answer."""
    parts = [HONEST]
    if n > 1:
        parts.append(f"Answer {index + 1} of {n}.")
    parts += [f"The tool {name or '(no name)'} said: {gist(text) or '(nothing)'}" for name, text in talk.results]
    if not talk.results:
        said = gist(talk.text)
        parts.append(f'You wrote: "{said}"' if said else "You sent no text.")
    parts += talk.seen
    wanted = words_wanted(talk.text)
    if wanted:
        parts.append("You asked for a long text, so here is filler.")
    parts.append(sentence(chance))
    if wanted:
        parts.append(filler(chance, wanted))
    return " ".join(parts)


def words_wanted(text: str) -> int:
    """How many words of filler the user's message asks for; 0 for an ordinary question."""
    found = _WORDS_WANTED.search(text, 0, _READ)
    if found:
        return min(int(found[1]) * _WORDS_EACH[found[2][0].lower()], MOST_WORDS)
    return _LONG_WORDS if _LONG.search(text, 0, _READ) else 0


def filler(chance: Chance, words: int) -> str:
    """At least that many words of filler sentences."""
    made: list[str] = []
    while words > 0:
        made.append(sentence(chance))
        words -= made[-1].count(" ") + 1
    return " ".join(made)


def fill_tokens(text: str, chance: Chance, wanted: int) -> list[str]:
    """The tokens of the text, then filler, exactly ``wanted`` of them."""
    found = tokens.split(text)
    while len(found) < wanted:
        found += tokens.split(" " + sentence(chance))
    return found[:wanted]


def reasoning(talk: Conversation, chance: Chance, effort: str) -> str:
    """Text that stands where a model's reasoning would be; longer for more effort."""
    parts = [
        f"The sandbox does not think; this text stands where reasoning would be. "
        f"The last message came from the {talk.last_role} and has {tokens.count(talk.text)} tokens.",
    ]
    parts += [sentence(chance) for _ in range(_EFFORT.get(effort, 1))]
    return " ".join(parts)


_EFFORT = {"minimal": 0, "low": 1, "medium": 2, "high": 3, "xhigh": 4, "max": 5}

REFUSAL = "This is Sealgate's offline sandbox, and the model name 'refuse' tells it to refuse every request."


def gist(text: str, longest: int = GIST) -> str:
    """The text on one line, cut between words where it is long."""
    line = " ".join(text[: longest * 4].split())
    if len(line) <= longest and len(text) <= longest * 4:
        return line
    return line[:longest].rpartition(" ")[0] + " …" if " " in line[:longest] else line[:longest] + "…"
