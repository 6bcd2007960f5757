"""A body that is read when all of it is there."""

import json

import msgspec
import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import whole
from sealgate.providers.whole import HEAVY, WholeBody, decoded


@pytest.mark.parametrize("pieces", [[], [b"{}"], [b"{", b"}"], [b"\xef", b"\xbb\xbf{", b"", b"}"]])
def test_the_pieces_make_the_body_without_a_mark_before_it(pieces: list[bytes]) -> None:
    body = WholeBody()
    assert [tuple(body.feed(piece)) for piece in pieces] == [()] * len(pieces)
    assert body.body == (b"{}" if pieces else b"")


def test_row_e18_a_body_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MAX_ANSWER", 10)
    body = WholeBody()
    body.feed(b"x" * 10)
    with pytest.raises(UpstreamError) as caught:
        body.feed(b"x")
    assert caught.value.failure is Failure.TOO_LARGE


@pytest.mark.parametrize(
    "document",
    [{"data": [{"embedding": [0.5, 1]}, "x", None], "none": [], "usage": {"a": 1}}, {"data": "x"}, [1, 2], "text"],
)
def test_a_heavy_document_is_decoded_as_any_other(document: object) -> None:
    text = json.dumps(document)
    assert decoded(text.encode()) == document
    assert decoded((" " * HEAVY + text).encode()) == document


@pytest.mark.parametrize("text", ['{"data": [1, }', '{"data": [1}', '{"data": [1]', '["a"', "", '{"data": [01]}'])
def test_a_heavy_document_that_is_broken_is_refused(text: str) -> None:
    for body in (text.encode(), (" " * HEAVY + text).encode()):
        with pytest.raises(msgspec.DecodeError):
            decoded(body)
