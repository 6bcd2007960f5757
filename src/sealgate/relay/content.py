"""What a message or a delta holds, as OpenAI writes it: text, reasoning, log probabilities, whatever form they came in.

Shapes: OpenAI's reference of chat completions; Mistral's content chunks (docs.mistral.ai/api), Together's and the older
completions API's log probabilities (docs.together.ai/docs/logprobs), DeepSeek's for reasoning.
"""

from __future__ import annotations

from typing import Any

from sealgate.providers.base import Json
from sealgate.providers.mistral import SIGNED

BOOKKEEPING = frozenset(
    {"role", "token_id", "token_ids", "prompt_token_ids", "stop_reason", "matched_stop", "finish_reason", "index"}
)
"""Fields of messages and deltas that say nothing to a caller, and are no content either."""
UNLIKELY = -9999.0
"""OpenAI's log probability for what is too unlikely to have one."""


def split(content: Any) -> tuple[str, str]:
    """Text and reasoning of a ``content`` that may be a text or a list of parts. Raises `TypeError` for neither."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise TypeError("content is no text")
    text: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            text.append(part)
        elif part.get("type") == "text":
            text.append(part.get("text") or "")
        elif part.get("type") == "thinking":
            thoughts.append(_thought(part.get("thinking")))
    return "".join(text), "".join(thoughts)


def signed(content: Any) -> list[Json]:
    """The signatures in Mistral's ``thinking``, as entries of ``reasoning_details``: wanted back in loops of tools."""
    if not isinstance(content, list):
        return []
    return [
        {"type": "reasoning.text", "text": _thought(part.get("thinking")), "signature": part["signature"],
         "format": SIGNED, "index": index}
        for index, part in enumerate(content)
        if isinstance(part, dict) and part.get("type") == "thinking" and isinstance(part.get("signature"), str)
        and part["signature"]
    ]  # fmt: skip


def _thought(value: Any) -> str:
    """What is inside Mistral's ``thinking``: parts, each with a text; a plain text elsewhere."""
    if isinstance(value, list):
        return "".join(part if isinstance(part, str) else part.get("text") or "" for part in value)
    return value if isinstance(value, str) else ""


def reasoning(message: Json) -> str:
    """The reasoning of a message or delta, by any of its names."""
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if value and isinstance(value, str):
            return value
    return ""


def logprobs(value: Any, text: str) -> Json | None:
    """Log probabilities in OpenAI's form, of a piece of content; None where there are none."""
    if isinstance(value, bool) or value is None or value == {}:
        return None
    if isinstance(value, int | float):
        return {"content": [_token(text, value)], "refusal": None}
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("tokens"), list):
        return {"content": _of_lists(value), "refusal": None}
    found = {"content": None, "refusal": None, **value}
    return {name: _tokens(each) if isinstance(each, list) else each for name, each in found.items()}


def _tokens(found: list[Json]) -> list[Json]:
    return [_complete(each) for each in found]


def _complete(token: Json) -> Json:
    """A token with all that OpenAI's schema demands of one."""
    others = token.get("top_logprobs")
    if "bytes" in token and isinstance(others, list) and all("bytes" in each for each in others):
        return token
    alternatives = [{"bytes": _bytes(each.get("token") or ""), **each} for each in others or ()]
    return {"bytes": _bytes(token.get("token") or ""), **token, "top_logprobs": alternatives}


def _of_lists(value: Json) -> list[Json]:
    """Lists side by side, one entry for each token: tokens, their log probabilities, maybe alternatives."""
    tokens, odds = value["tokens"], value.get("token_logprobs") or ()
    others = value.get("top_logprobs")
    others = others if isinstance(others, list) else ()
    return [
        _token(token, odds[at] if at < len(odds) else None, others[at] if at < len(others) else None)
        for at, token in enumerate(tokens)
        if isinstance(token, str)
    ]


def _token(text: str, odds: Any, alternatives: Any = None) -> Json:
    found = {"token": text, "logprob": _number(odds), "bytes": _bytes(text)}
    others = alternatives.items() if isinstance(alternatives, dict) else ()
    top = [{"token": other, "logprob": _number(each), "bytes": _bytes(other)} for other, each in others]
    return {**found, "top_logprobs": top}


def _number(odds: Any) -> float:
    return odds if isinstance(odds, int | float) else UNLIKELY


def _bytes(text: str) -> list[int]:
    return list(text.encode())
