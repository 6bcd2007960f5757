"""The outcome of a check in words: a line for each check, what was signed, what it means, what it does not mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from .verify import LEVELS, Verdict

MEANS = "the holder of this key signed these digests, this route and these counts at about this time"
DOES_NOT_MEAN = "it does not prove which model or weights answered, nor that the signer kept no copy"


def lines(verdict: Verdict) -> Iterator[str]:
    """For a terminal; what was not checked is said as plainly as what passed."""
    for check in verdict.checks:
        yield f"{check.mark}  {check.name:<10} {_shown(check.text)}"
    yield ""
    if verdict.claims is not None and verdict.level is not None:
        yield from _claims(verdict.claims)
        yield ""
    yield _conclusion(verdict)


def _claims(claims: Mapping[str, Any]) -> Iterator[str]:
    response = claims["response"]
    route = claims["routed_model"] or "no route"
    usage = f"{claims['prompt_tokens']} prompt, {claims['completion_tokens']} completion ({claims['usage_source']})"
    yield f"issued     {_moment(claims['iat'])} by {_shown(claims['iss'])}"
    yield f"asked      {_shown(claims['requested_route'])} at {_shown(claims['request']['endpoint'])}"
    yield f"answered   {_shown(route)}{' after failover' if claims['failover'] else ''}, {response['outcome']}"
    yield f"tokens     {usage if claims['prompt_tokens'] is not None else 'none'}"


def _conclusion(verdict: Verdict) -> str:
    if verdict.level is None:
        revoked = "its key is revoked, and nothing shows that it was logged before that."
        return f"FAIL: {'this is not a receipt of a key that was given.' if verdict.before is None else revoked}"
    words = f"L{verdict.level} {LEVELS[verdict.level]}"
    if not verdict.ok:
        return f"FAIL: the signature counts ({words}), but not everything that was checked agrees with it."
    lacks = []
    if verdict.level < 1:
        lacks.append("not shown to be logged")
    if verdict.level < 2:
        lacks.append("unwitnessed")
    if verdict.level < 3:
        named = verdict.claims is not None and verdict.claims["router_attestation"] is not None
        lacks.append("evidence not checked" if named else "not attested")
    return f"PASS: {words}; {', '.join(lacks)}.\nIt means: {MEANS}; {DOES_NOT_MEAN}."


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} (no moment of any calendar)"


def _shown(text: str) -> str:
    """A text from somewhere else, without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:500])


def as_json(verdict: Verdict) -> str:
    """For programs."""
    return json.dumps(
        {
            "ok": verdict.ok,
            "level": verdict.level,
            "checks": [check._asdict() for check in verdict.checks],
            "claims": verdict.claims,
        },
        ensure_ascii=False,
    )
