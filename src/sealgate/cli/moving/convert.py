"""The whole conversion: a file in, the text of ours and a report out; nothing is written that would not load."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sealgate import config
from sealgate.cli.moving import litellm, tensorzero
from sealgate.cli.moving.draft import Draft, referenced
from sealgate.cli.moving.source import Source, read, shown
from sealgate.errors import ConfigError
from sealgate.providers.table import KINDS
from sealgate.relay import catalog

SUFFIXES = {".yaml": "LiteLLM", ".yml": "LiteLLM", ".toml": "TensorZero"}
HOLDERS = {"LiteLLM": {"model_list"}, "TensorZero": {"models", "functions", "embedding_models"}}
"""Where models stand; a file with none of these is something else."""


class Moved(NamedTuple):
    """What came of a file. ``carried`` and ``left`` are all its leaves, with what each became or why it did not."""

    text: str
    models: list[str]
    providers: list[str]
    variables: list[str]
    """What has to be set in the environment."""
    carried: dict[str, str]
    left: dict[str, str]
    notes: list[str]


def convert(file: Path, look: litellm.Look) -> Moved:
    """Read and convert a file. Raises `ConfigError` where it cannot be read, or is of neither format."""
    origin = SUFFIXES.get(file.suffix)
    if origin is None:
        raise ConfigError(f"{file}: a LiteLLM configuration ends in .yaml or .yml, one of TensorZero in .toml")
    return of_document(read(file), origin, file.name, look)


def of_document(document: dict[str, Any], origin: str, name: str, look: litellm.Look) -> Moved:
    """Convert what a file held. Raises `ConfigError`."""
    if not HOLDERS[origin] & document.keys():
        raise ConfigError(f"{name} has no models as {origin} writes them")
    source = Source(document)
    draft = litellm.convert(source, look) if origin == "LiteLLM" else tensorzero.convert(source)
    source.close()
    draft.name_keys()
    draft.settle()
    variables = sorted({variable for each in draft.providers.values() for variable in referenced(each.settings)})
    text = draft.text(_head(name, origin, variables))
    _check(text, variables, draft)
    return Moved(
        text,
        list(draft.models),
        list(draft.providers),
        variables,
        {shown(place): to for place, to in source.carried.items()},
        {shown(place): reason for place, reason in source.left.items()},
        draft.notes,
    )


def _head(name: str, origin: str, variables: list[str]) -> list[str]:
    lines = [f"Converted from {name} of {origin} by: sealgate import", "Every other setting: sealgate init other.toml"]
    return [*lines, f"Variables it needs: {', '.join(variables)}"] if variables else lines


def _check(text: str, variables: list[str], draft: Draft) -> None:
    """Load it as a start would, with something in each variable. Raises `ConfigError`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sealgate.toml"
        # Files with keys need not be there yet, nor on this machine.
        file.write_text(text.replace('api_key = "path::', 'api_key = "'), encoding="utf-8")
        try:
            settings = config.load(file, environ=dict.fromkeys(variables, "set"))
            catalog.build(_without_extras(settings, draft))
        except ConfigError as error:
            raise ConfigError(f"what it says cannot be served: {str(error).replace(str(file), 'converted')}") from None


def _without_extras(settings: config.Settings, draft: Draft) -> config.Settings:
    """The same, with a stand-in for providers whose optional library is not installed here."""
    providers = dict(settings.providers)
    for table, row in providers.items():
        extra = KINDS[row.kind].extra if row.kind in KINDS else None
        if extra is not None and not _installed(extra[1]):
            draft.note(f"[providers.{table}] needs a library: pip install 'sealgate[{extra[0]}]'")
            providers[table] = config.Provider(kind="compatible", base_url="http://127.0.0.1/v1", region=row.region)
    return msgspec.structs.replace(settings, providers=providers)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
