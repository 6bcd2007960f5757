"""An OpenID Connect issuer that makes real tokens, and bad ones of every kind that there is.

::

    async with Issuer() as issuer:
        issuer.url                                        # what goes into [auth.issuers.NAME] issuer
        token = issuer.token("alice", email="alice@app.example")
        issuer.rotate()                                   # from now on another key signs
        issuer.broken = error(503)                        # and now it is down
        assert issuer.fetches == 2                        # how often its keys were asked for

It is a `ScriptedUpstream` that answers discovery and its keys (JWKS) with real documents, so its faults are scripts as
everywhere in this kit. Tokens are signed by `joserfc`, which must be installed; those that no honest library makes are
put together by hand.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, json_answer
from sealgate.testing.thread import ThreadedUpstream
from sealgate.testing.upstream import ScriptedUpstream

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks"
HOUR = 3600


class Issuer:
    """A small issuer on 127.0.0.1. ``clock`` gives the Unix seconds by which its tokens begin and end.

    ``algorithm`` is what it signs with: ``ES256`` is quick to make keys for, ``RS256`` what most issuers use.
    """

    def __init__(
        self,
        *,
        algorithm: str = "ES256",
        audience: str = "sealgate",
        port: int = 0,
        max_age: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.algorithm = algorithm
        self.audience = audience
        self.max_age = max_age
        """Seconds for which its keys may be kept, as ``Cache-Control`` says; None says nothing."""
        self.broken: Behaviour | None = None
        """What it does instead of answering, whatever it is asked for."""
        self.broken_keys: Behaviour | None = None
        """The same, for its keys alone."""
        self.metadata: dict[str, Any] = {}
        """Laid over what its discovery document says; a value of None takes the entry out."""
        self.extra_keys: list[dict[str, Any]] = []
        """Listed among its keys as they are."""
        self.keys: list[Any] = []
        """Its keys, the one that signs last. All of them are published."""
        self._clock = clock
        self._made = 0
        self._upstream = ScriptedUpstream(port=port, handler=self._answer)
        self.rotate()

    async def __aenter__(self) -> Self:
        await self._upstream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstream.__aexit__(kind, exc, trace)

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """The same in a thread, for tests without a loop: ``with Issuer().in_thread() as issuer:``."""
        with ThreadedUpstream(self._upstream):
            yield self

    # What it is

    @property
    def url(self) -> str:
        """Its `iss`. Known once it runs."""
        return self._upstream.origin

    @property
    def jwks_url(self) -> str:
        return self.url + JWKS

    @property
    def requests(self) -> list[Received]:
        """Every request it got."""
        return self._upstream.requests

    @property
    def fetches(self) -> int:
        """How often its keys were asked for."""
        return sum(request.path == JWKS for request in self.requests)

    @property
    def kid(self) -> str:
        """The name of the key that signs."""
        return str(self.keys[-1].kid)

    def jwks(self) -> dict[str, Any]:
        """The document that lists its public keys."""
        return {"keys": [*(key.as_dict(private=False) for key in self.keys), *self.extra_keys]}

    def discovery(self) -> dict[str, Any]:
        """The document that says where everything is."""
        said = {
            "issuer": self.url,
            "jwks_uri": self.jwks_url,
            "authorization_endpoint": self.url + "/authorize",
            "token_endpoint": self.url + "/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "scopes_supported": ["openid", "email", "profile"],
            **self.metadata,
        }
        return {name: value for name, value in said.items() if value is not None}

    # What it does

    def rotate(self, *, keep: bool = True, kid: str | None = None) -> None:
        """Sign with a new key from now on; with ``keep`` the older ones stay published."""
        self._made += 1
        if not keep:
            self.keys.clear()
        self.keys.append(make_key(self.algorithm, kid or f"key-{self._made}"))

    def claims(self, sub: str | None = "alice", *, lasts: float = HOUR, **claims: Any) -> dict[str, Any]:
        """The claims of an access token; a claim given as None is left out."""
        now = int(self._clock())
        said = {"iss": self.url, "sub": sub, "aud": self.audience, "iat": now, "exp": now + lasts, **claims}
        return {name: value for name, value in said.items() if value is not None}

    def token(
        self, sub: str | None = "alice", *, lasts: float = HOUR, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token for ``sub`` that is good for ``lasts`` seconds. ``header`` and ``claims`` are laid over its own."""
        return signed(
            {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **(header or {})},
            self.claims(sub, lasts=lasts, **claims),
            self.keys[-1],
        )

    # Tokens that nobody should accept

    def unsigned(self, sub: str = "alice", *, algorithm: str = "none") -> str:
        """A token without a signature, which says so."""
        return compact({"alg": algorithm, "kid": self.kid, "typ": "JWT"}, self.claims(sub), lambda _: b"")

    def confused(self, sub: str = "alice") -> str:
        """A token signed by HMAC, with the public key as its secret."""
        secret = self.keys[-1].as_pem(private=False)
        header = {"alg": "HS256", "kid": self.kid, "typ": "JWT"}
        return compact(header, self.claims(sub), lambda data: hmac.digest(secret, data, hashlib.sha256))

    def forged(self, sub: str = "alice", *, header: Mapping[str, Any] | None = None, embed: bool = False) -> str:
        """A token that somebody else signed in this issuer's name, with ``embed`` carrying that key in its head."""
        key = make_key(self.algorithm, self.kid)
        carried = {"jwk": key.as_dict(private=False)} if embed else {}
        said = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **carried, **(header or {})}
        return signed(said, self.claims(sub), key)

    # What it answers

    def _answer(self, request: Received) -> Behaviour | None:
        if self.broken is not None:
            return self.broken
        if request.path == DISCOVERY:
            return json_answer(self.discovery())
        if request.path == JWKS:
            return self.broken_keys or json_answer(self.jwks(), headers=self._cache_control())
        return None

    def _cache_control(self) -> dict[str, str]:
        return {} if self.max_age is None else {"cache-control": f"public, max-age={self.max_age}"}


def make_key(algorithm: str, kid: str) -> Any:
    """A private key for this algorithm, as `joserfc` knows it."""
    from joserfc import jwk

    parameters: Any = {"kid": kid, "alg": algorithm, "use": "sig"}
    if algorithm.startswith(("RS", "PS")):
        return jwk.RSAKey.generate_key(2048, parameters=parameters)
    if algorithm.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
        return jwk.ECKey.generate_key(curve, parameters=parameters)
    return jwk.OKPKey.generate_key("Ed25519", parameters=parameters)


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], key: Any) -> str:
    """A token with exactly this header and these claims, signed with this key by the algorithm of its head."""
    from joserfc import jws

    algorithm = jws.JWSRegistry.algorithms[str(header["alg"])]
    return compact(header, claims, lambda data: algorithm.sign(data, key))


def compact(header: Mapping[str, Any], claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """Any header, any claims, any signature, as a token is written (RFC 7515, section 7.1)."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (dict(header), claims)]
    data = b".".join(map(_encoded, parts))
    return (data + b"." + _encoded(sign(data))).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
