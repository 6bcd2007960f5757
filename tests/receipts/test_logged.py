"""Levels L1 and L2: a receipt in the log, and a log that others have seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.receipts import golden

from sealgate.formats import merkle, note
from sealgate.receipts import logged, report
from sealgate.receipts.logged import PolicyError
from sealgate.receipts.verify import Verdict, verify

LOGGED = next(each for each in golden.FINAL if each["log"] is not None)
ORIGIN = LOGGED["log"][0]
LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESSES = [Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2)]


def signed() -> Verdict:
    return verify(LOGGED["jws"], golden.key_set())


def document(quorum: int | None = None, **changes: Any) -> dict[str, Any]:
    keys = [str(note.public(f"w{number}", note.WITNESS, key)) for number, key in enumerate(WITNESSES)]
    found = {"vkey": str(note.public(ORIGIN, note.LOG, LOG)), "witnesses": keys, "quorum": quorum}
    return found | changes


def proof(cosigned: int = 0, origin: str = ORIGIN, index: int = 2) -> str:
    """Of a log of five entries with the receipt at index 2, its checkpoint signed by so many witnesses."""
    leaf = signed().leaf
    assert leaf is not None
    nodes = merkle.of_hashes([merkle.leaf(leaf if at == 2 else b"%d" % at) for at in range(5)])
    text = str(note.Checkpoint(origin, 5, merkle.root(5, nodes)))
    lines = [note.cosign(f"w{number}", key, text, 1) for number, key in enumerate(WITNESSES[:cosigned])]
    made = note.Note(text, [note.sign(origin, LOG, text), *lines])
    return str(note.Proof(index, merkle.inclusion(index, 5, nodes), made))


def checked(text: str, **changes: Any) -> Verdict:
    return logged.checked(signed(), text, logged.policy(document(**changes)))


def marks(verdict: Verdict) -> tuple[str, str]:
    found = {check.name: check.mark for check in verdict.checks}
    return found["log"], found["witnesses"]


def test_with_a_proof_it_is_logged_and_still_called_unwitnessed() -> None:
    verdict = checked(proof(), quorum=0, witnesses=[])
    assert (verdict.ok, verdict.level, marks(verdict)) == (True, 1, ("PASS", "----"))
    said = "\n".join(report.lines(verdict))
    assert "L1 logged" in said
    assert "unwitnessed" in said
    assert "not shown to be logged" not in said


def test_with_a_quorum_it_is_witnessed() -> None:
    for quorum, cosigned in ((1, 1), (2, 2), (None, 2)):
        verdict = checked(proof(cosigned), quorum=quorum)
        assert (verdict.ok, verdict.level, marks(verdict)) == (True, 2, ("PASS", "PASS"))
        assert "unwitnessed" not in "\n".join(report.lines(verdict))


def test_without_the_quorum_that_was_asked_for_it_fails() -> None:
    verdict = checked(proof(1), quorum=2)
    assert (verdict.ok, verdict.level, marks(verdict)) == (False, 1, ("PASS", "FAIL"))


def test_a_proof_of_something_else_fails() -> None:
    whole = proof(2)
    stranger = Ed25519PrivateKey.generate()
    tries = [
        checked(proof(2, index=1)),
        checked(proof(2, origin="other.example")),
        checked(whole.replace("index 2", "index 3")),
        checked(whole.replace("\n5\n", "\n6\n")),
        checked(whole, vkey=str(note.public(ORIGIN, note.LOG, stranger))),
        checked("garbage"),
    ]
    for verdict in tries:
        assert (verdict.ok, verdict.level, marks(verdict)) == (False, 0, ("FAIL", "----"))


def test_each_changed_character_of_a_proof_is_noticed() -> None:
    whole = proof(2)
    for at in range(0, len(whole), 3):
        changed = whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1 :]
        verdict = checked(changed)
        assert not verdict.ok, changed


def test_a_receipt_that_names_no_log_is_in_none() -> None:
    other = next(each for each in golden.FINAL if each["log"] is None)
    verdict = logged.checked(verify(other["jws"], golden.key_set()), proof(), logged.policy(document(quorum=0)))
    assert not verdict.ok


def test_what_was_not_signed_is_not_looked_up() -> None:
    nothing = verify("a.b.c", golden.key_set())
    assert logged.checked(nothing, proof(), logged.policy(document())) == nothing


@pytest.mark.parametrize(
    "wrong",
    [
        [], {}, {"vkey": 1}, document() | {"vkey": "x"}, document() | {"witnesses": "x"}, document() | {"quorum": 3},
        document() | {"quorum": True}, document() | {"vkey": document()["witnesses"][0]},
        document() | {"witnesses": [document()["vkey"]]}, document() | {"witnesses": document()["witnesses"][:1] * 2},
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(PolicyError):
        logged.policy(json.loads(json.dumps(wrong)))


def revoked(**at: Any) -> Verdict:
    key = {**golden.key_set("revoked")["keys"][0], **at}
    return verify(LOGGED["jws"], {"keys": [key]})


@pytest.mark.parametrize(("index", "level"), [(3, 1), (100, 1), (2, None), (0, None)])
def test_of_a_revoked_key_only_what_was_logged_before_that_counts(index: int, level: int | None) -> None:
    bare = revoked(sealgate_revoked_at={ORIGIN: index, "another.log": 1000})
    assert (bare.ok, bare.level) == (False, None)
    assert "nothing shows that it was logged before" in "\n".join(report.lines(bare))
    verdict = logged.checked(bare, proof(), logged.policy(document(quorum=0, witnesses=[])))
    key = next(check for check in verdict.checks if check.name == "key")
    assert (verdict.ok, verdict.level, key.mark) == (level is not None, level, "PASS" if level else "FAIL")
    assert f"revoked by entry {index}" in key.text


@pytest.mark.parametrize("at", [{}, {"sealgate_revoked_at": {}}, {"sealgate_revoked_at": [7]}])
def test_without_a_place_where_the_key_was_revoked_none_of_its_receipts_counts(at: Any) -> None:
    verdict = logged.checked(revoked(**at), proof(), logged.policy(document(quorum=0, witnesses=[])))
    assert (verdict.ok, verdict.level, verdict.claims) == (False, None, None)


def test_the_place_in_another_log_is_no_place() -> None:
    bare = revoked(sealgate_revoked_at={"another.log": 1000})
    verdict = logged.checked(bare, proof(), logged.policy(document(quorum=0, witnesses=[])))
    assert (verdict.ok, verdict.level) == (False, None)


def test_a_proof_that_fails_makes_no_revoked_key_count() -> None:
    verdict = logged.checked(revoked(sealgate_revoked_at={ORIGIN: 3}), proof(index=1), logged.policy(document()))
    assert (verdict.ok, verdict.level, marks(verdict)[0]) == (False, None, "FAIL")
