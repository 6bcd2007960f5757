"""Whether each provider account works, found out by asking it: connection, keys, list of models, a few tokens a route.

Requests are made by the code that serves callers (`Attempt` over `compose`, by the account's own client); only the
list of models is asked for by nobody else. Nothing is retried, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Client, Limits, Request, Response
from sealgate.providers import listing
from sealgate.providers.base import Account
from sealgate.providers.refused import NOTHING, refused_by
from sealgate.relay.answer import Label, WholeAnswer
from sealgate.relay.ask import Ask
from sealgate.relay.attempt import Attempt
from sealgate.relay.catalog import Catalog, Model, Route, Target
from sealgate.relay.diagnosis import UNCONNECTED, sentence
from sealgate.relay.quirks import setting
from sealgate.relay.request import read_chat
from sealgate.relay.upstreams import Upstreams

T = TypeVar("T")
State = Literal["ok", "note", "wrong"]
"""``note`` is for what an operator should know and that keeps nothing from working."""

LIMIT = 10.0
"""Seconds for each thing that is asked."""
HELLO = 2.0
"""Seconds for a first sign of life: after them it is enough that there is a connection."""
AT_ONCE = 8
"""Accounts looked at together."""
ROUTES_AT_ONCE = 4
"""Completions of one account on their way together, so that looking does not meet its rate limit."""
TOKENS = 16
"""A single one would be refused for models that think first."""
MAX_LIST = 16 * 1024 * 1024
SKEW = 60.0
"""Seconds by which two clocks may differ before it is said."""
LEARNED = "requests learn that by themselves, and need not if the configuration says it:"
_LABEL = Label("", "", 0, "", {})


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, and what was seen."""

    subject: str
    check: str
    state: State
    says: str


class Listed(NamedTuple):
    """What came of asking for the list of models: names, or why there are none."""

    names: Sequence[str] | None = None
    error: UpstreamError | None = None


class Trial(NamedTuple):
    """What came of asking for a few tokens."""

    target: Target
    error: UpstreamError | None
    seconds: float
    refused: frozenset[str] = NOTHING
    """Parameters without which it was answered, after they were refused."""


@dataclass
class Examined:
    """What is known of one account once it was asked."""

    account: Account
    lists: list[Listed]
    """By key; one entry where there is no key."""
    trials: list[Trial] = field(default_factory=list)
    public: bool = False
    """Whether the list comes without a key, too."""

    @property
    def names(self) -> Sequence[str] | None:
        return next((each.names for each in self.lists if each.names is not None), None)

    def errors(self, key: int) -> Iterator[UpstreamError]:
        """What went wrong with one key, completions first: they are what counts."""
        found = [trial.error for trial in self.trials if trial.target.key == key]
        yield from (error for error in (*found, self.lists[key].error) if error is not None)

    def works(self, key: int) -> bool:
        return any(trial.error is None for trial in self.trials if trial.target.key == key)


