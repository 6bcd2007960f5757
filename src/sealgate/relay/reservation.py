"""What a request may cost at most, and the routes that are left when that has been weighed against a budget.

The size of the prompt is known in bytes, the length of the answer as its limit. Text has a token in three to four
bytes; with two, an answer costs less than was reserved in all but odd cases, and what it costs is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sealgate.errors import Problem
from sealgate.limits.budgets import Purse, Wish
from sealgate.providers.base import Json
from sealgate.relay.ask import Ask
from sealgate.relay.catalog import Route
from sealgate.relay.plan import Plan, Skipped

BYTES_PER_TOKEN = 2
ASSUMED_ANSWER = 8192
"""Tokens of an answer to which neither the request nor the model sets a limit."""
IMAGE_TOKENS = 4096
"""More than the providers count for one image, unless it is asked for in its original size."""
MEDIA_BYTES_PER_TOKEN = 8
"""Files and sound as base64: a dense PDF has a token in about as many."""
SOUND_TOKENS_PER_SECOND = 130
"""More than the providers count for a second of a transcription."""
STORED_FILE_TOKENS = 65_536
"""A file that the provider keeps and the request only names."""

UNPRICED = "has no price, and the key has a budget"
TOO_DEAR = "may cost more than is left of the budget"


def wish(ask: Ask, route: Route, *, checked: bool = False) -> Wish | None:
    """The most that the request can cost there; None where the route has no price.

    ``checked``: the answer may be generated twice, the second time with the first one in its prompt.
    """
    tariff = route.tariff
    if tariff is None:
        return None
    prompt = -(-ask.size // BYTES_PER_TOKEN) + _media(ask.prompt.fields.get("messages") or ())
    if ask.audio_ms:
        prompt += -(-ask.audio_ms * SOUND_TOKENS_PER_SECOND // 1000)
    limit = (route.max_output_tokens or ASSUMED_ANSWER) if ask.max_tokens is None else ask.max_tokens
    completion = limit * ask.choices
    if checked:
        prompt, completion = 2 * prompt + completion, 2 * completion
    return Wish(tariff.most(prompt, completion, ask.audio_ms), prompt, completion)


async def reserve(purse: Purse, ask: Ask, plan: Plan, currency: str) -> Plan:
    """Reserve what the dearest affordable route may cost; the plan without those that are too dear or have no price.

    Raises `Problem`: ``unpriced_model``, ``insufficient_quota``, ``storage_unavailable``.
    """
    if len(plan.targets) == 1:
        route = plan.targets[0].route
        only = wish(ask, route, checked=route in plan.checked)
        if only is None:
            raise Problem("unpriced_model", param="model")
        await purse.reserve((only,), currency)
        return plan
    known: dict[Route, Wish] = {}
    skipped = list(plan.skipped)
    for route in dict.fromkeys(target.route for target in plan.targets):
        found = wish(ask, route, checked=route in plan.checked)
        if found is None:
            skipped.append(Skipped(route, UNPRICED))
        else:
            known[route] = found
    if not known:
        raise Problem("unpriced_model", param="model")
    most = await purse.reserve(list(known.values()), currency)
    if most is None:
        return plan
    if len(skipped) == len(plan.skipped) and all(found.amount <= most for found in known.values()):
        return plan
    dear = {route for route, found in known.items() if found.amount > most}
    skipped += [Skipped(route, TOO_DEAR) for route in dear]
    kept = tuple(target for target in plan.targets if target.route in known and target.route not in dear)
    return replace(plan, targets=kept, skipped=tuple(skipped))


def _media(messages: Iterable[Json]) -> int:
    """Tokens of everything in the messages that is no text."""
    tokens = 0
    for message in messages:
        content = message.get("content")
        if type(content) is list:
            tokens += sum(map(_medium, content))
    return tokens


def _medium(part: Json) -> int:
    match part.get("type"):
        case "image_url":
            return IMAGE_TOKENS
        case "input_audio":
            return len(part["input_audio"]["data"]) // MEDIA_BYTES_PER_TOKEN
        case "file":
            data = part["file"].get("file_data")
            return len(data) // MEDIA_BYTES_PER_TOKEN if data else STORED_FILE_TOKENS
    return 0
