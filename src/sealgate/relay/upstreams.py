"""Which client carries the requests of an account: one per way of connecting, made when it is first needed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from sealgate import config
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.outward.client import Client
from sealgate.outward.fetch import Fetcher
from sealgate.outward.http1 import Http1Client
from sealgate.providers.base import Account, Signer
from sealgate.providers.sandbox import SandboxClient


class Upstreams:
    """Clients by account. Accounts that connect alike share one, and with it the connections.

    Raises `ConfigError` where an account's own authorities or certificate cannot be used.
    """

    def __init__(self, providers: Mapping[str, config.Provider]) -> None:
        self.fetcher = Fetcher()
        """For what a request points to; it belongs to no account."""
        self._providers = providers
        self._by_account: dict[str, tuple[Client, Signer | None]] = {}
        self._shared: dict[tuple[object, ...], Client] = {}
        for row in providers.values():
            if row.ca_file or row.client_cert:
                tls(row)  # what is wrong with a file is said at the start, not to a caller

    def way(self, account: Account) -> tuple[Client, Signer | None]:
        """The client, and who signs its requests where that is needed. Raises `UpstreamError`."""
        found = self._by_account.get(account.table)
        if found is None:
            try:
                found = self._by_account[account.table] = self._make(account), account.kind.host.signer(account)
            except ConfigError as error:
                # What was there at the start is gone, such as a file of certificates.
                raise UpstreamError(Failure.TLS, str(error)) from error
        return found

    def _make(self, account: Account) -> Client:
        row = self._providers[account.table]
        if row.kind == "sandbox":
            return SandboxClient(tokens_per_second=row.tokens_per_second)
        secure = account.base_url.startswith("https:")
        way = (secure, row.proxy, row.ca_file, row.client_cert)
        if way not in self._shared:
            self._shared[way] = _client(row.proxy, tls(row) if secure else trusting_nobody())
        return self._shared[way]

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._shared.values():
            await client.aclose()


def _client(proxy: str | None, context: ssl.SSLContext) -> Client:
    if proxy is None:
        return Http1Client(ssl_context=context)
    # Few have a proxy, and importing it takes a fifth of a second.
    from sealgate.outward.aiohttp_client import AiohttpClient

    return AiohttpClient(ssl_context=context, proxy=proxy)


def tls(row: config.Provider) -> ssl.SSLContext:
    """A context that verifies, with the operator's own authorities and certificate where set. Raises `ConfigError`."""
    try:
        context = ssl.create_default_context(cafile=row.ca_file)
        if row.client_cert:
            context.load_cert_chain(row.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file or client_cert cannot be used: {error}") from None
    return context


def trusting_nobody() -> ssl.SSLContext:
    """A context for servers reached by plain http: reading the system's authorities would stall the loop for 50 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