class Doctor:
    """Looks at accounts.

    ``clock`` gives Unix seconds; ``tried`` says whether a route may cost a few tokens; ``seconds`` is what each thing
    that is asked may take.
    """

    def __init__(
        self,
        catalog: Catalog,
        upstreams: Upstreams,
        clock: Callable[[], float],
        tried: Callable[[Route], bool],
        seconds: float,
    ) -> None:
        self._catalog = catalog
        self._upstreams = upstreams
        self._clock = clock
        self._tried = tried
        self._seconds = seconds
        self._background: set[asyncio.Task[None]] = set()

    async def examine(self, accounts: Iterable[Account]) -> list[Finding]:
        """What was seen of each account, in their order."""
        found = await _gather(AT_ONCE, [self._account(account) for account in accounts])
        await asyncio.gather(*self._background)
        return [finding for each in found for finding in each]

    async def _account(self, account: Account) -> list[Finding]:
        reached = await self._reach(account)
        if reached[0].state == "wrong":
            return reached
        seen = Examined(account, await _gather(AT_ONCE, [self._list(account, key) for key in _keys(account)]))
        routes = self._routes(account)
        for more in (_targets, _second_targets):
            targets = [target for target in more(routes, seen) if self._tried(target.route)]
            seen.trials += await _gather(ROUTES_AT_ONCE, [self._try(target) for target in targets])
        if any(each.names is not None and not seen.works(key) for key, each in enumerate(seen.lists)):
            seen.public = bool(account.secrets) and (await self._list(account, None)).names is not None
        others = [_of_other(model, route, seen) for model in self._catalog.models.values() if model.type != "chat"
                  for route in model.routes if route.account is account]  # fmt: skip
        return [*reached, *_of_keys(seen), *_of_models(seen), *(_of_route(route, seen) for route in routes), *others]

    def _routes(self, account: Account) -> list[Route]:
        """Its routes that chat, one for each name that the provider knows."""
        found: dict[str, Route] = {}
        for model in self._catalog.models.values():
            for route in model.routes:
                if route.account is account and model.type == "chat":
                    found.setdefault(route.id, route)
        return list(found.values())

    # Asking

    async def _reach(self, account: Account) -> list[Finding]:
        """Whether there is a connection at all; any answer will do, none is waited for for long."""
        name = account.table
        if not account.base_url.startswith("http"):
            return [Finding(name, "address", "ok", "built in, nothing to connect to")]
        request = Request("GET", account.base_url, {"user-agent": "sealgate", "accept": "*/*"}, b"")
        said = ", certificate verified" if account.base_url.startswith("https") else ""
        reached = Finding(name, "address", "ok", f"{account.base_url} connects{said}")
        try:
            client, _ = self._upstreams.way(account)
            response = await client.send(request, self._limits(min(HELLO, self._seconds)))
        except UpstreamError as error:
            if error.failure in UNCONNECTED:
                return [Finding(name, "address", "wrong", sentence(error, account))]
            return [reached]
        response.close()
        return [reached, *self._clocks(name, response)]

    def _clocks(self, name: str, response: Response) -> Iterator[Finding]:
        try:
            ahead = self._clock() - parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return
        if abs(ahead) > SKEW:
            where = "ahead of" if ahead > 0 else "behind"
            says = f"this machine's clock is {abs(ahead):.0f} s {where} the provider's; signatures and tokens go by it"
            yield Finding(name, "clock", "note", says)

    async def _list(self, account: Account, key: int | None) -> Listed:
        request = listing.request(account, key)
        if request is None:
            return Listed()
        try:
            client, _ = self._upstreams.way(account)
            body = await self._read(client, request, account)
            return Listed(listing.names(body))
        except UpstreamError as error:
            return Listed(None, error)
        except ValueError as error:
            return Listed(None, UpstreamError(Failure.BAD_RESPONSE, str(error)))

    async def _read(self, client: Client, request: Request, account: Account) -> bytes:
        response = await client.send(request, self._limits(self._seconds))
        try:
            pieces: list[bytes] = []
            while piece := await response.read():
                pieces.append(piece)
                if sum(map(len, pieces)) > MAX_LIST:
                    raise UpstreamError(Failure.TOO_LARGE)
        finally:
            response.close()
        status, body = response.status, b"".join(pieces)
        if response.headers.get("content-type", "").startswith("text/html") and status in (200, 404, 405):
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer came as text/html", status=status)
        if status != 200:
            raise account.kind.wire.failure(status, response.headers, body)
        return body

    async def _try(self, target: Target) -> Trial:
        """Ask one route by one key for a few tokens, as a caller's request would be asked."""
        started, error, refused = monotonic(), None, NOTHING
        ask = _hello(target.route)
        try:
            async with asyncio.timeout(self._seconds):  # a signer may wait for credentials, too
                try:
                    await self._complete(target, ask)
                except UpstreamError as found:
                    refused = refused_by(found, ask.prompt)
                    if not refused:
                        raise
                    await self._complete(target, ask, refused)
        except TimeoutError:
            error = UpstreamError(Failure.TIMEOUT)
        except UpstreamError as found:
            error = found
        return Trial(target, error, monotonic() - started, refused)

    async def _complete(self, target: Target, ask: Ask, refused: frozenset[str] = NOTHING) -> None:
        attempt = Attempt(self._upstreams, target, replace(ask.prompt, refused=refused), self._background)
        answer = WholeAnswer(_LABEL, 1, ask.size)
        try:
            await attempt.open(self._limits(self._seconds))
            while not attempt.over:
                for event in await attempt.read():
                    answer.take(event)
            answer.end()
        except UpstreamError as error:
            error.status = attempt.status if error.status is None else error.status
            raise
        finally:
            attempt.close()

    def _limits(self, silence: float) -> Limits:
        until = asyncio.get_running_loop().time() + self._seconds
        return Limits(connect=self._seconds, silence=silence, until=until)


def _hello(route: Route) -> Ask:
    """A request for a few tokens."""
    body: dict[str, Any] = {"model": route.id, "messages": [{"role": "user", "content": "Hi"}]}
    if "max_tokens" in route.capabilities:
        body["max_tokens"] = TOKENS
    return read_chat(msgspec.json.encode(body))


def _keys(account: Account) -> range:
    return range(len(account.fixed_headers))


def _targets(routes: Sequence[Route], seen: Examined) -> Iterator[Target]:
    """Each route by one key, and the first route by the others; but by no key that is known to be wrong."""
    usable = [key for key, each in enumerate(seen.lists) if each.error is None or each.error.status != 401]
    for key in usable:
        yield from (Target(route, key) for route in (routes if key == usable[0] else routes[:1]))


