"""Trees and their proofs: published roots, an independent library as judge, and every tampering refused."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from sealgate.formats import merkle
from sealgate.formats.merkle import ProofError

CT = [
    bytes.fromhex(each)
    for each in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""The entries of the test tree of Certificate Transparency's implementations."""

sizes = st.integers(1, 70)


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(count)]


def tree(given: Sequence[bytes]) -> merkle.Nodes:
    return merkle.of_hashes([merkle.leaf(each) for each in given])


def judge(given: Sequence[bytes]) -> InmemoryTree:
    found = InmemoryTree(algorithm="sha256")
    for each in given:
        found.append_entry(each)
    return found


def test_the_published_roots() -> None:
    assert merkle.root(8, tree(CT)).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert merkle.root(1, tree(CT)).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root(0, tree(CT)) == merkle.EMPTY == hashlib.sha256().digest()


def test_an_independent_library_has_the_same_roots_at_every_size() -> None:
    for count in range(1, 40):
        assert judge(entries(count)).get_root() == merkle.root(count, tree(entries(count)))


@given(sizes, st.data())
def test_an_inclusion_proof_holds_and_is_no_longer_than_the_tree_is_high(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    nodes = tree(entries(size))
    proof = merkle.inclusion(index, size, nodes)

    merkle.verify_inclusion(merkle.leaf(entries(size)[index]), index, size, proof, merkle.root(size, nodes))
    assert len(proof) <= (size - 1).bit_length()


@given(sizes, st.data())
def test_an_inclusion_proof_shows_nothing_else(size: int, data: st.DataObject) -> None:
    """Another entry, place, size, root, or any change of the proof is refused."""
    index = data.draw(st.integers(0, size - 1))
    nodes = tree(entries(size))
    leaf, root, proof = nodes(0, index), merkle.root(size, nodes), merkle.inclusion(index, size, nodes)
    other = merkle.leaf(b"another")
    tries = [(other, index, size, proof, root), (leaf, index, size, proof, other), (leaf, size, size, proof, root),
             (leaf, index, size, [*proof, other], root), (leaf, -1, size, proof, root)]  # fmt: skip
    tries += [(leaf, index, size, [*proof[:at], other, *proof[at + 1 :]], root) for at in range(len(proof))]
    tries += [(leaf, index, size, [*proof[:at], *proof[at + 1 :]], root) for at in range(len(proof))]
    if size > 1:
        tries.append((leaf, (index + 1) % size, size, proof, root))
    for each in tries:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*each)


@given(sizes, st.data())
def test_a_consistency_proof_holds_and_shows_nothing_else(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    nodes = tree(entries(size))
    roots = merkle.root(old, nodes), merkle.root(size, nodes)
    proof = merkle.consistency(old, size, nodes)
    merkle.verify_consistency(old, size, proof, *roots)
    other = merkle.leaf(b"another")
    tries = [(old, size, [*proof, other], *roots), (old, size, proof, other, roots[1]), (size + 1, size, proof, *roots)]
    if old:
        tries.append((old, size, proof, roots[0], other))
    tries += [(old, size, [*proof[:at], other, *proof[at + 1 :]], *roots) for at in range(len(proof))]
    tries += [(old, size, [*proof[:at], *proof[at + 1 :]], *roots) for at in range(len(proof))]
    for each in tries:
        with pytest.raises(ProofError):
            merkle.verify_consistency(*each)


def test_the_published_proofs_of_certificate_transparency() -> None:
    """The paths of its reference tests: entry 0 and entry 5 of 8; from 1, 6 and 2 entries to 8, 8 and 5."""
    nodes = tree(CT)
    first = ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
             "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
             "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]  # fmt: skip
    assert [each.hex() for each in merkle.inclusion(0, 8, nodes)] == first
    assert [each.hex() for each in merkle.consistency(1, 8, nodes)] == first
    assert [each.hex() for each in merkle.inclusion(5, 8, nodes)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [each.hex() for each in merkle.consistency(6, 8, nodes)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [each.hex() for each in merkle.consistency(2, 5, nodes)] == [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]


def test_what_there_is_no_proof_of_is_refused() -> None:
    with pytest.raises(ProofError):
        merkle.inclusion(8, 8, tree(CT))
    with pytest.raises(ProofError):
        merkle.consistency(9, 8, tree(CT))
