"""How much work one request may cause: schemas, expressions and grammars come from callers, and some never end."""

from __future__ import annotations

from sealgate.providers.sandbox.refused import UnsupportedError

UNITS = 200_000
"""Units for one request, all its choices and tools together; a unit is about a microsecond."""


class Budget:
    """Work that is left. Counted, not timed, so that equal requests get equal answers on any machine."""

    __slots__ = ("left",)

    def __init__(self, units: int = UNITS) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Take units away. Raises `UnsupportedError` when there are none left."""
        self.left -= units
        if self.left < 0:
            raise UnsupportedError("it takes too much work to satisfy")
