"""Limits counted in Redis or Valkey, so that replicas count together. The only door to that server.

Everything happens in one script on the server, by its clock: one round trip for each request that is let in, and one
for each that has ended, which nobody waits for. What comes while a round trip is under way goes together in the next.

A place is a lease: it is renewed while its request runs, and free again `LEASE` seconds after its process is gone.
What is to be settled while the server cannot be reached is sent when it answers again; the server knows what it was
told already. A window whose pieces would lie in the future, because the server's clock was set back, keeps their ages.
Scripts touch the keys of many callers at once, so a cluster that shards by key will not do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha1
from typing import Any, NamedTuple

import msgspec

from sealgate.errors import ConfigError
from sealgate.limits.limiter import (
    LEASE,
    PIECES,
    Refused,
    Rule,
    Standing,
    StoreGoneError,
    Taken,
    Verdict,
    amount,
    new_id,
)

PREFIX = "sealgate:limits:"
DEADLINE = 0.1
"""Seconds a round trip may take. Then the server counts as gone."""
CONNECT_SECONDS = 2.0
"""The same where no request waits: at the start, and while it is gone."""
MOST_AT_ONCE = 200
"""Operations in one script, which holds up everybody else at the server."""
MOST_UNSENT = 100_000
SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}

SCRIPT = """
local operations, pieces_a_window, lease = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local windows, replies = {}, {}

local function window(key, seconds)
  local found = windows[key]
  if found then return found end
  local raw = redis.call('GET', KEYS[key])
  local old, kept, used = raw and cmsgpack.unpack(raw) or {}, {}, 0
  local ahead = #old > 0 and math.max(0, old[#old - 1] - now) or 0
  for i = 1, #old, 3 do
    local first, last, count = old[i] - ahead, old[i + 1] - ahead, old[i + 2]
    if last > now - seconds then
      kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = first, last, count
      used = used + count
    end
  end
  found = {pieces = kept, used = used, seconds = seconds, changed = ahead > 0}
  windows[key] = found
  return found
end

local function add(w, count)
  local p, n = w.pieces, #w.pieces
  if n > 0 and now - p[n - 2] < w.seconds / pieces_a_window then
    p[n - 1], p[n] = now, p[n] + count
  else
    p[n + 1], p[n + 2], p[n + 3] = now, now, count
  end
  w.used, w.changed = w.used + count, true
end

local function give_back(w, at, count)
  local p = w.pieces
  for i = #p - 2, 1, -3 do
    if p[i] <= at and at <= p[i + 1] then
      local undone = math.min(count, p[i + 2])
      p[i + 2], w.used, w.changed = p[i + 2] - undone, w.used - undone, true
      return
    end
  end
end

local function wait(w, count, limit)
  if count > limit then return -1 end
  local over = w.used + count - limit
  if over <= 0 then return 0 end
  for i = 1, #w.pieces, 3 do
    over = over - w.pieces[i + 2]
    if over <= 0 then return w.pieces[i + 1] + w.seconds - now end
  end
  return 0
end

