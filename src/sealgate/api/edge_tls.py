"""The server's certificate: loaded from PEM files, shown to callers, renewed while connections stay open."""

from __future__ import annotations

import ssl

from sealgate.errors import ConfigError


class Certificate:
    """A certificate and its key, and ``context``, the TLS context that shows them (TLS 1.2 and later, HTTP/1.1).

    Raises `ConfigError` where the files cannot be used.
    """

    __slots__ = ("_cert", "_current", "_key", "context")

    def __init__(self, cert: str, key: str) -> None:
        self._cert, self._key = cert, key
        self._current = self.context = self._load()
        self.context.sni_callback = self._choose

    def renew(self) -> None:
        """Read the files again, for new connections. Where they cannot be used `ConfigError`, and nothing changes."""
        self._current = self._load()

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # Another context for each handshake, because loading into the live one would leave it half done after a bad
        # file, and would keep the old certificate beside a new one with a key of another type.
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        for setting, file in (("server.tls_cert", self._cert), ("server.tls_key", self._key)):
            try:
                open(file, "rb").close()
            except OSError as error:
                raise ConfigError(f"{setting} names the file {file}, which cannot be read: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=self._locked)
        except ssl.SSLError as error:
            reason = f" ({error.reason.lower().replace('_', ' ')})" if error.reason else ""
            raise ConfigError(
                f"server.tls_cert {self._cert} and server.tls_key {self._key} "
                f"are not a certificate and its key in PEM form{reason}"
            ) from None
        return context

    def _locked(self) -> str:
        raise ConfigError(
            f"server.tls_key {self._key} has a passphrase; write it without one, readable to the gateway only"
        )
