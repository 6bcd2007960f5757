"""A body that is read when all of it is there."""

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import whole
from sealgate.providers.whole import WholeBody


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
