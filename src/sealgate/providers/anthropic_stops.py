"""Stop texts of nothing but white space, which the Messages API refuses: watched for in the answer instead."""

from __future__ import annotations

from sealgate.providers.base import Json


def stops(fields: Json) -> tuple[list[str], list[str]]:
    """The caller's stop texts: those that the provider takes, and those that must be watched for."""
    given = fields.get("stop") or []
    texts = [given] if isinstance(given, str) else given
    return [text for text in texts if not text.isspace()], [text for text in texts if text.isspace()]


class Watch:
    """Lets text through up to the first stop. What may be the beginning of one is held back until more is known."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._beginnings = sorted({text[:size] for text in texts for size in range(1, len(text))}, key=len)
        self._held = ""
        self.hit = ""
        """The stop that has come; nothing that follows is part of the answer."""

    def take(self, text: str) -> str:
        """What of the text so far is certain."""
        text = self._held + text
        places = [(place, stop) for stop in self._texts if (place := text.find(stop)) >= 0]
        if places:
            place, self.hit = min(places)
            self._held = ""
            return text[:place]
        self._held = next((each for each in reversed(self._beginnings) if text.endswith(each)), "")
        return text[: len(text) - len(self._held)]

    def rest(self) -> str:
        """What was held back, now that no more comes."""
        held, self._held = self._held, ""
        return held
