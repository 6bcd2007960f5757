"""What accounts cost a whole answer: limits, a budget with a priced route, a session, and all of it, beside none.

They are keys of one gateway, each of a customer of its own, and one of them asks at a time: two processes of the same
program differ by more than what is to be measured. Nothing is ever refused. The route has a price for all of them. No
receipts are given, which have a measurement of their own.

Then the same where answers take as long as those of models do, for a request that is open for long is written down
before it is answered; and all of it with few keys beside all of it with many.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPConnection

from bench import shape
from bench.limits import FAR
from bench.measures import Bench, Figures, whole_load
from bench.sampling import Load, Rounds, others, ratio, rounds
from bench.subjects import NotStartedError, Stage, Subject, start_sealgate, with_key

COUNT = 1000
CONNECTIONS = 16
ROUNDS = 12
SLOW_CONNECTIONS = 128
SECONDS, SLOW_SECONDS, FEW_SECONDS = 70, 40, 25
FEW_KEYS, MANY_KEYS = 10, 100_000
LIMITS = ("requests_per_minute", "requests_per_day", "tokens_per_minute", "concurrency")
LIMITED = tuple(word for name in LIMITS for word in ("--limit", f"{name}={FAR}"))
WITH_BUDGET = ("--budget", "900000000.00/month")
UNSIGNED = "[receipts]\nenabled = false"
PRICE = 'input_per_mtok = "3", output_per_mtok = "15"'
NONE, BUDGET, ALL = "none", "budget", "all"


async def measure_accounts(bench: Bench) -> Figures:
    """CPU microseconds per whole answer, and what each part adds in neighbouring rounds."""
    stage = bench.stage
    plain = replace(await start_sealgate(stage, tables=UNSIGNED, price=PRICE), name=NONE)
    extra = [
        with_key(plain, "limits", *LIMITED),
        with_key(plain, BUDGET, *WITH_BUDGET),
        in_sessions(with_key(plain, "session")),
        in_sessions(with_key(plain, ALL, *LIMITED, *WITH_BUDGET)),
    ]
    fast = whole_load(COUNT, connections=CONNECTIONS)
    slow = whole_load(COUNT, connections=SLOW_CONNECTIONS, user=shape.SLOW)
    try:
        taken = await _rounds(bench, [bench.floor, plain, *extra], fast, SECONDS)
        waited = await _rounds(bench, [bench.floor, plain, extra[1], extra[-1]], slow, SLOW_SECONDS)
    finally:
        plain.child.end()
    few, many = await with_all(stage, "few keys", FEW_KEYS), await with_all(stage, "many keys", MANY_KEYS)
    try:
        grown = _cost(await _rounds(bench, [few, many], fast, FEW_SECONDS))
    finally:
        for subject in (few, many):
            subject.child.end()
    return {
        **_beside_none(taken, bench.floor.name),
        "slow": {"milliseconds": shape.SLOW_SECONDS * 1000, **_beside_none(waited, bench.floor.name)},
        "keys": {"few": FEW_KEYS, "many": MANY_KEYS, "ratio": ratio(grown["many keys"], grown["few keys"])},
    }


async def with_all(stage: Stage, name: str, keys: int) -> Subject:
    """Everything that accounts may have on, and so many keys."""
    options = (*LIMITED, *WITH_BUDGET)
    made = await start_sealgate(stage, keys=keys, tables=UNSIGNED, options=options, price=PRICE)
    return in_sessions(replace(made, name=name))


def in_sessions(subject: Subject) -> Subject:
    """The same, its callers' chats in sessions from now on."""
    connection = HTTPConnection("127.0.0.1", subject.target.port, timeout=10)
    headers = {"authorization": f"Bearer {subject.target.key}", "content-type": "application/json"}
    connection.request("PUT", "/v1/automation/settings", b'{"is_enabled":true,"session_duration":86400}', headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise NotStartedError(f"sessions could not be switched on: {answer.read()!r}")
    connection.close()
    return subject


async def _rounds(bench: Bench, subjects: Sequence[Subject], load: Load, seconds: float) -> Rounds:
    return await rounds(bench.stage, subjects, load, count=ROUNDS, seconds=seconds)


def _cost(taken: Rounds) -> dict[str, list[float]]:
    return {name: [one.cpu / COUNT * 1e6 for one in samples] for name, samples in taken.samples.items()}


def _beside_none(taken: Rounds, floor: str) -> Figures:
    cost = _cost(taken)
    return {
        "rounds": taken.taken,
        "subjects": {name: _figures(found, cost[NONE], cost[floor]) for name, found in cost.items()},
        "others": others(taken.samples[ALL]),
    }


def _figures(ours: Sequence[float], plain: Sequence[float], floor: Sequence[float]) -> Figures:
    added = [one - other for one, other in zip(ours, plain, strict=True)]
    shares = [one / bare for one, bare in zip(added, floor, strict=True)]
    return {
        "cpu_us": round(statistics.median(ours), 1),
        "added_us": round(statistics.median(added), 1),
        "per_floor": round(statistics.median(shares), 2),
        "least_per_floor": round((min(ours) - min(plain)) / min(floor), 2),
        "ratio": ratio(ours, plain),
    }
