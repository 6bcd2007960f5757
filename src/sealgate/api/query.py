"""Query strings at the door: each name at most once, and what is wrong said as it is for bodies."""

from __future__ import annotations

from urllib.parse import parse_qs

from sealgate.errors import Detail, Problem

MAX_FIELDS = 100


class Query:
    """What a query string says."""

    def __init__(self, query: bytes) -> None:
        try:
            self._given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise Problem("invalid_parameter", f"The query has more than {MAX_FIELDS} fields.") from None

    def text(self, name: str) -> str | None:
        """The value; None where there is none. Raises `Problem`."""
        values = self._given.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise wrong(name, "is given more than once")
        return values[0]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds. Raises `Problem`."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
            raise wrong(name, f"is a whole number from {least} to {most}")
        return int(text)


def wrong(name: str, said: str, code: str = "invalid_parameter", kind: str = "value_error") -> Problem:
    """What is wrong with one name."""
    return Problem(code, f"{name} {said}.", param=name, details=[Detail((name,), said, kind, place="query")])
