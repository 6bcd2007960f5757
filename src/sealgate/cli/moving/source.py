"""The file to convert: read without running anything, and a book of what became of each of its leaves.

A leaf is a value that is neither a table nor a list with something in it. Each is *carried* or *left* with a reason;
what nobody spoke of is left as unknown. So nothing can be lost silently, whatever the file holds. No value is ever
repeated: it may be a secret.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from sealgate.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 40
UNKNOWN = "nothing here corresponds to it, or this version does not know it"

Place = tuple[str | int, ...]
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def read(file: Path) -> dict[str, Any]:
    """The document in a ``.yaml``, ``.yml`` or ``.toml`` file. Raises `ConfigError`."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_BYTES // 1024} KiB, which no configuration is")
    try:
        text = raw.decode("utf-8-sig")
        document = tomllib.loads(text, parse_float=Decimal) if file.suffix == ".toml" else _yaml(text)
        _measure(document)
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply") from None
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file} holds no settings")
    return document


def _yaml(text: str) -> Any:
    """Plain data only. Aliases are counted before anything is built of them; a key that stands twice is refused."""
    try:
        import yaml
    except ImportError:
        raise ConfigError("a LiteLLM configuration is YAML, so this needs: pip install 'sealgate[import]'") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _weigh(root, {}, 0)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Only the place and the parser's own words: its context quotes the file.
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"it is not valid YAML{line}") from None
    except yaml.YAMLError:
        raise ConfigError("it is not valid YAML") from None
    except (TypeError, AttributeError, OverflowError):
        raise ConfigError("it holds a value that is no plain data") from None


def _weigh(node: Any, known: dict[int, int], depth: int) -> int:
    """How many nodes there are once every alias is written out. Raises `ConfigError` for too many and for circles."""
    if depth > MAX_DEPTH:
        raise ConfigError("it is nested too deeply")
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) in known:
        if not known[id(node)]:
            raise ConfigError("one of its aliases contains itself")
        return known[id(node)]
    known[id(node)] = 0
    _refuse_twice(node)
    parts = (part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))
    weight = 1 + sum(_weigh(part, known, depth + 1) for part in parts)
    if weight > MAX_NODES:
        raise ConfigError(f"it has more than {MAX_NODES} values, aliases written out")
    known[id(node)] = weight
    return weight


def _refuse_twice(node: Any) -> None:
    seen: set[str] = set()
    for key in (item[0] for item in node.value if isinstance(item, tuple)):
        if not isinstance(key.value, str):
            raise ConfigError(f"line {key.start_mark.line + 1} has a key that is no text")
        if key.value in seen and key.value != "<<":
            raise ConfigError(f"the key {shown(key.value)} stands twice in one table (line {key.start_mark.line + 1})")
        seen.add(key.value)


def _measure(document: Any) -> None:
    """The same bounds for TOML, and text that no file could hold."""
    for count, (place, value) in enumerate(leaves(document)):
        if count > MAX_NODES:
            raise ConfigError(f"it has more than {MAX_NODES} values")
        if len(place) > MAX_DEPTH:
            raise ConfigError("it is nested too deeply")
        "".join(str(part) for part in (*place, value)).encode()


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each leaf with its place; an empty table or list is a leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, str(key)))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*place, index))
    else:
        yield place, value


def shown(place: Place | str) -> str:
    """A place as a reader writes it: ``model_list[0].litellm_params.model``."""
    text = ""
    for part in (place,) if isinstance(place, str) else place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN.fullmatch(part) else json.dumps(part))
    return text


class Source:
    """The document, and what became of its leaves. Who speaks of a leaf first is heard."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.leaves = [place for place, _ in leaves(document)]
        self.carried: dict[Place, str] = {}
        self.left: dict[Place, str] = {}
        self._below: dict[Place, list[Place]] = {}
        for place in self.leaves:
            for length in range(len(place) + 1):
                self._below.setdefault(place[:length], []).append(place)

    def carry(self, place: Place, to: str) -> None:
        """All below ``place`` has become ``to``."""
        self._speak(place, to, self.carried)

    def leave(self, place: Place, reason: str) -> None:
        """Nothing below ``place`` was carried, unless it has been said before."""
        self._speak(place, reason, self.left)

    def close(self) -> None:
        """Whatever nobody spoke of is left as unknown."""
        self.leave((), UNKNOWN)

    def _speak(self, place: Place, text: str, book: dict[Place, str]) -> None:
        for leaf in self._below.get(place, ()):
            if leaf not in self.carried and leaf not in self.left:
                book[leaf] = text

    @property
    def root(self) -> View:
        return View(self, (), self.document)


class View:
    """One table of the source."""

    def __init__(self, source: Source, place: Place, value: dict[Any, Any]) -> None:
        self.source = source
        self.place = place
        self.value = {str(key): inner for key, inner in value.items()}

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def text(self, key: str) -> str | None:
        """The text at ``key``, None where there is none; anything else is said to be wrong."""
        found: str | None = self._typed(key, str, "no text")
        return found

    def number(self, key: str) -> Decimal | None:
        """The number at ``key``, exactly as written; also as text, which ``1e-6`` is in YAML."""
        value = self.value.get(key)
        try:
            if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
                found = Decimal(str(value))
                # Wider than anything that is meant, and then too wide for what is computed of it.
                if found.is_finite() and -20 < found.adjusted() < 20 and len(found.as_tuple().digits) < 28:
                    return found
        except ArithmeticError:
            pass
        if key in self.value and value is not None:
            self.leave(key, "it is no number")
        return None

    def table(self, key: str) -> View:
        """The table at ``key``; empty where there is none."""
        return View(self.source, (*self.place, key), self._typed(key, dict, "no table") or {})

    def tables(self, key: str) -> list[View]:
        """The list of tables at ``key``."""
        found = []
        for index, value in enumerate(self._typed(key, list, "no list") or []):
            if isinstance(value, dict):
                found.append(View(self.source, (*self.place, key, index), value))
            else:
                self.source.leave((*self.place, key, index), "it is no table")
        return found

    def texts(self, key: str) -> list[str]:
        """The list of texts at ``key``; other members are said to be wrong."""
        found = []
        for index, value in enumerate(self._typed(key, list, "no list") or []):
            if isinstance(value, str):
                found.append(value)
            else:
                self.source.leave((*self.place, key, index), "it is no text")
        return found

    def carry(self, key: str, to: str) -> None:
        self.source.carry((*self.place, key), to)

    def leave(self, key: str, reason: str) -> None:
        self.source.leave((*self.place, key), reason)

    def explain(self, reasons: dict[str, str]) -> None:
        """Leave each key that is in the table with its reason."""
        for key, reason in reasons.items():
            self.leave(key, reason)

    def _typed(self, key: str, kind: type, otherwise: str) -> Any:
        value = self.value.get(key)
        if isinstance(value, kind):
            return value
        if key in self.value:
            self.leave(key, "it is empty" if value is None else f"it is {otherwise}")
        return None