local function stand(rules)
  local found = {}
  for _, rule in ipairs(rules) do
    if rule[3] > 0 then
      local w = window(rule[1], rule[3])
      found[#found + 1] = w.used
      found[#found + 1] = w.used > 0 and w.pieces[2] + w.seconds - now or 0
    end
  end
  return found
end

local function is_full(rule)
  redis.call('ZREMRANGEBYSCORE', KEYS[rule[1]], '-inf', now)
  return redis.call('ZCARD', KEYS[rule[1]]) >= rule[2]
end

local function lend(key, id)
  redis.call('ZADD', KEYS[key], now + lease, id)
  redis.call('PEXPIRE', KEYS[key], math.ceil(lease * 1000))
end

local verbs = {}

function verbs.take(id, rules)
  local longest, which = nil, 0
  for i, rule in ipairs(rules) do
    local takes
    if rule[3] == 0 then
      takes = is_full(rule) and 0 or nil
    else
      local w = window(rule[1], rule[3])
      takes = w.used + rule[4] > rule[2] and wait(w, rule[4], rule[2]) or nil
    end
    if takes == -1 or (takes and longest ~= -1 and (not longest or takes > longest)) then
      longest, which = takes, i
    end
  end
  if longest then return {which, longest, stand(rules)} end
  for _, rule in ipairs(rules) do
    if rule[3] == 0 then lend(rule[1], id) else add(window(rule[1], rule[3]), rule[5]) end
  end
  return {0, now, stand(rules)}
end

function verbs.settle(id, at, places, changes, mark)
  for _, key in ipairs(places) do redis.call('ZREM', KEYS[key], id) end
  if #changes == 0 or not redis.call('SET', KEYS[mark], 1, 'NX', 'PX', math.ceil(lease * 2000)) then return 0 end
  for _, change in ipairs(changes) do
    local w = window(change[1], change[2])
    if change[3] > 0 then add(w, change[3]) else give_back(w, at, -change[3]) end
  end
  return 0
end

function verbs.renew(id, places)
  for _, key in ipairs(places) do lend(key, id) end
  return 0
end

function verbs.look(rules)
  return stand(rules)
end

for i, operation in ipairs(operations) do
  replies[i] = verbs[operation[1]](unpack(operation, 2))
end
for key, w in pairs(windows) do
  if w.changed then redis.call('SET', KEYS[key], cmsgpack.pack(w.pieces), 'PX', math.ceil(w.seconds * 1000)) end
end
return cmsgpack.pack(replies)
"""
SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class _Operation(NamedTuple):
    """One call of a verb of the script. ``build`` writes it, given the number of a key among the script's keys."""

    build: Callable[[Callable[[str], int]], Sequence[Any]]
    future: asyncio.Future[Any] | None = None
    """Who waits for its reply; None for what must arrive in the end."""
    unheard: Callable[[Any], None] | None = None
    """Called with the reply where nobody waits for it any more, with None where there is none."""
    until: float = 0.0
    """Monotonic seconds until which it is worth sending, where nobody waits."""


class RedisLimiter:
    """Behind ``url``, which is connected to when it is first used. Raises `ConfigError` where that cannot be.

    Where the server does not answer in time, or not well, every method that waits raises `StoreGoneError`. ``clock``
    gives the seconds that count instead of the server's.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None, prefix: str = PREFIX) -> None:
        self._client, self._errors, self._no_script = _client(url)
        self._clock = clock
        self._prefix = prefix
        self._queue: deque[_Operation] = deque()
        self._unsent: deque[_Operation] = deque(maxlen=MOST_UNSENT)
        """What must arrive, while there is nobody to send it to."""
        self._gone = False
        self._sender: asyncio.Task[None] | None = None
        self._leases: dict[str, list[str]] = {}
        self._renewal: asyncio.TimerHandle | None = None

    def take_now(self, rules: Sequence[Rule], tokens: int) -> None:
        """The server is asked."""

    async def take(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        """See `Limiter`. Who is cancelled while it waits has taken nothing in the end."""
        taken = new_id()
        asked = [(rule, amount(rule, tokens), tokens if rule.of_tokens else 1) for rule in rules]
        future = self._ask(
            lambda number: (
                "take",
                taken,
                [(number(rule.key), rule.limit, rule.seconds, need, use) for rule, need, use in asked],
            ),
            lambda reply: self._undo(reply, taken, rules, tokens),
        )
        try:
            which, value, stood = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._undo(future.result(), taken, rules, tokens)  # both came in the same turn of the loop
            raise
        standings = _standings(rules, stood)
        if which:
            return Refused(rules[which - 1], float("inf") if value == -1 else value, standings)
        self._hold(taken, [rule.key for rule in rules if not rule.seconds])
        return Taken(taken, rules, tokens, value, standings, self)

    def settle(self, taken: Taken, tokens: int) -> None:
        """See `Limiter`. It is sent at once, and once more if it is not certain that it arrived."""
        self._leases.pop(taken.id, None)
        places = [rule.key for rule in taken.rules if not rule.seconds]
        more = tokens - taken.tokens
        changes = [(rule.key, rule.seconds, more) for rule in taken.rules if rule.of_tokens] if more else []
        if not places and not changes:
            return

        def build(number: Callable[[str], int]) -> Sequence[Any]:
            listed = [(number(key), seconds, change) for key, seconds, change in changes]
            mark = number(f"settled:{taken.id}") if changes else 0
            return "settle", taken.id, taken.at, [number(key) for key in places], listed, mark

        self._push(_Operation(build, until=time.monotonic() + LEASE))

    async def look(self, rules: Sequence[Rule]) -> Sequence[Standing]:
        stood = await self._ask(
            lambda number: ("look", [(number(rule.key), rule.limit, rule.seconds) for rule in rules])
        )
        return _standings(rules, stood)

    async def probe(self) -> None:
        """Whether the server takes what it is sent; then what waited for it is sent. Raises `StoreGoneError`."""
        try:
            await self._run([_Operation(lambda number: ("renew", "probe", [number("probe")]))], CONNECT_SECONDS)
        except StoreGoneError:
            # Next time from the start: the name may mean another server by then, one that can be written to.
            with suppress(*self._errors):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._client.connection_pool.disconnect()
            raise
        self._gone = False
        waited = [operation for operation in self._unsent if operation.until > time.monotonic()]
        self._unsent.clear()
        for operation in waited:
            self._push(operation)

    async def aclose(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._unsent:
            with suppress(StoreGoneError):
                await self.probe()
        if self._sender is not None:
            await self._sender
        await self._client.aclose()

    # Places

    def _hold(self, taken: str, places: list[str]) -> None:
        if places:
            self._leases[taken] = places
            if self._renewal is None:
                self._renewal = asyncio.get_running_loop().call_later(LEASE / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        for taken, places in self._leases.items():
            self._push(_Operation(_renewed(taken, places)))
        if self._leases:
            self._renewal = asyncio.get_running_loop().call_later(LEASE / 3, self._renew)

    def _undo(self, reply: Any, taken: str, rules: Sequence[Rule], tokens: int) -> None:
        """Nobody heard this reply to a take: what was taken is given back. None: it was lost on the way, and then only
        the place is certain to be taken by nobody else.
        """
        if reply is None:
            self.settle(Taken(taken, [rule for rule in rules if not rule.seconds], 0, 0.0, (), self), 0)
        elif not reply[0]:
            self.settle(Taken(taken, rules, tokens, reply[1], (), self), 0)

    # Sending

    def _ask(
        self, build: Callable[[Callable[[str], int]], Sequence[Any]], unheard: Callable[[Any], None] | None = None
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._push(_Operation(build, future, unheard))
        return future

    def _push(self, operation: _Operation) -> None:
        if self._gone and operation.future is None:
            self._keep(operation)
            return
        self._queue.append(operation)
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send(), name="limits")

    async def _send(self) -> None:
        """Send what is queued, a batch at a time, until nothing is."""
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))]
                try:
                    replies = await self._run(batch, DEADLINE)
                except StoreGoneError as error:
                    self._give_up(batch, error)
                    return
                except Exception as error:  # Whatever it is: who waits for a reply would wait for ever.
                    for operation in batch:
                        if operation.future is not None and not operation.future.done():
                            operation.future.set_exception(error)
                    continue
                for operation, reply in zip(batch, replies, strict=True):
                    if operation.future is None:
                        continue
                    if not operation.future.done():
                        operation.future.set_result(reply)
                    elif operation.unheard is not None:
                        operation.unheard(reply)
        finally:
            self._sender = None

    def _give_up(self, batch: Iterable[_Operation], error: StoreGoneError) -> None:
        """Nobody is kept waiting; what must arrive is kept."""
        self._gone = True
        given_up = [*batch, *self._queue]
        self._queue.clear()
        for operation in given_up:
            if operation.future is None:
                self._keep(operation)
                continue
            if operation.unheard is not None:
                operation.unheard(None)
            if not operation.future.done():
                operation.future.set_exception(error)

    def _keep(self, operation: _Operation) -> None:
        if operation.until:
            self._unsent.append(operation)

    async def _run(self, batch: Sequence[_Operation], seconds: float) -> list[Any]:
        numbers: dict[str, int] = {}
        built = _encode([operation.build(lambda key: numbers.setdefault(key, len(numbers) + 1)) for operation in batch])
        clock = () if self._clock is None else (repr(self._clock()),)
        keys = (self._prefix + key for key in numbers)
        call = (len(numbers), *keys, built, PIECES, LEASE, *clock)
        try:
            async with asyncio.timeout(seconds):
                reply = await self._call(call)
        except self._errors as error:
            raise StoreGoneError(_reason(error, seconds)) from None
        return list(_decode(reply))

    async def _call(self, call: Sequence[Any]) -> bytes:
        try:
            reply = await self._client.execute_command("EVALSHA", SHA, *call)
        except self._no_script:
            reply = await self._client.execute_command("EVAL", SCRIPT, *call)
        assert isinstance(reply, bytes)
        return reply


def _renewed(taken: str, places: list[str]) -> Callable[[Callable[[str], int]], Sequence[Any]]:
    return lambda number: ("renew", taken, [number(key) for key in places])


def _standings(rules: Sequence[Rule], stood: Sequence[Any]) -> list[Standing]:
    found, windows = iter(stood), [rule for rule in rules if rule.seconds]
    return [Standing(rule, max(0, rule.limit - int(next(found))), float(next(found))) for rule in windows]


def _reason(error: BaseException, seconds: float) -> str:
    """What happened, for the operator, without the address's password."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return f"{type(error).__name__}: {error}"


def _client(url: str) -> tuple[Any, tuple[type[Exception], ...], type[Exception]]:
    """The client, what it raises, and what it raises where the server does not know the script."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise ConfigError("limits.url must begin with redis://, rediss:// or unix://")
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import NoScriptError, RedisError
    except ImportError as error:
        raise ConfigError("Shared limits need the extra: pip install 'sealgate[redis]'.") from error
    try:
        client = Redis.from_url(
            f"{SCHEMES[scheme]}://{rest}",
            # Deadlines are ours, and so is the decision whether to ask again: a request may count once only.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            socket_keepalive=scheme != "unix",
            protocol=2,
            client_name="sealgate",
        )
    except ValueError as error:
        raise ConfigError(f"limits.url cannot be used: {error}") from None
    return client, (TimeoutError, OSError, RedisError), NoScriptError
