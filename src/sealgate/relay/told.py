"""From a request that has ended to what its receipt tells of it."""

from __future__ import annotations

from typing import Any

from sealgate.limits.ledger import Entry, Outcome
from sealgate.receipts.inference import Claim, sent
from sealgate.receipts.receipt import Outcome as Word
from sealgate.receipts.receipt import Told
from sealgate.relay.walk import Walk

_WORDS = {
    Outcome.OK: Word.COMPLETE,
    Outcome.DENIED: Word.REFUSED,
    Outcome.CLIENT_DISCONNECTED: Word.CLIENT_DISCONNECTED,
    Outcome.UPSTREAM_FAILED: Word.ERROR,
    Outcome.TRUNCATED: Word.TRUNCATED_UPSTREAM,
    Outcome.ERROR: Word.ERROR,
    Outcome.UNKNOWN: Word.UNKNOWN,
}
_BY_CODE = {"client_stalled": Word.CLIENT_STALLED, "gateway_shutting_down": Word.SHUTDOWN}
"""Codes that say more than the ledger's outcome."""
_BY_PROVIDERS = {Outcome.UPSTREAM_FAILED, Outcome.TRUNCATED}


def told(entry: Entry, walk: Walk, evidence: Claim | None) -> Told:
    """``entry`` is the row and ``evidence`` what is claimed of the provider at the end: neither changes any more.

    What the walk's answer has said so far is the answer.
    """
    answer, usage = walk.answer, entry.usage_source
    tresor = {} if answer is None else answer.label.tresor
    if evidence is not None and "inference_evidence" in tresor:
        evidence = sent(evidence, tresor["inference_evidence"])
    return Told(
        outcome=outcome(entry, walk),
        status=entry.status if entry.status != 499 else None,
        requested_route=walk.plan.requested_route,
        attempts=_attempts(walk),
        adjustments=tresor.get("adjustments", ()),
        routed_model=tresor.get("routed_model"),
        failover=tresor.get("failover", False),
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        usage_source="upstream" if usage == "reported" else usage,
        choices=None if answer is None else answer.said,
        inference_attestation=evidence,
    )


def outcome(entry: Entry, walk: Walk) -> Word:
    """How the request ended, in the words of receipts."""
    if (word := _BY_CODE.get(entry.code or "")) is not None:
        return word
    if entry.outcome in _BY_PROVIDERS:
        if entry.status == 504:
            return Word.TIMEOUT
        if walk.refused:
            return Word.REFUSED
    return _WORDS[entry.outcome]


def _attempts(walk: Walk) -> list[dict[str, Any]]:
    """Each attempt; one that was cut off by the end of the request comes last."""
    found = [each.render() for each in walk.outcomes]
    if walk.current is not None:
        status = 200 if walk.answer is not None else None
        found.append({"route": walk.current.route.id, "outcome": "cut_off", "status": status})
    return found
