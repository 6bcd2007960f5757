"""``sealgate audit``: who changed what, when and from where."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealgate.cli.keys import AsJson, Config, moment
from sealgate.cli.refuse import refuse
from sealgate.config import load
from sealgate.errors import ConfigError, StorageError
from sealgate.formats import moments
from sealgate.storage import audit, open_storage
from sealgate.storage.audit import ACTIONS, Record

_KINDS = sorted({action.partition(".")[0] for action in ACTIONS})


def command(
    since: Annotated[
        str | None, typer.Option("--since", help="Only from then on: 2030-01-31, 2030-01-31T12:00Z, or 90d, 12h, 30m.")
    ] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only what was done for this customer.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help=f"Only this act, as key.revoked, or a kind: {', '.join(_KINDS)}.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Only the last so many.")] = 100,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit trail, oldest first."""
    if action is not None and action not in ACTIONS and action not in _KINDS:
        refuse(f"There is no act {action}. There are: {', '.join([*_KINDS, *ACTIONS])}.")
    try:
        found = asyncio.run(_read(config, since=since, customer=customer, action=action, limit=limit))
    except (ConfigError, StorageError) as error:
        refuse(str(error))
    if as_json:
        typer.echo(msgspec.json.encode([_shape(each) for each in found]).decode())
    elif not found:
        typer.echo("Nothing is recorded.", err=True)
    else:
        Console(width=None if sys.stdout.isatty() else 250).print(_table(found))


async def _read(config: str | None, *, since: str | None, **wanted: Any) -> list[Record]:
    from_then = moment(since, "--since", ago=True)
    storage = open_storage(load(config).database_url)
    try:
        return await storage.read(partial(audit.listed, since=from_then, **wanted))
    finally:
        await storage.aclose()


def _shape(found: Record) -> dict[str, Any]:
    """A row as JSON."""
    return {
        "id": found.id,
        "at": moments.iso(found.at),
        "actor": {"kind": found.actor_kind, "id": found.actor_id},
        "customer": found.customer_id,
        "action": found.action,
        "object": found.object,
        "address": found.address,
        "request_id": found.request_id,
        "detail": found.detail,
    }


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("at", "who", "customer", "act", "object", "from", "detail"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("at", "act"))
    for each in found:
        who = f"{each.actor_kind} {each.actor_id or ''}".rstrip()
        detail = msgspec.json.encode(each.detail).decode() if each.detail else ""
        cells = (moments.iso(each.at), who, each.customer_id, each.action, each.object, each.address, detail)
        table.add_row(*(Text(cell or "") for cell in cells))
    return table
