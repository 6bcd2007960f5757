"""From a file and the environment to one frozen `Settings`, made by one `load()`.

This is the only module that reads the environment or configuration files. What can be set is declared in
`sealgate.config_tables` and `sealgate.config_routes`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sealgate.config_routes import Limits, Model, Policy, Provider, Route
from sealgate.config_tables import (
    Attestation,
    Auth,
    Billing,
    Issuer,
    Reasoning,
    Receipts,
    Responses,
    Retention,
    Server,
    Settings,
    SharedLimits,
    Storage,
    Telemetry,
    Timeouts,
)
from sealgate.config_types import Secret
from sealgate.errors import ConfigError
from sealgate.formats.addresses import is_loopback

__all__ = [
    "DEFAULT_FILE",
    "FREE_TABLES",
    "Attestation",
    "Auth",
    "Billing",
    "Issuer",
    "Limits",
    "Model",
    "Policy",
    "Provider",
    "Reasoning",
    "Receipts",
    "Responses",
    "Retention",
    "Route",
    "Secret",
    "Server",
    "Settings",
    "SharedLimits",
    "Storage",
    "Telemetry",
    "Timeouts",
    "environment_secrets",
    "is_loopback",
    "load",
]

DEFAULT_FILE = "sealgate.toml"
PREFIX = "SEALGATE_"

FREE_TABLES = ("providers", "models", "auth.issuers")
"""Tables whose own keys are chosen by the operator."""


def load(
    path: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read the file, lay the environment over it, check everything.

    The file is ``path``, else ``SEALGATE_CONFIG``, else ``./sealgate.toml`` if there is one, else nothing.
    ``overrides`` are variables laid over the environment's (the command line's options). Raises `ConfigError` whose
    text names the file, the key, and the nearest valid key.
    """
    environ = {**environ, **(overrides or {})}
    file = _find(path, environ)
    raw = _read(file) if file else {}
    where = str(file) if file else "the environment"
    _overlay(raw, environ)
    try:
        _refuse_unknown(raw, Settings, ())
        _place_secrets(raw, environ)
        settings = msgspec.convert(raw, Settings, dec_hook=_secret_hook)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_plain(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    _check(settings, where)
    return settings


def environment_secrets(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, Secret]:
    """Those of ``names`` that are set in the environment: how provider keys are found without configuration."""
    return {name: Secret(environ[name].strip()) for name in names if environ.get(name, "").strip()}


AT_START = (
    "server.host", "server.port", "server.hosts", "server.tls_cert", "server.tls_key", "server.require_https",
    "server.trusted_proxies", "server.cors_origins", "server.max_connections", "storage", "auth.required",
    "auth.pepper", "limits.url", "timeouts.header", "timeouts.body", "timeouts.idle", "timeouts.write_stall",
    "timeouts.drain", "retention", "receipts.log", "telemetry.level", "telemetry.format",
)  # fmt: skip
"""What a reload does not change."""


def changed_at_start(begun: Settings, now: Settings) -> list[str]:
    """Settings that are other ones now than at the start, and hold only after a restart."""
    return [name for name in AT_START if attrgetter(name)(begun) != attrgetter(name)(now)]


def _find(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get(PREFIX + "CONFIG")
    if named:
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None


def _overlay(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put ``SEALGATE_SERVER__PORT=8080`` at ``raw["server"]["port"]``."""
    places = {PREFIX + "__".join(path).upper(): (path, hint) for path, hint in _places(Settings, ())}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        if variable.upper() not in places:
            raise ConfigError(f"the environment variable {variable} sets nothing{_nearest(variable, places)}")
        (*tables, key), hint = places[variable.upper()]
        table: Any = raw
        for name in tables:
            table = table.setdefault(name, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[key] = _from_text(value, hint, variable)


def _places(struct: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where each key of the fixed tables stands, and its type."""
    for name, hint in _hints(struct).items():
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from _places(hint, (*path, name))
        elif path:
            yield (*path, name), hint


def _from_text(value: str, hint: Any, variable: str) -> Any:
    """A variable's text as the type it stands for; lists are written as in TOML."""
    if _mentions(hint, Secret) or not value:
        return value
    if value.startswith("["):
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{variable} is not a valid list: {error}") from None
    try:
        return msgspec.to_builtins(msgspec.convert(value, hint, strict=False))
    except msgspec.ValidationError as error:
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        raise ConfigError(f"{name}: {str(error).replace('`', '')} (from {variable} or the command line)") from None


def _refuse_unknown(value: Any, hint: Any, path: tuple[str, ...]) -> None:
    """Raise for the first key that no declaration knows, naming the nearest one."""
    if isinstance(value, list):
        for item in value:
            _refuse_unknown(item, hint, path)
        return
    if not isinstance(value, dict):
        return
    struct, free = _struct_in(hint), ".".join(path) in FREE_TABLES
    if struct is None:
        return
    known = _hints(struct)
    for key, inner in value.items():
        if not free and key not in known:
            place = f"[{'.'.join(path)}]" if path else "the top level"
            raise ConfigError(f"unknown key '{key}' in {place}{_nearest(key, known)}")
        _refuse_unknown(inner, struct if free else known[key], (*path, key))


def _place_secrets(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Turn ``env::NAME`` and ``path::FILE`` into secrets, where secrets stand."""
    for name, key in (("auth", "pepper"), ("limits", "url")):
        table = raw.get(name)
        if isinstance(table, dict) and key in table:
            table[key] = next(iter(_secrets(table[key], f"{name}.{key}", environ)), None)
    providers = raw.get("providers")
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        if isinstance(provider, dict) and "api_key" in provider:
            where = f"providers.{name}.api_key"
            provider["api_key"] = tuple(_secrets(provider["api_key"], where, environ))


def _secrets(value: Any, where: str, environ: Mapping[str, str]) -> Iterator[Secret]:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise ConfigError(f"{where} must be a string or a list of strings")
        scheme, found, rest = item.partition("::")
        if item == "none":
            continue
        if found and scheme == "env":
            if not environ.get(rest):
                raise ConfigError(f"{where} names the environment variable {rest}, which is not set")
            yield Secret(environ[rest].strip())
        elif found and scheme == "path":
            yield Secret(_secret_file(Path(rest), where))
        elif not item:
            raise ConfigError(f"{where} is empty; write none where there is no key")
        else:
            yield Secret(item)


def _secret_file(file: Path, where: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} names the file {file}, which cannot be read: {error}") from None
    if not text:
        raise ConfigError(f"{where} names the file {file}, which is empty")
    return text


def _secret_hook(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    raise ValueError("expected a secret")


def _check(settings: Settings, where: str) -> None:
    """What the types cannot say."""
    for key, model in settings.models.items():
        for route in model.routes:
            if route.provider not in settings.providers:
                nearest = _nearest(route.provider, settings.providers)
                raise ConfigError(
                    f"{where}: a route of model '{key}' names the provider '{route.provider}', "
                    f"but there is no [providers.{route.provider}]{nearest}"
                )
    seen: dict[str, str] = {}
    for name, issuer in settings.auth.issuers.items():
        if (other := seen.setdefault(issuer.issuer, name)) != name:
            raise ConfigError(f"{where}: auth.issuers.{other} and auth.issuers.{name} are the same issuer")
    if not settings.auth.required and not is_loopback(settings.server.host):
        raise ConfigError(
            f"{where}: auth.required = false is allowed only on a loopback address, "
            f"and server.host is {settings.server.host}"
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's sentence with the place first, as the operator wrote it."""
    text, _, place = str(error).partition(" - at `$")
    return f"{place.rstrip('`').lstrip('.') or 'the file'}: {text}"


def _hints(struct: Any) -> dict[str, Any]:
    return typing.get_type_hints(struct, include_extras=True)


def _mentions(hint: Any, kind: type) -> bool:
    return hint is kind or any(_mentions(part, kind) for part in typing.get_args(hint))


def _struct_in(hint: Any) -> Any:
    """The Struct that a type hint holds, through Annotated, Optional, tuple and dict values."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint
    return next((found for part in typing.get_args(hint) if (found := _struct_in(part)) is not None), None)
