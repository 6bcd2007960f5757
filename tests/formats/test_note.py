"""Notes, keys, checkpoints, cosignatures and proofs: golden vectors, and what is refused."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealgate.formats import leaves, merkle, note
from sealgate.formats.note import NoteError

LOG_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ORIGIN = "gw.example/receipts/2026"
VKEY = "gw.example/receipts/2026+1ed9e3ed+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
WITNESS_VKEY = "witness.example/w1+468d99bb+BHm1Vi6P5lT5QHixEuipi6eQH4U65pW+1+DjkQutBJZk"
CHECKPOINT = """gw.example/receipts/2026
1
rpJjTreMtBoVrjlgvzHCRFRF5VtosNusJRaktf8YQFc=

\u2014 gw.example/receipts/2026 Htnj7bX7yrUbriqW58u0epQa4wT1/Yc0fpOTf/nK8BikJLA8/owjWTdxTXpRpa2UgNc304boZ/pAjmLweLK5Y0H6/QA=
"""  # noqa: E501
LEAF = b'{"rc":"77p8wtoMGecbf4v4XJ1Yzx9jhk_3AH7WZtNsXN_5GR4","t":"receipt","v":1}'

GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def three() -> merkle.Nodes:
    """The log of three entries in the golden vectors."""
    return merkle.of_hashes(
        [
            merkle.leaf(b'{"c":"%b","v":1}' % base64.b64encode(hashlib.sha256(b"receipt-%d" % each).digest()))
            for each in range(3)
        ]
    )


def test_a_vkey_is_made_and_read() -> None:
    assert str(note.public(ORIGIN, note.LOG, LOG_KEY)) == VKEY
    assert str(note.public("witness.example/w1", note.WITNESS, WITNESS_KEY)) == WITNESS_VKEY
    assert str(note.key(VKEY)) == VKEY


def test_the_checkpoint_of_one_entry_is_signed_to_the_byte() -> None:
    root = merkle.root(1, merkle.of_hashes([leaves.hash_of(LEAF)]))
    assert root.hex() == "ae92634eb78cb41a15ae3960bf31c2445445e55b68b0dbac2516a4b5ff184057"
    text = str(note.Checkpoint(ORIGIN, 1, root))
    assert str(note.Note(text, [note.sign(ORIGIN, LOG_KEY, text)])) == CHECKPOINT

    read = note.parse(CHECKPOINT)
    assert note.signed_by(read, note.key(VKEY)) == read.signatures[0]
    assert note.checkpoint(read.text) == (ORIGIN, 1, root)


def test_a_note_that_others_published_verifies() -> None:
    """The example of Go's golang.org/x/mod/sumdb/note."""
    assert note.signed_by(note.parse(GO_NOTE), note.key(GO_VKEY)) is not None


def test_a_cosignature_is_made_to_the_byte() -> None:
    root = merkle.root(3, three())
    assert base64.b64encode(root) == b"YTj0OeAOkI+zX+xCjdq1iG+rOdzSUo7ZUv5hK58C1Ow="
    text = str(note.Checkpoint(ORIGIN, 3, root))
    line = note.cosign("witness.example/w1", WITNESS_KEY, text, 1795000000)
    assert str(line) == (
        "\u2014 witness.example/w1 Ro2ZuwAAAABq/YbAle8F54p5rjvPl7fD3nQKFokLfQvjJeJ5MBT7Y9tvn/s8/B6EjSXW5oqbuJPKzb7f0TK8"
        "aEJJpQ2idA7tNKxjCA==\n"
    )
    signed = note.Note(text, [line])
    assert note.signed_by(signed, note.key(WITNESS_VKEY)) == line
    assert note.cosigned_at(line) == 1795000000


