"""Plausible values by the name of a property: a ``city`` is a city, an ``age`` is an age.

Nothing here is guaranteed to fit a schema: the writer checks and falls back.
"""

from __future__ import annotations

import re

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.schema.formats import FORMATS
from sealgate.providers.sandbox.words import WORDS, sentence

_NAMES = (
    "Ada Marsh",
    "Ben Okafor",
    "Chen Li",
    "Dora Nilsen",
    "Emil Novak",
    "Fatima Rahimi",
    "Goran Petrov",
    "Hana Sato",
)
_CITIES = ("Lisbon", "Oslo", "Nairobi", "Kyoto", "Quito", "Tallinn", "Montreal", "Hobart")
_COUNTRIES = ("Portugal", "Norway", "Kenya", "Japan", "Ecuador", "Estonia", "Canada", "Australia")
_STREETS = ("12 Mill Lane", "3 Harbour Road", "48 Station Street", "7 Canal Walk")

_STRINGS: dict[str, tuple[str, ...]] = {
    "name": _NAMES,
    "author": _NAMES,
    "user": _NAMES,
    "person": _NAMES,
    "customer": _NAMES,
    "firstname": tuple(name.split()[0] for name in _NAMES),
    "lastname": tuple(name.split()[1] for name in _NAMES),
    "surname": tuple(name.split()[1] for name in _NAMES),
    "username": ("ada", "ben", "chen", "dora"),
    "city": _CITIES,
    "town": _CITIES,
    "location": _CITIES,
    "place": _CITIES,
    "destination": _CITIES,
    "origin": _CITIES,
    "country": _COUNTRIES,
    "region": ("north", "south", "east", "west"),
    "state": ("open", "closed", "pending"),
    "status": ("open", "closed", "pending"),
    "street": _STREETS,
    "address": _STREETS,
    "zip": ("01234", "56789", "24680"),
    "postcode": ("01234", "56789", "24680"),
    "phone": ("+1 555 0100", "+1 555 0123", "+1 555 0142"),
    "color": ("red", "green", "blue", "yellow"),
    "colour": ("red", "green", "blue", "yellow"),
    "currency": ("EUR", "USD", "JPY"),
    "language": ("en", "de", "fr", "ja"),
    "lang": ("en", "de", "fr", "ja"),
    "locale": ("en-GB", "de-DE", "ja-JP"),
    "timezone": ("UTC", "Europe/Lisbon", "Asia/Tokyo"),
    "unit": ("celsius", "metre", "kilogram"),
    "gender": ("female", "male", "other"),
    "job": ("baker", "surveyor", "engineer", "librarian"),
    "occupation": ("baker", "surveyor", "engineer", "librarian"),
    "company": ("Example Ltd", "Example Works"),
    "genre": ("mystery", "history", "travel"),
    "sentiment": ("positive", "neutral", "negative"),
    "currencycode": ("EUR", "USD", "JPY"),
    "filename": ("notes.txt", "report.txt"),
    "file": ("notes.txt", "report.txt"),
    "path": ("notes.txt", "docs/report.txt"),
    "code": ("A1", "B2", "C3"),
    "weather": ("sunny", "cloudy", "rainy"),
    "condition": ("sunny", "cloudy", "rainy"),
    "day": ("Monday", "Tuesday", "Friday"),
    "month": ("March", "June", "October"),
    "command": ("ls",),
    "expression": ("2 + 2", "6 * 7"),
}

_PLACES = frozenset({"city", "town", "location", "place", "destination", "origin", "address", "region", "country"})
_QUESTIONS = frozenset(
    {"query", "q", "question", "prompt", "input", "text", "message", "search", "keywords", "request"}
)
_SENTENCES = frozenset(
    {"description", "summary", "reason", "reasoning", "explanation", "answer", "comment", "content", "body", "note"}
    | {"bio", "story", "output", "result", "response", "thought", "analysis", "details", "review", "joke", "steps"}
)
_BY_FORMAT = {
    "email": "email",
    "mail": "email",
    "url": "uri",
    "uri": "uri",
    "link": "uri",
    "website": "uri",
    "date": "date",
    "birthday": "date",
    "datetime": "date-time",
    "timestamp": "date-time",
    "time": "time",
    "uuid": "uuid",
    "hostname": "hostname",
    "ip": "ipv4",
}

_NUMBERS: dict[str, tuple[float, float]] = {
    "age": (18, 80),
    "year": (1990, 2026),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
    "count": (1, 10),
    "quantity": (1, 10),
    "limit": (1, 10),
    "n": (1, 10),
    "rating": (1, 5),
    "score": (0, 1),
    "confidence": (0, 1),
    "probability": (0, 1),
    "percent": (0, 100),
    "percentage": (0, 100),
    "price": (1, 100),
    "cost": (1, 100),
    "amount": (1, 100),
    "temperature": (5, 30),
    "latitude": (-60, 60),
    "lat": (-60, 60),
    "longitude": (-150, 150),
    "lon": (-150, 150),
    "lng": (-150, 150),
    "height": (1, 200),
    "width": (1, 200),
    "population": (1_000, 900_000),
}

_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def words_of(name: str) -> list[str]:
    """The words of a property's name, in small letters, then all together: ``firstName`` → first, name, firstname."""
    pieces = [piece.lower() for piece in _PIECE.findall(name[:100])]
    return [*pieces, "".join(pieces)] if len(pieces) > 1 else pieces


def likely_string(name: str, chance: Chance, hints: Hints) -> str:
    """A string that would make sense in a property of that name."""
    for word in reversed(words_of(name)):
        if word in _PLACES and hints.names:
            return hints.names[0]
        if word in _QUESTIONS and hints.text:
            return hints.text
        if word in _STRINGS:
            return chance.pick(_STRINGS[word])
        if word in _BY_FORMAT:
            return FORMATS[_BY_FORMAT[word]].write(chance)
        if word in _SENTENCES:
            return sentence(chance)
        if word == "id":
            return f"{chance.pick(WORDS)}-{chance.below(900) + 100}"
    return f"{chance.pick(WORDS)} {chance.pick(WORDS)}"


def likely_range(name: str) -> tuple[float, float]:
    """Between what numbers a property of that name would lie."""
    return next((_NUMBERS[word] for word in reversed(words_of(name)) if word in _NUMBERS), (1, 100))
