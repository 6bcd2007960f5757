"""From a credential to a caller, before anything of the body is read."""

from __future__ import annotations

from sealgate.api.call import Call
from sealgate.auth.caller import ANONYMOUS, Caller
from sealgate.auth.credential import MAX_KEY_BYTES, credential_in, is_token_shaped, require_form
from sealgate.auth.keyform import OWN_PREFIX
from sealgate.auth.keys import KeyStore
from sealgate.auth.tokens import TokenProblem, Tokens
from sealgate.config import Limits, is_loopback
from sealgate.errors import Problem
from sealgate.relay.load import Load
from sealgate.relay.turns import Turns

OWN = OWN_PREFIX.encode()


class Guard:
    """Knows callers by their keys and tokens; lets everyone in where authentication is switched off.

    ``load`` is asked for a place for requests that cost something; `sealgate.api.front` gives it back. ``turns`` gives
    every request of a caller its turn: what is limited is told in every answer of the API, not in those about health.
    """

    def __init__(self, keys: KeyStore, tokens: Tokens, load: Load, turns: Turns, *, required: bool) -> None:
        self._keys = keys
        self._tokens = tokens
        self._load = load
        self._turns = turns
        self._required = required

    async def caller(self, call: Call) -> Caller:
        """Raises `Problem` with 401 or 503."""
        return self._let_in(call, self._recognised(call) or await self._find(call))

    async def admitted(self, call: Call) -> Caller:
        """The caller, with a place for this request. Raises `Problem` also where there is none (row D6)."""
        caller = self._let_in(call, self._recognised(call) or await self._find(call))
        self._load.enter(caller.customer_id)
        call.admitted = True
        return caller

    def _let_in(self, call: Call, caller: Caller) -> Caller:
        call.caller = caller
        if call.mount:
            call.turn = self._turns.turn(caller)
        return caller

    def _recognised(self, call: Call) -> Caller | None:
        """The caller, where that is known without asking anybody."""
        if not self._required:
            _require_own_machine(call)
            return ANONYMOUS
        credential = credential_in(call.headers, call.noted)
        if len(credential) > MAX_KEY_BYTES:
            return self._tokens.cached(credential)
        return self._keys.cached(credential) or self._tokens.cached(credential)

    async def _find(self, call: Call) -> Caller:
        """A key if there is such a key; else a token if it has the shape of one (and only then)."""
        credential = credential_in(call.headers, call.noted)
        require_form(credential)
        if len(credential) <= MAX_KEY_BYTES:  # What is longer has the shape of a token, or had not come so far.
            try:
                return await self._keys.find(credential)
            except Problem as problem:
                own = credential.startswith(OWN)
                if problem.code.name != "invalid_api_key" or own or not is_token_shaped(credential):
                    raise
        try:
            return await self._tokens.find(credential)
        except TokenProblem as problem:
            call.reason = problem.reason
            raise

    async def optional(self, call: Call) -> Caller | None:
        """The caller where a credential was sent, which must then be valid."""
        if call.header(b"authorization") is None and call.header(b"x-api-key") is None:
            return None
        return await self.caller(call)

    async def admin(self, call: Call) -> Caller:
        """Raises `Problem` also for a key that is no administrator's."""
        caller = await self.caller(call)
        if not caller.is_admin:
            raise Problem("admin_key_required")
        return caller

    def usual_limits(self) -> Limits | None:
        """Of callers that have none of their own."""
        return self._turns.default

    async def account(self, call: Call) -> Caller:
        """Who may change what the customer owns: a user by a token, or an administrator's key. Else `Problem` 403."""
        caller = await self.caller(call)
        if not caller.is_admin and caller.user_id is None:
            raise Problem("admin_key_required", "This call needs a user's token or an administrator's key.")
        return caller


def _require_own_machine(call: Call) -> None:
    """Without keys, what a web page could reach is refused: a rebound host name, a request from another site."""
    client = call.scope.get("client")
    if client is None or not is_loopback(client[0]):
        raise Problem("missing_api_key", "This server answers without a key on its own machine only.")
    host = (call.header(b"host") or b"localhost").decode("latin-1").lower()
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if not is_loopback(name.strip("[]")):
        raise Problem("misdirected_request")
    if (call.header(b"sec-fetch-site") or b"none") not in (b"none", b"same-origin"):
        raise Problem("cross_site_request")
