"""``sealgate signing-keys``: the keys that sign receipts, also while a server runs on the same database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from sealgate.cli.refuse import refuse
from sealgate.config import Settings, load
from sealgate.errors import ConfigError, StorageError
from sealgate.receipts import keys, store
from sealgate.storage import Storage, open_storage

app = typer.Typer(
    name="signing-keys", help="List, rotate and revoke the keys that sign receipts.", no_args_is_help=True
)

T = TypeVar("T")
Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]


@app.command("list")
def list_keys(config: Config = None) -> None:
    """Show the keys and what each is now: next, active, retired or revoked."""
    _, rows = _run(config, lambda storage, _: storage.read(store.all_keys))
    if not rows:
        return _say("There is no signing key yet; the first start makes one.")
    states = keys.statuses(rows, _now())
    for row in rows:
        typer.echo(f"{row.kid}  {states[row.kid]:<8} signs from {_moment(row.active_from)}")
    return None


@app.command()
def rotate(config: Config = None) -> None:
    """Make a new key. It is published at once, and signs as soon as every cached key set must have it."""
    made = _run(config, lambda storage, settings: keys.rotate(storage, settings.data_dir, _now()))
    _say(f"The key is published now and signs from {_moment(made.active_from)} on; until then the present one does.")
    _say("Replicas need its file: share the folder signing-keys, or copy it before then.")
    typer.echo(made.kid)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="The key's name, as listed.")],
    config: Config = None,
) -> None:
    """End a key for good: its receipts are refused from now on, but for those that were logged before."""
    successor = _run(config, lambda storage, settings: keys.revoke(storage, settings.data_dir, kid, _now()))
    _say(f"The key {kid} is revoked. Running servers know it within {keys.POLL_SECONDS:g} seconds.")
    if successor is not None:
        _say(f"It was the one in use; {successor.kid} signs from now on. Replicas need its file.")


def _run(config: str | None, act: Callable[[Storage, Settings], Awaitable[T]]) -> T:
    """Act on the configured database. What goes wrong is one sentence on stderr and exit code 1."""

    async def run(settings: Settings) -> T:
        storage = open_storage(settings.database_url)
        try:
            return await act(storage, settings)
        finally:
            await storage.aclose()

    try:
        return asyncio.run(run(load(config)))
    except (ConfigError, StorageError) as error:
        refuse(str(error))


def _now() -> int:
    return time.time_ns() // 1000


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)
