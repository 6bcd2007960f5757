"""``sealgate keys``: make, list, choose, end and import API keys, also while a server runs on the same database.

Results go to stdout and remarks to stderr, so ``KEY=$(sealgate keys create --name ci)`` holds the key and nothing
else. An operator may go beyond the number of keys that a customer can make for itself, and is told so.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealgate.auth import records
from sealgate.auth.caller import DEFAULT_CUSTOMER
from sealgate.auth.keys import MAX_ACTIVE_KEYS, CreatedKey, KeyStore
from sealgate.auth.pepper import load_pepper
from sealgate.auth.records import KeyInfo
from sealgate.cli.operator import operator
from sealgate.cli.refuse import refuse
from sealgate.config import Settings, load
from sealgate.config_tables import Budget, Limits
from sealgate.errors import ConfigError, Problem, StorageError
from sealgate.formats import moments
from sealgate.storage import Storage, open_storage

app = typer.Typer(name="keys", help="Make, list, choose, end and import API keys.", no_args_is_help=True)

PERIODS = ("total", "day", "week", "month")

T = TypeVar("T")

Name = Annotated[str, typer.Option("--name", help="What the key is for.")]
Customer = Annotated[str, typer.Option("--customer", help="Whose key it is; made if new.")]
OfCustomer = Annotated[str | None, typer.Option("--customer", help="Only keys of this customer.")]
Expires = Annotated[
    str | None, typer.Option("--expires", help="When it ends: 2030-01-31, 2030-01-31T12:00Z, or 90d, 12h, 30m.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model it may use; repeat for more. Without: all models.")
]
LimitsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", metavar="NAME=N", help=f"How much may be asked: {', '.join(Limits.__struct_fields__)}; repeatable."
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", metavar="AMOUNT[/PERIOD]", help="How much may be spent: 25.00 in all, or 25.00/month."),
]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@app.command()
def create(
    name: Name,
    customer: Customer = DEFAULT_CUSTOMER,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator's key.")] = False,
    expires: Expires = None,
    model: Models = None,
    limit: LimitsOption = None,
    budget: BudgetOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""

    async def act(store: KeyStore) -> tuple[CreatedKey, list[KeyInfo]]:
        made = await store.create(
            name=name,
            customer=customer,
            admin=admin,
            expires_at=moment(expires),
            models=model,
            limits=_limits(limit),
            budget=_budget(budget),
            beyond_limit=True,
            actor=operator(),
        )
        return made, await store.list(customer)

    made, all_keys = _with_store(config, act)
    if as_json:
        return _print_json({"key": made.key, **_shape(made)})
    _remark_on(made, all_keys)
    _say("The key is shown only now. Send it as 'Authorization: Bearer <key>'.")
    typer.echo(made.key)
    return None


@app.command("list")
def list_keys(customer: OfCustomer = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show the keys, oldest first, revoked and expired ones included."""
    found = _with_storage(
        config, lambda storage, _: storage.read(partial(records.listed, customer_id=customer, now=_now()))
    )
    if as_json:
        return _print_json([_shape(info) for info in found])
    if not found:
        return _say("There are no keys." if customer is None else f"The customer {customer} has no keys.")
    # Where nobody looks, long lines are better than folded ones: they can be searched.
    Console(width=None if sys.stdout.isatty() else 250).print(_table(found))
    return None


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, its prefix as listed, its name, or the key itself.")],
    customer: OfCustomer = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """End a key for good. Running servers refuse it within a second."""
    now = _now()
    ended = _with_storage(
        config,
        lambda storage, _: storage.write(
            partial(records.revoke, which=key, customer_id=customer, now=now, actor=operator())
        ),
    )
    if as_json:
        return _print_json(_shape(ended))
    was = "was revoked already" if ended.revoked_at != now else "is revoked"
    return _say(f"Key '{ended.name}' ({ended.key_prefix}) of customer {ended.customer_id} {was}.")


