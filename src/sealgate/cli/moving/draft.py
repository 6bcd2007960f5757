"""The configuration to be written: tables by name, and its text in TOML with a comment where the reader must act."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sealgate.limits.prices import LARGEST, PLACES
from sealgate.outward.head import parse_url
from sealgate.providers.table import KINDS

UNSET_URL = "https://set-base-url.invalid"
UNSET = "SET-ME"
_RESERVED = ("auto", "tensorzero")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class PlainKey:
    """A key that stood in the source in plain text. It is compared and never shown."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainKey) and other._value == self._value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "PlainKey(***)"


@dataclass
class ProviderDraft:
    """One ``[providers.X]``: its settings, and comments above them."""

    settings: dict[str, Any]
    remarks: list[str] = field(default_factory=list)


@dataclass
class ModelDraft:
    """One ``[models."X"]``."""

    routes: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def tables(self) -> set[str]:
        return {route["provider"] for route in self.routes}


@dataclass
class Draft:
    """All that will be written, and what the operator has to do or should know."""

    reserved: frozenset[str] = frozenset()
    """Names that provider tables must not have, because names of models would read as routes."""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    providers: dict[str, ProviderDraft] = field(default_factory=dict)
    models: dict[str, ModelDraft] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def provider(self, wanted: str, settings: dict[str, Any], beside: Iterable[str] = (), remark: str = "") -> str:
        """The table with these settings, a new one where none is free: a model has one route at each."""
        beside = set(beside)
        for name, known in self.providers.items():
            if name not in beside and known.settings == settings:
                return name
        name = self._free(wanted)
        self.providers[name] = ProviderDraft(settings, [remark] if remark else [])
        return name

    def _free(self, wanted: str) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "-", wanted)[:48].lstrip("._-") or "provider"
        taken = {*self.providers, *self.reserved, *_RESERVED}
        return next(name for name in _numbered(base) if name not in taken)

    def alias(self, name: str, model: str) -> str | None:
        """Give a model another name, or say why not."""
        if model not in self.models:
            return "there is no model of that name in what was carried"
        if name in self.models or any(name in known.aliases for known in self.models.values()):
            return "the name is a model's already"
        if refused := unnameable(name):
            return refused
        self.models[model].aliases.append(name)
        return None

    def name_keys(self) -> dict[str, str]:
        """Turn keys in plain text into variables of the environment; gives table to variable."""
        used = {key for each in self.providers.values() for key in referenced(each.settings)}
        named: dict[str, str] = {}
        for table, each in self.providers.items():
            if isinstance(each.settings.get("api_key"), PlainKey):
                known = [var for other, var in named.items() if self._same_key(other, each.settings["api_key"])]
                base = re.sub(r"[^A-Z0-9]", "_", table.upper()) + "_API_KEY"
                base = base if _VARIABLE.fullmatch(base) else f"_{base}"
                variable = known[0] if known else next(name for name in _numbered(base, "_") if name not in used)
                used.add(variable)
                named[table] = variable
        for table, variable in named.items():
            each = self.providers[table]
            each.settings = {**each.settings, "api_key": f"env::{variable}"}
            each.remarks.append("Its key stood in the file in plain text and is not copied: set the variable to it.")
        return named

    def _same_key(self, table: str, key: PlainKey) -> bool:
        return bool(self.providers[table].settings["api_key"] == key)

    def settle(self) -> None:
        """Take away what would be refused: policies that have nothing to go by. Say what is missing."""
        for table, each in self.providers.items():
            for key, value in each.settings.items():
                if value in (UNSET, UNSET_URL):
                    each.remarks.append(f"Set {key}: the source does not say it in a form that can be used.")
                    self.note(f"Set {key} of [providers.{table}]; until then it cannot be reached.")
        for name, model in self.models.items():
            policy = model.settings.get("policy")
            if len(model.routes) < 2:
                model.settings.pop("policy", None)
            elif policy == "price" and not all("input_per_mtok" in route for route in model.routes):
                del model.settings["policy"]
                self.note(f"The model {name} is not routed by price, because not all of its routes have one.")

    def text(self, head: Iterable[str]) -> str:
        """The file. Raises nothing: what was put in was checked."""
        parts = [_comments(head)]
        parts += [_table(name, settings, []) for name, settings in self.tables.items() if settings]
        parts += [_table(f"providers.{_key(n)}", each.settings, each.remarks) for n, each in self.providers.items()]
        parts += [_model(name, each) for name, each in self.models.items()]
        return "\n".join(parts)


def unnameable(name: str) -> str | None:
    """Why a model cannot have this name here; None where it can."""
    parts = name.split("/", 2)
    if not name:
        return "a model needs a name"
    if name.startswith("tensorzero::"):
        return "names that begin with tensorzero:: stand for what follows"
    if len(parts) == 3 and all(parts) and parts[0] in ("auto", "global") and parts[1] == "auto":
        return "it reads as region/provider/model"
    return None


def reserve(names: Iterable[str]) -> frozenset[str]:
    """What provider tables must not be called, so that none of these names reads as a route."""
    found = set()
    for name in names:
        parts = name.split("/", 2)
        found.add(name.partition("::")[0] if "::" in name else "")
        found.add(parts[1] if len(parts) == 3 else "")
    return frozenset(found - {""})


def address(url: str) -> str | None:
    """The URL of a server as it can be used, None where it cannot: user names and queries may hold secrets."""
    try:
        parse_url(url)
    except ValueError:
        return None
    return None if "?" in url or "#" in url else url.rstrip("/")


def variable(name: str) -> bool:
    """Whether this can be the name of a variable."""
    return _VARIABLE.fullmatch(name) is not None


def per_mtok(price: Decimal, times: int = 1_000_000) -> str | None:
    """A price of one token as the exact price of a million; None for what is no price."""
    found = (price * times).normalize()
    places = -int(found.as_tuple().exponent)
    return f"{found:f}" if 0 <= found <= LARGEST and places <= PLACES else None


def usual_key(kind: str) -> str:
    """Where the key of a hosted provider is by habit; ``none`` for a server of one's own."""
    found = KINDS[kind].key_variables
    return f"env::{found[0]}" if found else "none"


def referenced(settings: Mapping[str, Any]) -> list[str]:
    """The variables that a provider's settings name."""
    key = settings.get("api_key")
    return [key.removeprefix("env::")] if isinstance(key, str) and key.startswith("env::") else []


def quoted(text: str) -> str:
    """A TOML basic string; its escapes are JSON's, but for the one character that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _numbered(base: str, joint: str = "-") -> Iterable[str]:
    yield base
    number = 2
    while True:
        yield f"{base}{joint}{number}"
        number += 1


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _comments(lines: Iterable[str]) -> str:
    """Comments hold no control characters, whatever they quote."""
    return "".join(f"# {''.join(c if c.isprintable() else '?' for c in line)}".rstrip() + "\n" for line in lines)


def _table(name: str, settings: Mapping[str, Any], remarks: Iterable[str]) -> str:
    rows = "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())
    return f"{_comments(remarks)}[{name}]\n{rows}"


def _model(name: str, model: ModelDraft) -> str:
    settings = {**model.settings, **({"aliases": model.aliases} if model.aliases else {})}
    routes = "".join(
        "  { " + ", ".join(f"{key} = {_value(value)}" for key, value in route.items()) + " },\n"
        for route in model.routes
    )
    return f"{_table(f'models.{quoted(name)}', settings, model.remarks)}routes = [\n{routes}]\n"
