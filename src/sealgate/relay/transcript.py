"""What a stream has said so far, kept small: noted piece by piece, put together only now and then."""

from __future__ import annotations

from sealgate.formats.choices import Joined, Json

FOLD = 64
"""Pieces that may wait: a short text is an object ten times its size."""


class Transcript:
    """``pieces`` are what went out, in order.

    A text is content of choice 0, which is what nearly every piece is; a pair is a choice's index with its delta, or
    with the reason why it ended.
    """

    __slots__ = ("_joined", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str | tuple[int, Json] | tuple[int, str]] = []
        self._joined = Joined()

    def mark(self) -> int:
        """Where the pieces of the next chunk begin."""
        if len(self.pieces) >= FOLD:
            self._fold()
        return len(self.pieces)

    def forget(self, mark: int) -> None:
        """Take back the pieces since `mark`: they were not sent."""
        del self.pieces[mark:]

    def choices(self) -> list[Json]:
        """All of it in the form of `sealgate.formats.choices`."""
        self._fold()
        return self._joined.choices()

    def _fold(self) -> None:
        texts: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                texts.append(piece)
                continue
            if texts:
                self._joined.delta(0, {"content": "".join(texts)})
                texts.clear()
            index, what = piece
            if isinstance(what, str):
                self._joined.finish(index, what)
            else:
                self._joined.delta(index, what)
        if texts:
            self._joined.delta(0, {"content": "".join(texts)})
        self.pieces.clear()


class Unkept(Transcript):
    """For answers without a receipt: of what was said, only the pieces of the last chunk are there."""

    __slots__ = ()

    def mark(self) -> int:
        self.pieces.clear()
        return 0
