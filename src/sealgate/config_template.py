"""A commented configuration file, made from the declarations in `sealgate.config`."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from sealgate import config

EXAMPLE = """\
# A provider: the table's name is the middle part of region/provider/model.
# [providers.acme]
# kind = "openai"                          # or another row of the provider table
# base_url = "https://llm.acme.example/v1"
# api_key = "env::ACME_KEY"                # env::NAME, path::FILE, none, or the key
# region = "eu"

# A model and where it runs.
# [models."gemma-4-31b"]
# aliases = ["gemma4"]
# routes = [{ provider = "acme", model = "google/gemma-4-31b-it" }]
"""


def render() -> str:
    """TOML with every setting of the fixed tables at its default, commented out."""
    parts = ["# Sealgate. Every setting is optional; what is shown commented out is the default.\n"]
    parts += ["\n".join(_table(name, table)) + "\n" for name, table in fixed_tables(config.Settings)]
    return "\n".join([*parts, EXAMPLE])


def fixed_tables(struct: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and declaration of each table whose keys are ours, and of those inside it."""
    for name, hint in typing.get_type_hints(struct).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield path + name, hint
            yield from fixed_tables(hint, f"{path}{name}.")


def _table(name: str, struct: Any) -> Iterator[str]:
    yield f"# {struct.__doc__}"
    yield f"[{name}]"
    for key, description, default in settings_of(struct):
        if default is not msgspec.NODEFAULT and not isinstance(default, dict):
            yield f"# {description}"
            yield f"# {key} = {_toml(default)}" if default is not None else f"# ({key} is not set)"


def settings_of(struct: Any) -> Iterator[tuple[str, str, Any]]:
    """Name, description and default of each setting of a table; tables inside it are their own."""
    hints = typing.get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if not isinstance(default, msgspec.Struct):
            yield field.name, _description(hints[field.name]), default


def _description(hint: Any) -> str:
    metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    return next((meta.description for meta in metas if meta.description), "")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
