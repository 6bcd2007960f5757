"""How long routes take to their first content, lately: what the policy ``latency`` goes by."""

from __future__ import annotations

from sealgate.relay.catalog import Route

WEIGHT = 0.2
"""Of the newest in the moving average: about the last ten answers count."""
MAX_ROUTES = 10_000


class Paces:
    """One for the process. Whole answers and streams are apart: a whole answer's first content is its last."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, bool], float] = {}

    def note(self, route: Route, *, stream: bool, seconds: float) -> None:
        """An answer's first content came after this."""
        place = route.id, stream
        known = self._seconds.get(place)
        if known is None and len(self._seconds) >= MAX_ROUTES:
            del self._seconds[next(iter(self._seconds))]
        self._seconds[place] = seconds if known is None else known + WEIGHT * (seconds - known)

    def of(self, route: Route, *, stream: bool) -> float | None:
        """Seconds, or None where nothing is known."""
        return self._seconds.get((route.id, stream))
