"""``sealgate serve``: runs the gateway and says, once, how to use it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

import typer

from sealgate import config
from sealgate.api import server
from sealgate.api.edge import server_config
from sealgate.api.edge_peers import Peers
from sealgate.api.edge_rules import EdgeLimits
from sealgate.api.edge_tls import Certificate
from sealgate.app import Application, Gateway
from sealgate.cli.refuse import refuse
from sealgate.config import Settings
from sealgate.errors import ConfigError, StorageError

GC_THRESHOLD = 5_000
"""New objects between two looks for garbage: requests leave no circles behind, and a look walks all that is open."""


def serve(
    config_file: Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the gateway until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    overrides = {"SEALGATE_SERVER__HOST": host, "SEALGATE_SERVER__PORT": None if port is None else str(port)}
    load = partial(config.load, config_file, overrides={name: text for name, text in overrides.items() if text})
    try:
        with _early_hangups() as early:
            program = _Program(load(), load, early)
            program.run()
    except (ConfigError, StorageError) as error:
        refuse(str(error))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            refuse(f"{error.strerror}. Is another gateway running? Take another port with --port.")
        refuse(error.strerror or str(error))
    if program.ruined is not None:
        refuse(f"the disk has failed to keep what the database wrote ({program.ruined}). See to it, then start again.")


@contextlib.contextmanager
def _early_hangups() -> Iterator[list[int]]:
    """The SIGHUPs of a start: they do not end it, but are kept until there is something to reload."""
    early: list[int] = []
    number = getattr(signal, "SIGHUP", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield early
        return
    before = signal.signal(number, lambda number, _: early.append(number))
    try:
        yield early
    finally:
        signal.signal(number, before or signal.SIG_DFL)


class _Program:
    """The gateway as a process: what the server tells it while it runs.

    Signals may come before the gateway is open; then there is nothing to drain, and nothing to reload yet.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings], early: list[int]) -> None:
        self.ruined: str | None = None
        """Why the database can be written no more."""
        self._settings = settings
        self._load = load
        self._early = early
        self._application = Application(settings)
        self._certificate = _certificate(settings.server)
        self._reloads: set[asyncio.Task[None]] = set()

    @property
    def _gateway(self) -> Gateway | None:
        return self._application.gateway

    def run(self) -> None:
        settings = self._settings
        hooks = server.Hooks(
            on_listening=self._listening, on_drain=self._drain, on_reload=self._reload, on_beat=self._beat
        )
        served = server_config(
            self._application,
            settings.server.host,
            settings.server.port,
            _limits(settings),
            hosts=frozenset(host.lower() for host in settings.server.hosts) or None,
            on_refusal=self._refused,
            peers=Peers(settings.server.trusted_proxies),
            tls=self._certificate,
        )
        server.run(served, drain_seconds=settings.timeouts.drain, hooks=hooks)

    def _listening(self, addresses: list[tuple[str, int]]) -> None:
        # What the start has made stays as long as the process: the collector need not walk through it again and again.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        gc.enable()
        if self._gateway is not None:
            _announce(self._gateway, addresses[0], "http" if self._certificate is None else "https")
        if self._early:
            self._early.clear()
            self._reload()

    def _drain(self) -> None:
        if self._gateway is not None:
            self._gateway.drain()

    def _reload(self) -> None:
        if self._gateway is None:
            self._early.append(signal.SIGHUP)
            return
        if self._certificate is not None:
            _renew(self._certificate, self._gateway)
        task = asyncio.get_running_loop().create_task(self._gateway.reload(self._load))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _beat(self, lag: float, memory: float) -> None:
        if self._gateway is None:
            return
        hall = self._gateway.hall
        hall.load.beat(lag, memory)
        if hall.storage.ruined is not None and self.ruined is None:
            self.ruined = hall.storage.ruined
            signal.raise_signal(signal.SIGTERM)

    def _refused(self, code: str, _peer: tuple[str, int] | None) -> None:
        if self._gateway is not None:
            self._gateway.hall.metrics.edge_refusal(code)


def _certificate(server: config.Server) -> Certificate | None:
    if server.tls_cert is None or server.tls_key is None:
        return None
    return Certificate(server.tls_cert, server.tls_key)


def _renew(certificate: Certificate, gateway: Gateway) -> None:
    try:
        certificate.renew()
    except ConfigError as error:
        gateway.hall.log.error("reload_refused", error=str(error))


def _limits(settings: Settings) -> EdgeLimits:
    timeouts = settings.timeouts
    return EdgeLimits(
        header_seconds=timeouts.header,
        body_seconds=timeouts.body,
        idle_seconds=timeouts.idle,
        write_stall_seconds=timeouts.write_stall,
        max_connections=settings.server.max_connections,
    )


def _announce(gateway: Gateway, address: tuple[str, int], scheme: str) -> None:
    """What a person needs now. The key appears only in the start that made it."""
    host, port = address
    url = gateway.hall.settings.server.public_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    catalog = gateway.hall.catalog
    names = sorted(catalog.models)
    gateway.hall.log.info("listening", address=f"{host}:{port}", models=len(names))
    lines = ["", "Sealgate is listening.", "", f"  API         {url}/v1", f"  reference   {url}/docs"]
    lines.append(
        f"  models      {', '.join(names[:6])}{' …' if len(names) > 6 else ''}" if names else "  models      none"
    )
    direct = sorted(name for name in catalog.providers if name != "sandbox")
    if direct:
        lines.append(f"  providers   {', '.join(f'{name}::MODEL' for name in direct)}")
    key = "$SEALGATE_KEY"
    if gateway.first_key is not None:
        key = gateway.first_key.key
        lines.append(f"  API key     {key}   (shown only now)")
    elif gateway.hall.settings.auth.required:
        lines.append(f"  API key     made at an earlier start; another: {_program()} keys create --name NAME")
    if names:
        model = "sandbox" if "sandbox" in catalog.models else names[0]
        lines += ["", "Try it:", "", *_curl(url, key, model)]
    print("\n".join(lines), flush=True)  # noqa: T201


def _program() -> str:
    return sys.argv[0] if sys.argv[0].endswith("sealgate") else f"{sys.executable} -m sealgate"


def _curl(url: str, key: str, model: str) -> list[str]:
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    return [
        f"  curl {url}/v1/chat/completions \\",
        f'    -H "Authorization: Bearer {key}" \\',
        "    -H 'Content-Type: application/json' \\",
        f"    -d '{body}'",
        "",
    ]