@app.command()
def default(
    key: Annotated[
        str | None, typer.Argument(help="The key to choose: its id, prefix or name. Without: show the default key.")
    ] = None,
    customer: Customer = DEFAULT_CUSTOMER,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show or choose a customer's default key, whose limits hold for its users' tokens."""
    about: dict[str, Any] = {"customer_id": customer, "now": _now()}

    async def act(storage: Storage, _: Settings) -> KeyInfo | None:
        if key is None:
            return await storage.read(partial(records.default, **about))
        return await storage.write(partial(records.choose_default, which=key, actor=operator(), **about))

    found = _with_storage(config, act)
    if found is None:
        refuse(f"The customer {customer} has no active key.")
    if as_json:
        return _print_json(_shape(found))
    return _say(f"Key '{found.name}' ({found.key_prefix}) is the default key of customer {customer}.")


@app.command("import")
def import_key(
    name: Name,
    customer: Customer = DEFAULT_CUSTOMER,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="The key's SHA-256; without it the key is read from stdin."),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="With --sha256: what the source put before the key when it hashed it."),
    ] = None,
    expires: Expires = None,
    model: Models = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take over a key of another system, by its SHA-256 or in plain on stdin, so that its callers need no new one."""

    async def act(store: KeyStore) -> tuple[KeyInfo, list[KeyInfo]]:
        about: dict[str, Any] = {"name": name, "customer": customer, "expires_at": moment(expires), "models": model}
        about["actor"] = operator()
        if sha256 is None:
            made = await store.import_plain(plain, **about)
        else:
            made = await store.import_hash(sha256, prefix=prefix, **about)
        return made, await store.list(customer)

    if sha256 is None and prefix is not None:
        refuse("--prefix says how a hash was made, so it needs --sha256; a plain key needs none.")
    plain = _read_key() if sha256 is None else ""
    made, all_keys = _with_store(config, act)
    if as_json:
        return _print_json(_shape(made))
    return _remark_on(made, all_keys)


def _with_store(config: str | None, act: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Run ``act`` on the configured database's keys."""

    async def with_pepper(storage: Storage, settings: Settings) -> T:
        return await act(KeyStore(storage, await load_pepper(storage, settings.data_dir, settings.auth.pepper)))

    return _with_storage(config, with_pepper)


def _with_storage(config: str | None, act: Callable[[Storage, Settings], Awaitable[T]]) -> T:
    """Run ``act`` on the configured database. What goes wrong is one sentence on stderr and exit code 1.

    Listing and revoking need no pepper: a leaked key must be ended even where the pepper is not at hand.
    """

    async def run(settings: Settings) -> T:
        storage = open_storage(settings.database_url)
        try:
            return await act(storage, settings)
        finally:
            await storage.aclose()

    try:
        return asyncio.run(run(load(config)))
    except Problem as error:
        refuse(error.message)
    except (ConfigError, StorageError) as error:
        refuse(str(error))


def moment(text: str | None, option: str = "--expires", *, ago: bool = False) -> int | None:
    """A date, a time, or a span from now (``ago``: until now) as Unix microseconds. Raises `ConfigError`."""
    if text is None:
        return None
    if found := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[found[2]]
        span = int(timedelta(**{unit: int(found[1])}) / timedelta(microseconds=1))
        return _now() + (-span if ago else span)
    try:
        return moments.parse(text)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text}: write a date (2030-01-31), a time (2030-01-31T12:00Z) or 90d, 12h, 30m"
        ) from None


def _limits(given: list[str] | None) -> Limits | None:
    """``--limit`` as limits. Raises `ConfigError`."""
    if not given:
        return None
    try:
        pairs = {name: int(number) for name, _, number in (each.partition("=") for each in given)}
        return msgspec.convert(pairs, Limits)
    except (ValueError, msgspec.ValidationError):
        names = ", ".join(Limits.__struct_fields__)
        raise ConfigError(f"--limit {' '.join(given)}: write NAME=N, N from 1; names are {names}") from None


def _budget(given: str | None) -> Budget | None:
    """``--budget`` as a budget. Raises `ConfigError`."""
    if given is None:
        return None
    amount, _, period = given.partition("/")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", amount) or period not in ("", *PERIODS):
        raise ConfigError(f"--budget {given}: write 25.00, or 25.00/PERIOD; periods are {', '.join(PERIODS)}")
    return msgspec.convert({"amount": amount, "period": period or "total"}, Budget)


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def _iso(microseconds: int | None) -> str | None:
    return None if microseconds is None else moments.iso(microseconds)


def _read_key() -> str:
    """The key on stdin, asked for without echo on a terminal."""
    if sys.stdin.isatty():
        return str(typer.prompt("Key", hide_input=True, err=True))
    return sys.stdin.read(4096).removesuffix("\n").removesuffix("\r")


def _shape(info: KeyInfo) -> dict[str, Any]:
    """A key as JSON."""
    return {
        "id": info.id,
        "key_prefix": info.key_prefix,
        "name": info.name,
        "customer": info.customer_id,
        "is_admin": info.is_admin,
        "is_active": info.is_active,
        "is_default": info.is_default,
        "models": info.models,
        "limits": info.limits,
        "budget": info.budget,
        "created_at": _iso(info.created_at),
        "expires_at": _iso(info.expires_at),
        "revoked_at": _iso(info.revoked_at),
    }


def _table(found: list[KeyInfo]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("key", "name", "customer", "created", "expires", "state"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("name", "customer"))
    for info in found:
        expires = (_iso(info.expires_at) or "never")[:16].replace("T", " ")
        created = (_iso(info.created_at) or "")[:10]
        # Text: a name with brackets in it is no markup.
        table.add_row(*map(Text, (info.key_prefix, info.name, info.customer_id, created, expires, _state(info))))
    return table


def _state(info: KeyInfo) -> str:
    if info.revoked_at is not None:
        return "revoked"
    if not info.is_active:
        return "expired"
    return "admin" if info.is_admin else "active"


def _remark_on(made: KeyInfo, all_keys: list[KeyInfo]) -> None:
    kind = "Administrator's key" if made.is_admin else "Key"
    whose = f"{'the new customer' if len(all_keys) == 1 else 'customer'} {made.customer_id}"
    end = f"expires {_iso(made.expires_at)}" if made.expires_at else "never expires"
    _say(f"{kind} '{made.name}' ({made.key_prefix}) for {whose} is ready; it {end}.")
    active = sum(info.is_active for info in all_keys)
    if active > MAX_ACTIVE_KEYS:
        _say(f"This customer now has {active} active keys; without an operator it can have {MAX_ACTIVE_KEYS}.")


def _print_json(value: Any) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)
