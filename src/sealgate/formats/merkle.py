"""Merkle trees of append-only logs (RFC 6962 section 2.1, RFC 9162 section 2.1): hashes, proofs, and their checks.

Pure, standard library only: also ships to people without a server. A tree is read through a function that gives the
hash of a perfect subtree, so that the same lines work on a list of hashes and on the files of a log of millions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

EMPTY = hashlib.sha256(b"").digest()
"""The root of the tree without entries."""
LONGEST_PROOF = 63
"""Hashes; no tree that can be numbered with 63 bits needs more."""

Nodes: TypeAlias = Callable[[int, int], bytes]
"""Height and number of a perfect subtree to its hash: (0, i) is the i-th entry's, (h, i) has 2**h entries from
i * 2**h on."""


class ProofError(ValueError):
    """A proof does not show what it should; the text says why."""


def leaf(entry: bytes) -> bytes:
    """The hash of an entry."""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return hashlib.sha256(b"\1" + left + right).digest()


def of_hashes(hashes: Sequence[bytes]) -> Nodes:
    """The tree over these hashes of entries, everything worked out anew at each look: for small trees and tests."""

    def found(height: int, number: int) -> bytes:
        if height == 0:
            return hashes[number]
        return node(found(height - 1, 2 * number), found(height - 1, 2 * number + 1))

    return found


def root(size: int, nodes: Nodes) -> bytes:
    """The hash of the tree of the first ``size`` entries."""
    return _range(0, size, nodes)


def inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """What shows that the entry at ``index`` is in the tree of that size: siblings, from the entry's upwards."""
    if not 0 <= index < size:
        raise ProofError("there is no such entry in a tree of this size")
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range(middle, high, nodes))
            high = middle
        else:
            proof.append(_range(low, middle, nodes))
            low = middle
    return proof[::-1]


def consistency(old: int, size: int, nodes: Nodes) -> list[bytes]:
    """What shows that the tree of ``size`` begins with the tree of ``old`` entries (RFC 6962, section 2.1.2)."""
    if not 0 <= old <= size:
        raise ProofError("a tree cannot begin with a larger one")
    if old in (0, size):
        return []
    proof, low, high, whole = [], 0, size, True
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(middle, high, nodes))
            high = middle
        else:
            proof.append(_range(low, middle, nodes))
            low, whole = middle, False
    if not whole:
        proof.append(_range(low, high, nodes))
    return proof[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Raises `ProofError` unless the proof leads from the entry to the root ``expected`` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError("the entry's index is not within the tree")
    position, last, found = index, size - 1, leaf_hash
    for each in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if position & 1 or position == last:
            found = node(each, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node(found, each)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if found != expected:
        raise ProofError("the proof leads to another root")


def verify_consistency(old: int, size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises `ProofError` unless the proof shows that the larger tree begins with the other (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= size:
        raise ProofError("a tree cannot begin with a larger one")
    if old in (0, size):
        if proof:
            raise ProofError("the proof is too long")
        if old == 0 and old_root != EMPTY:
            raise ProofError("the empty tree has another root")
        if old == size and old_root != new_root:
            raise ProofError("two trees of one size have different roots")
        return
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        raise ProofError("the proof is too short")
    position, last = old - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if position & 1 or position == last:
            before, after = node(each, before), node(each, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node(after, each)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if before != old_root:
        raise ProofError("the proof leads to another root of the smaller tree")
    if after != new_root:
        raise ProofError("the proof leads to another root of the larger tree")


def _range(low: int, high: int, nodes: Nodes) -> bytes:
    """The hash over the entries of a range that a tree has as a subtree."""
    count = high - low
    if count == 0:
        return EMPTY
    if count & (count - 1) == 0:
        height = count.bit_length() - 1
        return nodes(height, low >> height)
    middle = low + _split(count)
    return node(_range(low, middle, nodes), _range(middle, high, nodes))


def _split(count: int) -> int:
    """The largest power of two below ``count``, which is 2 or more."""
    return 1 << (count - 1).bit_length() - 1
