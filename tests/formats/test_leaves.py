"""Entries of the log commit to what was signed."""

from sealgate.formats import leaves

JWS = "eyJhIjoxfQ.e30.c2lnbmF0dXJl"


def test_an_entry_is_the_same_for_every_signature_of_the_same_statement() -> None:
    assert leaves.of_jws(JWS) == leaves.of_jws(JWS.rpartition(".")[0] + ".b3RoZXI") == leaves.receipt(b"eyJhIjoxfQ.e30")


def test_an_entry_says_nothing_but_a_digest_and_fits_its_length_prefix() -> None:
    entry = leaves.of_jws(JWS)
    assert entry.startswith(b'{"rc":"')
    assert entry.endswith(b'","t":"receipt","v":1}')
    assert len(entry) < leaves.LONGEST


def test_an_entry_is_hashed_as_a_leaf_of_the_tree() -> None:
    """RFC 6962, section 2.1: the published hash of the empty leaf."""
    assert leaves.hash_of(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
