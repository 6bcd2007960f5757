"""``sealgate usage``: what was used and what it cost, by model, key, day or user."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Sequence
from functools import partial
from io import StringIO
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealgate.cli.keys import Config, moment
from sealgate.cli.refuse import refuse
from sealgate.config import load
from sealgate.errors import ConfigError, StorageError
from sealgate.formats import moments
from sealgate.limits import reports
from sealgate.limits.periods import DAY
from sealgate.limits.prices import shown
from sealgate.limits.reports import GroupBy, Question, Sum
from sealgate.storage import open_storage

COLUMNS = ("requests", "prompt_tokens", "completion_tokens", "cost", "currency")
RISKY = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the beginning of a cell (row K8)."""


def command(
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer; without: all.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Only from then on: 2030-01-31, 2030-01-31T12:00Z, or 90d, 12h, 30m.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only before then.")] = None,
    group_by: Annotated[GroupBy, typer.Option("--group-by", help="What a line is about.")] = "model",
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How it is printed.")] = "table",
    config: Config = None,
) -> None:
    """Show what was used and what it cost, the dearest first, days the latest first."""
    try:
        asked = Question(customer, moment(since, "--from", ago=True), moment(until, "--to", ago=True))
        found = asyncio.run(_read(config, asked, group_by))
    except (ConfigError, StorageError) as error:
        refuse(str(error))
    rows = [_shape(group_by, each) for each in found]
    if form == "json":
        typer.echo(msgspec.json.encode(rows).decode())
    elif form == "csv":
        typer.echo(_csv(group_by, rows), nl=False)
    elif not rows:
        typer.echo("Nothing was used.", err=True)
    else:
        # Where nobody looks, long lines are better than folded ones.
        Console(width=None if sys.stdout.isatty() else 250).print(_table(group_by, rows))


async def _read(config: str | None, asked: Question, by: GroupBy) -> Sequence[Sum]:
    settings = load(config)
    storage = open_storage(settings.database_url)
    try:
        ask = partial(reports.summed, asked=asked, by=by, currency=settings.billing.currency)
        return (await storage.read(ask))[0]
    finally:
        await storage.aclose()


def _shape(by: GroupBy, found: Sum) -> dict[str, Any]:
    name = moments.iso(int(found.group or 0) * DAY)[:10] if by == "day" else found.group
    cost = None if found.cost is None else shown(found.cost)
    return {by: name, **{column: getattr(found, column) for column in COLUMNS}, "cost": cost}


def _csv(by: GroupBy, rows: Sequence[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, *COLUMNS])
    for row in rows:
        name = row[by] or ""
        writer.writerow([f"'{name}" if name.startswith(RISKY) else name, *(row[column] for column in COLUMNS)])
    return text.getvalue()


def _table(by: GroupBy, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(by, overflow="fold")
    for column in COLUMNS:
        table.add_column(column.replace("_", " "), justify="left" if column == "currency" else "right")
    for row in rows:
        cells = [row[by] or "(none)", *("" if row[column] is None else str(row[column]) for column in COLUMNS)]
        table.add_row(*(Text(cell) for cell in cells))
    return table
