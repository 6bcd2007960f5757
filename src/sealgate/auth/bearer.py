"""What a door knows of tokens: something that makes callers of them. Without issuers there is nothing behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from sealgate.auth.caller import Caller
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
