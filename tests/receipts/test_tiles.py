"""The files of a log: at each border of a tile they give the tree that RFC 6962 prescribes, and proofs stay cheap."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sealgate.formats import merkle
from sealgate.formats.merkle import ProofError
from sealgate.receipts import tiles
from sealgate.receipts.tiles import Edge, Files, FilesError, Tile, named

BORDERS = (1, 2, 255, 256, 257, 511, 512, 513)
FAR_BORDERS = (65_535, 65_536, 65_537, 65_792, 65_793)


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files in a second; how they are synced is not tested here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def entry(number: int) -> bytes:
    return b"entry %d" % number


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\1" + tree_hash(hashes[:split]) + tree_hash(hashes[split:])).digest()


def grown(folder: Path, borders: Sequence[int]) -> Iterator[tuple[Files, Edge, list[bytes]]]:
    """A log that stops at each of these sizes."""
    files, edge = Files(folder), Edge()
    hashes = [merkle.leaf(entry(number)) for number in range(borders[-1])]
    for size in borders:
        edge = files.extend(edge, map(entry, range(edge.size, size)))
        yield files, edge, hashes[:size]


def holds(files: Files, edge: Edge, hashes: Sequence[bytes], known: dict[int, bytes]) -> None:
    """Root, inclusion around each border, and consistency with all that was before, for this and for no other entry."""
    size, root = edge.size, tree_hash(hashes)
    assert edge.root() == root
    known[size] = root
    nodes = files.nodes(size)
    for index in {0, 1, 254, 255, 256, 257, size // 2, 65_535, 65_536, size - 1}:
        if index >= size:
            continue
        proof = merkle.inclusion(index, size, nodes)
        merkle.verify_inclusion(hashes[index], index, size, proof, root)
        for place in {index - 1, index + 1} & set(range(size)):
            with pytest.raises(ProofError):
                merkle.verify_inclusion(hashes[place], index, size, proof, root)
            with pytest.raises(ProofError):
                merkle.verify_inclusion(hashes[index], place, size, proof, root)
    for old, before in known.items():
        merkle.verify_consistency(old, size, merkle.consistency(old, size, nodes), before, root)
        assert files.edge(old, deep=True).root() == before, "also from files alone, and of every size before"


def test_at_each_border_the_tree_is_the_specifications(tmp_path: Path) -> None:
    known: dict[int, bytes] = {}
    for files, edge, hashes in grown(tmp_path / "log", BORDERS):
        holds(files, edge, hashes, known)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_at_the_border_of_the_second_level_too(tmp_path: Path) -> None:
    known: dict[int, bytes] = {}
    for files, edge, hashes in grown(tmp_path / "log", FAR_BORDERS):
        holds(files, edge, hashes, known)


def test_a_proof_from_anywhere_hashes_little_once_the_log_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each proof of an old receipt would hash a whole tile: 247 hashes for the eight that it shows."""
    size = 40 * 256 + 17
    ((_, _, hashes),) = grown(tmp_path / "log", [size])
    files = Files(tmp_path / "log")
    files.edge(size)
    made: list[int] = []
    node = merkle.node
    monkeypatch.setattr(merkle, "node", lambda left, right: (made.append(1), node(left, right))[1])
    root = tree_hash(hashes)
    for index in range(0, 40 * 256, 389):
        made.clear()
        proof = merkle.inclusion(index, size, files.nodes(size))
        assert len(made) < 120 if index == 0 else len(made) < 60, (index, len(made))
        merkle.verify_inclusion(hashes[index], index, size, proof, root)


def test_what_is_remembered_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "MIDDLES", 3)
    size = 6 * 256
    ((_, _, hashes),) = grown(tmp_path / "log", [size])
    files = Files(tmp_path / "log")
    for _ in range(2):
        for index in range(0, size, 100):
            proof = merkle.inclusion(index, size, files.nodes(size))
            merkle.verify_inclusion(hashes[index], index, size, proof, tree_hash(hashes))
            assert len(files._middles._kept) <= 3


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"\0" * 100)])
def test_without_a_file_there_is_no_proof(tmp_path: Path, damage: object) -> None:
    ((_, _, _),) = grown(tmp_path / "log", [600])
    files = Files(tmp_path / "log")
    damage(tmp_path / "log/tile/0/001")  # type: ignore[operator]
    with pytest.raises(FilesError, match="is missing or not whole"):
        merkle.inclusion(300, 600, files.nodes(600))


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("0/000", Tile(0, 0)), ("entries/000.p/1", Tile(None, 0, 1)), ("5/x001/x234/067", Tile(5, 1_234_067)),
        ("0/000.p/255", Tile(0, 0, 255)), ("0/000.p/256", None), ("0/000.p/0", None), ("0/000.p/01", None),
        ("0/x000/000", None), ("0/00", None), ("64/000", None), ("00/000", None), ("0/../000", None), ("0/000/", None),
        ("0/x1/000", None), ("-1/000", None), ("", None),
    ],
)  # fmt: skip
def test_a_tile_has_one_path(path: str, tile: Tile | None) -> None:
    assert named(path) == tile
    assert tile is None or tile.path == path
