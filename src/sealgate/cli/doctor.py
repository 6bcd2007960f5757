"""``sealgate doctor``: asks every provider for real, looks at this machine, and says what to do."""

from __future__ import annotations

import asyncio
import difflib
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealgate import config
from sealgate.cli import premises
from sealgate.cli.refuse import refuse
from sealgate.config import Settings
from sealgate.errors import ConfigError
from sealgate.providers.base import Account
from sealgate.relay import catalog
from sealgate.relay.catalog import Catalog, Route
from sealgate.relay.doctor import LIMIT, Doctor, Finding
from sealgate.relay.upstreams import Upstreams

COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
UNCUT = 1000
"""The width of lines that nobody cuts to a terminal's."""


def command(
    providers: Annotated[
        list[str] | None, typer.Argument(metavar="[PROVIDER]...", help="Only these; unset: all, and this machine.")
    ] = None,
    config_file: Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    no_completion: Annotated[
        bool, typer.Option("--no-completion", help="Ask no route for a few tokens, which cost money.")
    ] = False,
) -> None:
    """Check each provider's address, keys, models and routes for real, and this machine.

    Every configured route is asked for an answer of at most 16 tokens. Routes that were only found, on a local
    server, are not: a model server may have to load each model. Exit code 0: nothing is wrong; 1: something is.
    """
    from sealgate.app import with_discovered

    try:
        configured = config.load(config_file)
        settings = asyncio.run(with_discovered(configured))
        built, upstreams = catalog.build(settings), Upstreams(settings.providers)
    except ConfigError as error:
        refuse(str(error))
    accounts = _chosen(built, providers or [])
    found = [] if providers else _of_machine(configured, settings)
    found += asyncio.run(_examine(built, upstreams, accounts, configured, completion=not no_completion))
    well = all(each.state != "wrong" for each in found)
    if as_json:
        typer.echo(msgspec.json.encode({"ok": well, "checks": found}))
    else:
        _print(found)
    raise typer.Exit(0 if well else 1)


def _of_machine(configured: Settings, settings: Settings) -> list[Finding]:
    found = list(premises.findings(settings, time.time()))
    return [*found, premises.found_in_environment(configured, settings)] if configured.discovers else found


def _chosen(built: Catalog, names: Sequence[str]) -> list[Account]:
    """The accounts by these names, of their tables or of their routes; all where there are none."""
    known = {name for account in built.accounts.values() for name in (account.table, account.name)}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
            refuse(f"there is no provider '{name}'; {hint}")
    return [each for each in built.accounts.values() if not names or each.table in names or each.name in names]


async def _examine(
    built: Catalog, upstreams: Upstreams, accounts: Sequence[Account], configured: Settings, *, completion: bool
) -> list[Finding]:
    def tried(route: Route) -> bool:
        built_in = not route.account.base_url.startswith("http")
        return completion and (built_in or route.key in configured.models)

    try:
        return await Doctor(built, upstreams, time.time, tried, LIMIT).examine(accounts)
    finally:
        await upstreams.aclose()


def _print(found: Sequence[Finding]) -> None:
    table = Table("", "of", "check", "", box=None)
    for each in found:
        mark = Text(each.state, style=COLOURS[each.state])
        table.add_row(mark, Text(each.subject), Text(each.check), Text(each.says))
    Console(width=None if sys.stdout.isatty() else UNCUT).print(table)
    wrong = sum(each.state == "wrong" for each in found)
    typer.echo(f"\n{wrong} of {len(found)} checks found something wrong." if wrong else "\nAll is well.")
