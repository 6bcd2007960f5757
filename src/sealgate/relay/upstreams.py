"""Which client carries the requests of an account: one per way of connecting, made when it is first needed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from sealgate import config
from sealgate.errors import ConfigError
from sealgate.outward.aiohttp_client import AiohttpClient
from sealgate.outward.client import Client
from sealgate.outward.http1 import Http1Client
from sealgate.providers.base import Account
from sealgate.providers.sandbox import SandboxClient


class Upstreams:
    """Clients by account. Accounts that connect alike share one, and with it the connections."""

    def __init__(self, providers: Mapping[str, config.Provider]) -> None:
        self._providers = providers
        self._by_account: dict[str, Client] = {}
        self._shared: dict[tuple[str | None, ...], Client] = {}

    def client(self, account: Account) -> Client:
        found = self._by_account.get(account.table)
        if found is None:
            found = self._by_account[account.table] = self._make(self._providers[account.table])
        return found

    def _make(self, row: config.Provider) -> Client:
        if row.kind == "sandbox":
            return SandboxClient(tokens_per_second=row.tokens_per_second)
        way = (row.proxy, row.ca_file, row.client_cert)
        if way not in self._shared:
            context = tls(row)
            self._shared[way] = (
                AiohttpClient(ssl_context=context, proxy=row.proxy) if row.proxy else Http1Client(ssl_context=context)
            )
        return self._shared[way]

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._shared.values():
            await client.aclose()


def tls(row: config.Provider) -> ssl.SSLContext:
    """A context that verifies, with the operator's own authorities and certificate where set. Raises `ConfigError`."""
    try:
        context = ssl.create_default_context(cafile=row.ca_file)
        if row.client_cert:
            context.load_cert_chain(row.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file or client_cert cannot be used: {error}") from None
    return context
