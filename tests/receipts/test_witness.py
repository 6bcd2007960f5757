"""The witness signs what only grows, and remembers it whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealgate.errors import ConfigError
from sealgate.formats import merkle, note
from sealgate.receipts.witness import Answer, Witness, WitnessKey, load_key

ORIGIN = "gw.example/receipts/2026"
LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = WitnessKey("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
HASHES = [merkle.leaf(b"%d" % number) for number in range(40)]
NODES = merkle.of_hashes(HASHES)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def witness(state: Path) -> Witness:
    return Witness(KEY, [note.public(ORIGIN, note.LOG, LOG)], state, clock=lambda: 1_795_000_000)


def signed(size: int, nodes: merkle.Nodes = NODES, origin: str = ORIGIN, key: Ed25519PrivateKey = LOG) -> str:
    text = str(note.Checkpoint(origin, size, merkle.root(size, nodes)))
    return str(note.Note(text, [note.sign(origin, key, text)]))


def question(old: int, size: int, nodes: merkle.Nodes = NODES) -> bytes:
    return f"old {old}\n{note.lines(merkle.consistency(old, size, nodes))}\n{signed(size, nodes)}".encode()


def ask(witness: Witness, old: int, size: int, nodes: merkle.Nodes = NODES) -> Answer:
    return witness.add_checkpoint(question(old, size, nodes))


def test_it_signs_what_continues_what_it_signed(state: Path) -> None:
    mine = witness(state)
    for old, size in ((0, 3), (3, 20), (20, 20), (20, 40)):
        answer = ask(mine, old, size)
        assert answer.status == 200
        text = note.parse(signed(size)).text
        line = note.signed_by(note.Note(text, note.signatures(answer.body.decode())), KEY.public)
        assert line is not None
        assert note.cosigned_at(line) == 1_795_000_000


def test_it_tells_what_it_has_seen_where_the_old_size_is_another(state: Path) -> None:
    mine = witness(state)
    ask(mine, 0, 20)
    for old, size in ((0, 30), (19, 30), (0, 5), (21, 30)):
        assert ask(mine, old, size) == (409, "text/x.tlog.size", b"20\n")


def test_it_signs_no_other_history(state: Path) -> None:
    mine = witness(state)
    ask(mine, 0, 20)
    other = merkle.of_hashes([merkle.leaf(b"x"), *HASHES[1:]])
    assert ask(mine, 20, 30, other).status == 422
    assert ask(mine, 20, 20, other).status == 409
    assert ask(mine, 20, 30).status == 200


def test_it_remembers_after_its_process_has_died(state: Path) -> None:
    mine = witness(state)
    ask(mine, 0, 20)
    mine.close()
    again = witness(state)
    assert ask(again, 0, 5).status == 409
    assert ask(again, 20, 21).status == 200


def test_it_stores_before_it_answers(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is an error, never a signature."""
    mine = witness(state)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("sealgate.receipts.witness._write", full)
    with pytest.raises(OSError, match="no space"):
        ask(mine, 0, 20)
    monkeypatch.undo()
    assert ask(mine, 0, 5).status == 200


def test_two_cannot_have_one_state(state: Path) -> None:
    mine = witness(state)
    with pytest.raises(ConfigError, match="another witness"):
        witness(state)
    mine.close()
    witness(state).close()


def test_a_state_that_cannot_be_read_refuses_the_start(state: Path) -> None:
    state.write_text("[]")
    with pytest.raises(ConfigError, match="cannot be read"):
        witness(state)


def test_what_it_does_not_know_or_understand_is_refused_as_specified(state: Path) -> None:
    mine = witness(state)
    proof = note.lines(HASHES[:1])
    other = Ed25519PrivateKey.generate()
    asked = {
        404: f"old 0\n\n{signed(3, origin='other.example')}",
        403: f"old 0\n\n{signed(3, key=other)}",
        422: f"old 0\n{proof}\n{signed(3)}",
    }
    for status, body in asked.items():
        assert mine.add_checkpoint(body.encode()).status == status
    too_long = f"old 0\n{note.lines(HASHES[:1] * 64)}\n{signed(3)}"
    for body in (
        f"old 4\n\n{signed(3)}",
        "",
        "old 0\n\nx",
        f"old 00\n\n{signed(3)}",
        f"new 0\n\n{signed(3)}",
        too_long,
    ):
        assert mine.add_checkpoint(body.encode()).status == 400
    assert mine.add_checkpoint(b"old 0\n\n\xff").status == 400
    assert not state.exists()


def test_its_key_is_made_once_and_keeps_its_name(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(ConfigError, match="--name"):
        load_key(file, None)
    made = load_key(file, "witness.example/w1")
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_key(file, None).public == made.public
    with pytest.raises(ConfigError, match="not of"):
        load_key(file, "another")
    file.write_text("x")
    with pytest.raises(ConfigError, match="holds no"):
        load_key(file, None)
    with pytest.raises(ConfigError):
        load_key(tmp_path / "bad", "a b")
