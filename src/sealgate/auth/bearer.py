"""What a door knows of tokens: something that makes callers of them. Without issuers there is nothing behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from sealgate.auth.caller import Caller
from sealgate.config_tables import Issuer
from sealgate.errors import Problem


class TokenProblem(Problem):
    """401 ``invalid_token``, always with the same body. ``reason`` is for the operator's eyes."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("invalid_token")


class Login(NamedTuple):
    """Where people get the tokens of one issuer. The last two are known once the issuer has said so."""

    name: str
    discovery_url: str
    authorization_url: str | None
    token_url: str | None


class Bearers(Protocol):
    """Makes callers of tokens."""

    def cached(self, credential: bytes, /) -> Caller | None:
        """The caller with this token, if that is known already; None: ask `find`."""

    async def find(self, credential: bytes, /) -> Caller:
        """The caller with this token. Raises `TokenProblem`, or `Problem` ``auth_unavailable``."""

    def start(self) -> None:
        """Begin to fetch the issuers' keys."""

    async def aclose(self) -> None:
        """Stop fetching."""

    def configure(self, issuers: Mapping[str, Issuer], /) -> None:
        """Take other issuers, or other rules of the same ones; what was concluded by the old ones is void."""

    @property
    def logins(self) -> Sequence[Login]:
        """Where tokens come from."""

    @property
    def fetches(self) -> Mapping[tuple[str, ...], int]:
        """How often the issuers' keys were fetched, by issuer and outcome."""


class NoTokens:
    """`Bearers` where no issuer is configured."""

    logins: Sequence[Login] = ()
    fetches: Mapping[tuple[str, ...], int] = {}

    def cached(self, _: bytes, /) -> None:
        return None

    async def find(self, _: bytes, /) -> NoReturn:
        raise TokenProblem("no_issuers")

    def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def configure(self, _: Mapping[str, Issuer], /) -> None:
        pass


class FirstIssuers:
    """`Bearers` that may begin without issuers: ``make`` is called when there are some, at the start or at a reload."""

    def __init__(self, make: Callable[[Mapping[str, Issuer]], Bearers], issuers: Mapping[str, Issuer]) -> None:
        self._make = make
        self._bearers: Bearers = make(issuers) if issuers else NoTokens()

    def cached(self, credential: bytes, /) -> Caller | None:
        return self._bearers.cached(credential)

    async def find(self, credential: bytes, /) -> Caller:
        return await self._bearers.find(credential)

    def start(self) -> None:
        self._bearers.start()

    async def aclose(self) -> None:
        await self._bearers.aclose()

    def configure(self, issuers: Mapping[str, Issuer], /) -> None:
        if isinstance(self._bearers, NoTokens) and issuers:
            self._bearers = self._make(issuers)
            self._bearers.start()
        else:
            self._bearers.configure(issuers)

    @property
    def logins(self) -> Sequence[Login]:
        return self._bearers.logins

    @property
    def fetches(self) -> Mapping[tuple[str, ...], int]:
        return self._bearers.fetches