def _second_targets(routes: Sequence[Route], seen: Examined) -> Iterator[Target]:
    """What only failed by its key is asked again by one that works, as a caller's request would be."""
    good = next((key for key in _keys(seen.account) if seen.works(key)), None)
    for route in routes:
        failed = [each.error for each in seen.trials if each.target.route is route]
        if good is not None and failed and all(each is not None and each.failure.of_the_key for each in failed):
            yield Target(route, good)


# Judging: functions of what was seen


def _of_keys(seen: Examined) -> Iterator[Finding]:
    account = seen.account
    for key in _keys(account):
        check = "key" if len(account.secrets) < 2 else f"key {key + 1}"
        wrong = next((each for each in seen.errors(key) if each.failure.of_the_key), None)
        if seen.works(key):
            yield Finding(account.table, check, "ok", _accepted(account))
        elif wrong is not None:
            yield Finding(account.table, check, "wrong", sentence(wrong, account))
        elif seen.lists[key].names is not None:
            yield _by_list(seen, check)
        elif account.secrets:
            yield Finding(account.table, check, "note", "not known: nothing came of which it could be told")


def _accepted(account: Account) -> str:
    if account.secrets:
        return "accepted"
    own = account.kind.host.signer(account) is not None
    return "the credentials of this machine are accepted" if own else "none is needed"


def _by_list(seen: Examined, check: str) -> Finding:
    if seen.public:
        says = "not known: the list of models needs none, and no route was answered by it"
        return Finding(seen.account.table, check, "note", says)
    says = "accepted for the list of models" if seen.account.secrets else "none is needed for the list of models"
    return Finding(seen.account.table, check, "ok", says)


def _of_models(seen: Examined) -> Iterator[Finding]:
    account, error = seen.account, seen.lists[0].error
    if (names := seen.names) is not None:
        yield Finding(account.table, "models", "ok", f"{len(names)} listed")
    elif error is None:
        yield Finding(account.table, "models", "ok", "no list is asked for at this kind of provider")
    elif error.status in (404, 405) and error.failure is not Failure.BAD_RESPONSE:
        yield Finding(account.table, "models", "note", f"has no list of models ({error.status})")
    elif seen.works(0):
        yield Finding(account.table, "models", "note", f"routes answer, but not the list: {sentence(error, account)}")
    elif not error.failure.of_the_key:
        yield Finding(account.table, "models", "wrong", sentence(error, account))


def _of_route(route: Route, seen: Examined) -> Finding:
    trials = [each for each in seen.trials if each.target.route is route]
    trial = next((each for each in trials if each.error is None), trials[0] if trials else None)
    known = seen.names is None or route.upstream_model in seen.names or seen.account.kind.open_catalog
    if trial is None:
        return _by_name(route, seen)
    if trial.error is None:
        says = f"{route.upstream_model} answered in {trial.seconds:.2f} s{'' if known else ', though it is not listed'}"
        if not trial.refused:
            return Finding(seen.account.table, route.id, "ok", says)
        says += f", but it refuses {', '.join(sorted(trial.refused))}; {LEARNED} {setting(route, trial.refused)}"
        return Finding(seen.account.table, route.id, "note", says)
    says = sentence(trial.error, seen.account, route.upstream_model)
    if trial.error.failure.of_the_key:
        says = f"not answered: {says.partition(';')[0]}"  # its key's own line says the rest
    elif trial.error.failure is Failure.MODEL_GONE and not known:
        says += _suggestion(route, seen)
    return Finding(seen.account.table, route.id, "wrong", says)


def _by_name(route: Route, seen: Examined) -> Finding:
    """A route that was not asked."""
    account = seen.account
    if seen.names is None:
        return Finding(account.table, route.id, "note", "not asked, so nothing is known of it")
    if route.upstream_model in seen.names:
        return Finding(account.table, route.id, "ok", f"{route.upstream_model} is listed")
    says = f"its list has no model {route.upstream_model!r}{_suggestion(route, seen)}"
    return Finding(account.table, route.id, "wrong", says)


def _of_other(model: Model, route: Route, seen: Examined) -> Finding:
    """A route that does not chat: only whether the provider names its model is looked at."""
    says = f"not checked: nothing is asked of models for {model.type}"
    if seen.names is None:
        return Finding(seen.account.table, route.id, "note", f"{says}, and there is no list of models")
    if route.upstream_model in seen.names:
        return Finding(seen.account.table, route.id, "ok", f"{route.upstream_model} is listed; otherwise {says}")
    says = f"its list has no model {route.upstream_model!r}{_suggestion(route, seen)}; otherwise {says}"
    return Finding(seen.account.table, route.id, "note", says)


def _suggestion(route: Route, seen: Examined) -> str:
    close = listing.nearest(route.upstream_model, seen.names or ())
    return f"; did you mean {close!r}?" if close else ""


async def _gather(at_once: int, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, a few at a time."""
    turn = asyncio.Semaphore(at_once)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with turn:
            return await coroutine

    return await asyncio.gather(*(one(each) for each in work))
