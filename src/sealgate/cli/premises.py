"""What ``sealgate doctor`` finds on this machine: storage, folder, clock, file descriptors, settings to think about."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sealgate import config
from sealgate.api.listeners import MOST_WANTED, SPARE
from sealgate.app import require_clock
from sealgate.config import Settings
from sealgate.errors import ConfigError
from sealgate.providers.table import KINDS
from sealgate.relay.doctor import Finding
from sealgate.storage.trial import missing_file, try_database

try:
    import resource
except ImportError:  # not on every system
    resource = None  # type: ignore[assignment]

MACHINE = "this machine"


def findings(settings: Settings, now: float) -> Iterator[Finding]:
    """One line each; ``now`` is in Unix seconds. Blocks while the database is asked."""
    yield _storage(settings)
    yield _data_dir(settings.data_dir)
    yield _clock(now)
    if (descriptors := _descriptors(settings.server.max_connections)) is not None:
        yield descriptors
    yield from (Finding("settings", key, "note", says) for key, says in _doubtful(settings))


def found_in_environment(configured: Settings, settings: Settings) -> Finding:
    """What discovery has added to the configuration."""
    added = {name: row for name, row in settings.providers.items() if name not in configured.providers}
    places = [f"{name} ({_whence(row)})" for name, row in added.items()]
    none = "" if configured.providers else "no provider is configured; "
    return Finding(MACHINE, "environment", "ok", f"{none}found {', '.join(places) or 'nothing'}")


def _whence(row: config.Provider) -> str:
    kind = KINDS[row.kind]
    if row.api_key:
        return ", ".join(config.environment_secrets(kind.key_variables))
    return str(kind.base_url) if kind.port is not None else "built in"


def _storage(settings: Settings) -> Finding:
    try:
        path = missing_file(settings.database_url)
        if path is None:
            return Finding("storage", "database", "ok", try_database(settings.database_url))
    except ConfigError as error:
        return Finding("storage", "database", "wrong", str(error))
    if (why := _unwritable(path.parent)) is not None:
        return Finding("storage", "database", "wrong", f"{path} cannot be made: {why}")
    return Finding("storage", "database", "ok", f"the first start will make {path}")


def _data_dir(folder: Path) -> Finding:
    if (why := _unwritable(folder)) is not None:
        return Finding("storage", "data_dir", "wrong", f"{folder} cannot be written: {why}")
    there = "can be written" if folder.is_dir() else "will be made by the first start"
    return Finding("storage", "data_dir", "ok", f"{folder} {there}")


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be written in a folder, or made on the way to it; None where it can."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return f"{place} is not a folder"
    if place != folder.absolute():
        return None if os.access(place, os.W_OK | os.X_OK) else f"{place} may not be written by this user"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _clock(now: float) -> Finding:
    try:
        require_clock(now)
    except ConfigError as error:
        return Finding(MACHINE, "clock", "wrong", str(error))
    return Finding(MACHINE, "clock", "ok", "is set")


def _descriptors(connections: int) -> Finding | None:
    """Whether there will be enough for as many callers as the configuration lets in, with a provider for each."""
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, min(hard, MOST_WANTED)) if hard >= 0 else MOST_WANTED
    wanted = 2 * connections + SPARE
    says = f"soft limit {soft}, and a start takes {most}"
    if soft < 0 or most >= wanted:
        return Finding(MACHINE, "descriptors", "ok", says if soft != most else f"soft limit {soft}")
    says += f": enough for {(most - SPARE) // 2} of server.max_connections = {connections}"
    return Finding(MACHINE, "descriptors", "note", f"{says}; raise the hard limit (ulimit -Hn) to {wanted}")


def _doubtful(settings: Settings) -> Iterator[tuple[str, str]]:
    """Settings that work, and that an operator may not have meant."""
    server, open_to_all = settings.server, not config.is_loopback(settings.server.host)
    if not settings.auth.required:
        yield "auth.required", "is false: whoever reaches this machine's loopback address may call"
    if open_to_all and server.tls_cert is None and not server.trusted_proxies:
        says = f"is {server.host} without TLS: keys travel in plain; set tls_cert, or a proxy and trusted_proxies"
        yield "server.host", says
    if open_to_all and settings.telemetry.metrics == "public":
        yield "telemetry.metrics", "is public: everyone who reaches the gateway can read /metrics"
    for name, row in settings.providers.items():
        address = urlsplit(row.base_url or "")
        if row.api_key and address.scheme == "http" and not config.is_loopback(address.hostname or ""):
            yield (
                f"providers.{name}",
                "sends its key over plain http; use https where that is not a network of your own",
            )