def test_a_proof_is_written_and_read() -> None:
    proof = merkle.inclusion(1, 3, three())
    assert [base64.b64encode(each) for each in proof] == [
        b"6t505SS7ujrH9Xpfo5ZaHIcVNnAde3avH9hXNGY9v8I=",
        b"1HT8WKYucY5nEmywCSXcdKF3Zm3Pi7WhnUUPf3SE3oM=",
    ]
    written = str(note.Proof(1, proof, note.parse(CHECKPOINT)))
    assert written.startswith("c2sp.org/tlog-proof@v1\nindex 1\n6t505SS7ujrH9Xpf")
    assert note.proof(written) == (1, proof, note.parse(CHECKPOINT))
    first, _, rest = written.partition("\n")
    assert note.proof(f"{first}\nextra AAAA\n{rest}") == note.proof(written)


def test_a_proof_of_the_only_entry_has_no_hashes() -> None:
    assert note.proof(str(note.Proof(0, [], note.parse(CHECKPOINT)))).hashes == []


def test_a_signature_that_does_not_hold_is_refused() -> None:
    other = note.parse(CHECKPOINT.replace("\n1\n", "\n2\n"))
    with pytest.raises(NoteError, match="does not hold"):
        note.signed_by(other, note.key(VKEY))


def test_a_signature_of_another_key_is_not_this_keys() -> None:
    """Same name, other key: another id, so it is passed over as unknown."""
    assert note.signed_by(note.parse(CHECKPOINT), note.public(ORIGIN, note.LOG, WITNESS_KEY)) is None


def test_a_cosignature_of_another_time_is_refused() -> None:
    text = str(note.Checkpoint(ORIGIN, 3, merkle.root(3, three())))
    line = note.cosign("witness.example/w1", WITNESS_KEY, text, 1795000000)
    later = line._replace(signature=(1795000001).to_bytes(8) + line.signature[8:])
    for changed in (later, line._replace(signature=line.signature[8:])):
        with pytest.raises(NoteError):
            note.signed_by(note.Note(text, [changed]), note.key(WITNESS_VKEY))


@pytest.mark.parametrize(
    "text",
    ["", "gw.example", VKEY.replace("1ed9", "1ed8"), VKEY[:-4], VKEY.replace("+AQ", "+Ag"), "a b+1ed9e3ed+AQ",
     VKEY + "\u0000"],
)  # fmt: skip
def test_what_is_no_vkey_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        note.key(text)


@pytest.mark.parametrize(
    "text",
    ["", "text\n", "\n\n", CHECKPOINT[:-1], CHECKPOINT.replace("\u2014", "-"), CHECKPOINT.replace("/QA=", "/QB="),
     CHECKPOINT.replace("1\n", "1\r\n"), CHECKPOINT + "\n", CHECKPOINT + "\u2014 x AAAA\n",
     CHECKPOINT + "\u2014 x AAAAAAAA\n" * 100],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        note.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "a\n1\n", "a\n01\nrpJjTreMtBoVrjlgvzHCRFRF5VtosNusJRaktf8YQFc=\n", "a\n1\nAAAA\n", "a\n-1\nAAAA\n",
     "\n1\nrpJjTreMtBoVrjlgvzHCRFRF5VtosNusJRaktf8YQFc=\n", "a\n1\nrpJjTreMtBoVrjlgvzHCRFRF5VtosNusJRaktf8YQFc=",
     "a\n9223372036854775808\nrpJjTreMtBoVrjlgvzHCRFRF5VtosNusJRaktf8YQFc=\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        note.checkpoint(text)


@pytest.mark.parametrize(
    "text",
    ["", "c2sp.org/tlog-proof@v1\n\n" + CHECKPOINT, "c2sp.org/tlog-proof@v2\nindex 1\n\n" + CHECKPOINT,
     "c2sp.org/tlog-proof@v1\nindex 01\n\n" + CHECKPOINT, "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n" + CHECKPOINT,
     "c2sp.org/tlog-proof@v1\nindex 1\n" + CHECKPOINT],
)  # fmt: skip
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        note.proof(text)


def test_a_name_that_would_break_a_line_is_refused() -> None:
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(NoteError):
            note.public(name, note.LOG, LOG_KEY)
