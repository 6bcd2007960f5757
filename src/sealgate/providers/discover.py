"""What is there without configuration: the sandbox, providers whose keys are in the environment, local servers.

A local server counts as found when it answers ``GET /v1/models`` with OpenAI's list on the usual port of its kind.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from sealgate import config
from sealgate.errors import UpstreamError
from sealgate.outward.client import Client, Limits, Request
from sealgate.providers.base import Kind
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.table import KINDS

PROBE = Limits(connect=0.3, silence=0.7)
MAX_LIST = 1024 * 1024
LOCAL = "local"
OWN_MARK = f"{LOCAL}/sandbox/sandbox"
"""A route that only a gateway lists."""
AUTO = "auto"


async def discover(settings: config.Settings, client: Client) -> config.Settings:
    """The settings with what was found added; what the operator configured is never changed."""
    mine = settings.providers
    sandbox = config.Provider(kind="sandbox", region=LOCAL)
    providers: dict[str, config.Provider] = {"sandbox": sandbox}
    models: dict[str, config.Model] = {}
    for kind, secret in _keys().items():
        providers[kind] = config.Provider(kind=kind, api_key=(secret,))
    found = await asyncio.gather(*(_probe(kind, client) for kind in KINDS.values() if kind.port is not None))
    for kind, names in (("sandbox", ["sandbox"]), *found):
        if names and _is_there(kind, mine.get(kind)):
            providers.setdefault(kind, config.Provider(kind=kind, region=LOCAL))
            for name in names:
                models.setdefault(name, _model((kind, name)))
    taken = {name for model in settings.models.values() for name in model.aliases}
    regions = {AUTO, *(row.region for row in (*providers.values(), *mine.values()))}
    free = {name: model for name, model in models.items() if name not in taken and _is_plain(name, regions)}
    return msgspec.structs.replace(settings, providers=providers | mine, models=free | settings.models)


def _is_there(kind: str, mine: config.Provider | None) -> bool:
    """Whether the provider that the operator calls by this name is the server that was asked."""
    return mine is None or (mine.kind == kind and mine.base_url in (None, KINDS[kind].base_url))


def _is_plain(name: str, regions: set[str]) -> bool:
    """Whether a server's name for a model can be used as it is: it is no route, and no way of writing one."""
    if not name or not name.isprintable() or name != name.strip() or "::" in name:
        return False
    return name.count("/") < 2 or name.partition("/")[0] not in regions


def _keys() -> dict[str, config.Secret]:
    """Kind to key, for kinds with a key in the environment."""
    variables = {variable: kind.name for kind in KINDS.values() for variable in kind.key_variables}
    return {variables[name]: secret for name, secret in config.environment_secrets(variables).items()}


def _model(*routes: tuple[str, str]) -> config.Model:
    return config.Model(routes=tuple(config.Route(provider=provider, model=model) for provider, model in routes))


async def _probe(kind: Kind, client: Client) -> tuple[str, list[str]]:
    request = Request("GET", f"{kind.base_url}/models", {"accept": "application/json"}, b"")
    try:
        body = await _get(client, request)
        answer: Any = msgspec.json.decode(body)
        names = [str(item["id"]) for item in answer["data"]]
    except (UpstreamError, *UNREADABLE, KeyError, TypeError):
        return kind.name, []
    # A gateway on that port, maybe this very one, is no model server.
    return kind.name, [] if OWN_MARK in names else names


async def _get(client: Client, request: Request) -> bytes:
    response = await client.send(request, PROBE)
    try:
        pieces: list[bytes] = []
        while response.status == 200 and (piece := await response.read()):
            pieces.append(piece)
            if sum(map(len, pieces)) > MAX_LIST:
                return b""
        return b"".join(pieces)
    finally:
        response.close()
