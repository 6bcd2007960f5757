"""Checking that a receipt is in the transparency log, and who else has seen that log: levels L1 and L2. Pure, offline.

As `sealgate.receipts.verify` it imports nothing but `sealgate.formats`, relatively, and also ships without a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..formats import leaves, merkle, note
from .verify import Check, Verdict


class PolicyError(ValueError):
    """A document is no policy; the text says why."""


class Policy(NamedTuple):
    """Whom to believe: the log's key, witnesses, and how many of these must have signed."""

    log: note.Key
    witnesses: Sequence[note.Key]
    quorum: int


def policy(document: Any) -> Policy:
    """A policy as JSON has it: ``vkey``, ``witnesses`` (vkeys) and ``quorum``; other members are not looked at.

    The gateway's ``/.well-known/sealgate-log.json`` is one. Raises `PolicyError`.
    """
    if not isinstance(document, dict) or not isinstance(document.get("vkey"), str):
        raise PolicyError("a policy is a JSON object with the log's vkey")
    named, quorum = document.get("witnesses", []), document.get("quorum")
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise PolicyError("the policy's witnesses are a list of vkeys")
    quorum = len(named) if quorum is None else quorum
    if type(quorum) is not int or not 0 <= quorum <= len(named):
        raise PolicyError("the policy's quorum is a number of its witnesses")
    try:
        log, witnesses = note.key(document["vkey"]), [note.key(each) for each in named]
    except note.NoteError as error:
        raise PolicyError(str(error)) from None
    if log.kind != note.LOG or any(each.kind != note.WITNESS for each in witnesses):
        raise PolicyError("the policy takes a key of a log for a witness's, or the other way round")
    if len({each.public for each in witnesses}) != len(witnesses):
        raise PolicyError("the policy counts one witness twice")
    return Policy(log, witnesses, quorum)


def checked(verdict: Verdict, proof: str, trusted: Policy) -> Verdict:
    """The verdict with what a proof (c2sp.org/tlog-proof@v1) adds to it."""
    if verdict.claims is None or verdict.leaf is None:
        return verdict
    level = verdict.level
    try:
        shown = note.proof(proof)
        logged = _logged(verdict.claims, verdict.leaf, shown, trusted.log)
    except ValueError as error:
        found = [Check("log", "FAIL", str(error)), Check("witnesses", "----", "not checked, unwitnessed")]
    else:
        witnesses, enough = _witnesses(shown.note, trusted)
        found, level = [logged, witnesses], 2 if enough else 1
        if verdict.before is not None:
            key, counts = _of_revoked(verdict.before, trusted.log.name, shown.position)
            found, level = [*found, key], level if counts else None
    before = {each.name: each for each in found}
    return verdict._replace(checks=[before.get(each.name, each) for each in verdict.checks], level=level)


def _of_revoked(before: Mapping[str, int], origin: str, position: int) -> tuple[Check, bool]:
    """Whether a receipt of a revoked key counts: it was entered before the log said that the key is revoked."""
    index = before.get(origin)
    if index is None:
        return Check("key", "FAIL", f"it is revoked, and where {origin} says so is not in the key set"), False
    if position < index:
        return Check("key", "PASS", f"revoked by entry {index} of {origin}, and this was entered before"), True
    return Check("key", "FAIL", f"revoked by entry {index} of {origin}, and this was entered later"), False


def _logged(claims: Mapping[str, Any], leaf: bytes, shown: note.Proof, key: note.Key) -> Check:
    told = note.checkpoint(shown.note.text)
    promised = None if claims["log"] is None else claims["log"]["origin"]
    if promised != told.origin or told.origin != key.name:
        raise ValueError(f"the proof is of the log {told.origin}, the receipt names {promised}, the policy {key.name}")
    if note.signed_by(shown.note, key) is None:
        raise ValueError("the checkpoint is not signed with the log's key")
    merkle.verify_inclusion(leaves.hash_of(leaf), shown.position, told.size, shown.hashes, told.root)
    return Check("log", "PASS", f"entry {shown.position} of {told.size} in {told.origin}")


def _witnesses(signed: note.Note, trusted: Policy) -> tuple[Check, bool]:
    """Whether enough signed. A signature that does not hold is none."""
    seen = [each.name for each in trusted.witnesses if _holds(signed, each)]
    if not trusted.quorum:
        return Check("witnesses", "----", "unwitnessed: the policy asks for none"), False
    names = ", ".join(seen) or "none"
    if len(seen) >= trusted.quorum:
        return Check("witnesses", "PASS", f"witnessed by {names}; {trusted.quorum} asked for"), True
    return Check("witnesses", "FAIL", f"unwitnessed: {trusted.quorum} asked for, signed by {names}"), False


def _holds(signed: note.Note, by: note.Key) -> bool:
    try:
        return note.signed_by(signed, by) is not None
    except note.NoteError:
        return False
