"""What attempts say about a route: cooldowns, ejections, probes, and the way back."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.gateway import Serve, provider

from sealgate.config import Model, Provider, Route, Secret, Server, Settings
from sealgate.errors import Failure, UpstreamError
from sealgate.relay import health as rules
from sealgate.relay.catalog import Target, build
from sealgate.relay.health import EJECT_AFTER, MAX_PLACES, Health
from sealgate.relay.pace import Paces
from sealgate.relay.plan import Seen
from sealgate.testing import Behaviour, Received, ScriptedUpstream, answer, delayed, error, quota, silent
from sealgate.testing.openai_wire import GREETING

SECRETS = (Secret("first-key"), Secret("second-key"))


def made(kind: str = "openai", **fields: Any) -> list[Target]:
    """Two models of one account with two keys: both keys of the first, then both of the second."""
    base_url = None if kind == "sandbox" else "https://llm.acme.example/v1"
    acme = Provider(kind=kind, base_url=base_url, api_key=SECRETS, **fields)
    models = {name: Model(routes=(Route(provider="acme", model=f"up-{name}"),)) for name in ("m", "n")}
    found = build(Settings(providers={"acme": acme}, models=models))
    return [Target(found.models[name].routes[0], key) for name in ("m", "n") for key in (0, 1)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ejections() -> list[str]:
    return []


@pytest.fixture
def health(clock: Clock, ejections: list[str]) -> Health:
    return Health(clock, ejections.append)


def fail(
    health: Health, target: Target, times: int = 1, failure: Failure = Failure.SERVER_ERROR, **fields: Any
) -> None:
    for _ in range(times):
        visit = health.begin(target, whatever=True)
        assert visit is not None
        health.failed(visit, UpstreamError(failure, **fields))
        health.end(visit)


def succeed(health: Health, target: Target) -> None:
    visit = health.begin(target, whatever=True)
    assert visit is not None
    health.succeeded(visit)
    health.end(visit)


def asked(health: Health, target: Target) -> bool:
    """Whether a request may ask it now; it leaves at once."""
    visit = health.begin(target)
    if visit is not None:
        health.end(visit)
    return visit is not None


def states(health: Health, targets: list[Target]) -> list[str]:
    return [health.standing(target).state for target in targets]


def remaining(health: Health, target: Target) -> float:
    return health.remaining(health.standing(target))


def test_what_never_failed_is_up_and_costs_nothing_to_ask(health: Health) -> None:
    assert not health.troubled
    assert states(health, made()) == ["up"] * 4


def test_five_failures_in_a_row_eject_a_route_and_nothing_else(health: Health, ejections: list[str]) -> None:
    """By whichever key: a server that fails does not look at keys."""
    targets = made()
    fail(health, targets[0], EJECT_AFTER - 2)
    fail(health, targets[1])
    assert states(health, targets) == ["up"] * 4
    fail(health, targets[0])
    assert states(health, targets) == ["ejected", "ejected", "up", "up"]
    assert health.standing(targets[0]).last is Failure.SERVER_ERROR
    assert ejections == ["acme"]


def test_a_success_between_them_starts_the_count_again(health: Health) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER - 1)
    succeed(health, target)
    assert not health.troubled
    fail(health, target, EJECT_AFTER - 1)
    assert health.standing(target).state == "up"


def test_a_refused_request_says_that_the_provider_is_well(health: Health) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER - 1)
    fail(health, target, failure=Failure.INVALID_REQUEST)
    fail(health, target, EJECT_AFTER - 1)
    assert health.standing(target).state == "up"


@pytest.mark.parametrize("failure", sorted(rules._WELL, key=str))
def test_failures_of_the_request_never_eject(health: Health, failure: Failure) -> None:
    target = made()[0]
    fail(health, target, 50, failure)
    assert not health.troubled


def test_a_full_pool_of_ours_says_nothing_at_all(health: Health) -> None:
    target = made()[0]
    fail(health, target, 50, Failure.POOL)
    assert not health.troubled
    fail(health, target, EJECT_AFTER - 1, Failure.TIMEOUT)
    fail(health, target, 1, Failure.POOL)
    fail(health, target, 1, Failure.TIMEOUT)
    assert health.standing(target).state == "ejected"


def test_an_address_that_nobody_answers_at_ejects_the_whole_account(health: Health) -> None:
    targets = made()
    fail(health, targets[0], EJECT_AFTER, Failure.UNREACHABLE)
    assert states(health, targets) == ["ejected"] * 4


def test_a_refused_credential_ejects_its_key_at_once(health: Health) -> None:
    targets = made()
    fail(health, targets[0], failure=Failure.CREDENTIAL, status=401)
    assert states(health, targets) == ["ejected", "up", "ejected", "up"], "for every model"


def test_a_403_may_mean_one_request_and_takes_five(health: Health) -> None:
    targets = made()
    fail(health, targets[0], EJECT_AFTER - 1, Failure.CREDENTIAL, status=403)
    assert states(health, targets) == ["up"] * 4
    fail(health, targets[0], failure=Failure.CREDENTIAL, status=403)
    assert states(health, targets) == ["ejected", "up", "up", "up"]


def test_each_ejection_in_a_row_lasts_longer_up_to_a_minute(health: Health, clock: Clock) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER)
    lasted = []
    for _ in range(14):
        lasted.append(remaining(health, target))
        clock.now += remaining(health, target)
        visit = health.begin(target)
        assert visit is not None
        assert visit.probes
        health.failed(visit, UpstreamError(Failure.SERVER_ERROR))
        health.end(visit)
    assert lasted == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]


def test_row_p9_one_probe_at_a_time_decides_after_an_ejection(health: Health, clock: Clock) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER)
    assert not asked(health, target)
    clock.now += 5
    assert health.standing(target).probe
    probe = health.begin(target)
    assert probe is not None
    assert [asked(health, target) for _ in range(10)] == [False] * 10, "the others go on leaving it alone"
    health.answered(probe)
    assert asked(health, target), "content came: it is back for everybody"
    health.succeeded(probe)
    assert not health.troubled


def test_nobody_but_the_prober_ends_a_probe(health: Health, clock: Clock) -> None:
    """Requests that were begun before say nothing of it, neither by leaving nor by their answers."""
    target = made()[0]
    before = [health.begin(target) for _ in range(5)]
    clock.now += 1
    fail(health, target, EJECT_AFTER)
    clock.now += 5
    probe = health.begin(target)
    assert probe is not None
    for visit in before:
        assert visit is not None
        health.answered(visit)
        health.succeeded(visit)
        health.end(visit)
        assert not asked(health, target)
    health.end(probe)
    assert asked(health, target)


def test_a_probe_that_breaks_after_its_first_content_ejects_again(health: Health, clock: Clock) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER)
    clock.now += 5
    visit = health.begin(target)
    assert visit is not None
    health.answered(visit)
    health.failed(visit, UpstreamError(Failure.TRUNCATED))
    assert (health.standing(target).state, remaining(health, target)) == ("ejected", 10)


def test_a_last_resort_that_answers_is_back_and_one_that_fails_changes_nothing(
    health: Health, ejections: list[str]
) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER)
    fail(health, target, 10)
    assert remaining(health, target) == 5
    assert ejections == ["acme"]
    succeed(health, target)
    assert not health.troubled


def test_row_e6_a_rate_limit_is_a_cooldown_for_as_long_as_the_provider_says(
    health: Health, clock: Clock, ejections: list[str]
) -> None:
    targets = made()
    fail(health, targets[0], failure=Failure.RATE_LIMITED, retry_after=2.5)
    assert states(health, targets) == ["cooling", "up", "up", "up"], "of that key at that model"
    clock.now += 2.4
    assert not asked(health, targets[0])
    clock.now += 0.1
    assert asked(health, targets[0])
    assert not ejections


@pytest.mark.parametrize("wish", [None, 0.0, -5.0, float("nan")])
def test_a_rate_limit_without_a_usable_wish_cools_for_a_second(health: Health, wish: float | None) -> None:
    target = made()[0]
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=wish)
    assert remaining(health, target) == rules.RATE_SECONDS


def test_rate_limits_never_add_up_to_an_ejection(health: Health, clock: Clock) -> None:
    target = made()[0]
    for _ in range(3 * EJECT_AFTER):
        fail(health, target, failure=Failure.RATE_LIMITED, retry_after=1)
        clock.now += 1
    assert health.standing(target).state == "up"


def test_a_cooldown_neither_ends_nor_shortens_an_ejection(health: Health, clock: Clock) -> None:
    target = made()[0]
    fail(health, target, failure=Failure.CREDENTIAL, status=401)
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=1)
    clock.now += 1
    assert (health.standing(target).state, remaining(health, target)) == ("ejected", 4)
    clock.now += 4
    assert health.standing(target).probe


def test_the_worst_of_several_troubles_counts(health: Health) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER)
    fail(health, target, failure=Failure.QUOTA, retry_after=2)
    assert (health.standing(target).state, remaining(health, target)) == ("ejected", 5)
    fail(health, target, failure=Failure.QUOTA, retry_after=30)
    assert (health.standing(target).state, remaining(health, target)) == ("cooling", 30)


def test_row_e7_a_used_up_quota_cools_the_key_for_all_models(health: Health) -> None:
    targets = made()
    fail(health, targets[0], failure=Failure.QUOTA)
    assert states(health, targets) == ["cooling", "up", "cooling", "up"]
    assert remaining(health, targets[2]) == rules.QUOTA_SECONDS


def test_no_provider_can_ask_to_be_left_alone_for_longer_than_an_hour(health: Health) -> None:
    target = made()[0]
    fail(health, target, failure=Failure.QUOTA, retry_after=10**9)
    assert remaining(health, target) == rules.COOLDOWN_MOST


def test_a_success_of_another_request_does_not_end_a_cooldown(health: Health) -> None:
    target = made()[0]
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=30)
    succeed(health, target)
    assert health.standing(target).state == "cooling"


def test_a_shorter_wish_does_not_shorten_a_cooldown(health: Health) -> None:
    target = made()[0]
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=30)
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=1)
    assert remaining(health, target) == 30


def test_a_cooldown_starts_the_count_of_failures_again(health: Health, clock: Clock) -> None:
    target = made()[0]
    fail(health, target, EJECT_AFTER - 1, Failure.CREDENTIAL, status=403)
    fail(health, target, failure=Failure.RATE_LIMITED, retry_after=1)
    clock.now += 1
    fail(health, target, 1, Failure.CREDENTIAL, status=403)
    assert health.standing(target).state == "up"


def test_the_sandbox_fails_as_often_as_it_is_asked_to(health: Health) -> None:
    target = made("sandbox")[0]
    for failure in Failure:
        fail(health, target, 2 * EJECT_AFTER, failure)
    assert not health.troubled


def test_a_route_is_as_well_as_the_best_of_its_keys(health: Health) -> None:
    targets = made()
    fail(health, targets[0], failure=Failure.QUOTA)
    assert health.of_route(targets[0].route).state == "up"
    fail(health, targets[1], failure=Failure.QUOTA, retry_after=7)
    found = health.of_route(targets[0].route)
    assert (found.state, health.remaining(found)) == ("cooling", 7)


def test_what_is_over_is_forgotten_asked_again_or_not(health: Health, clock: Clock) -> None:
    targets = made()
    fail(health, targets[0], failure=Failure.MODEL_GONE)
    fail(health, targets[1], failure=Failure.QUOTA, retry_after=1000)
    clock.now += rules.FORGET_SECONDS + rules.TIDY_SECONDS
    assert health.troubled
    clock.now += 1000
    assert not health.troubled


def test_what_is_remembered_has_a_bound(health: Health) -> None:
    target = made()[0]
    for number in range(MAX_PLACES + 100):
        health._trouble(("acme", 0, str(number)), Failure.TIMEOUT)
    fail(health, target, EJECT_AFTER)
    assert len(health._troubles) == MAX_PLACES
    assert health.standing(target).state == "ejected"


# In a gateway


@pytest.mark.anyio
async def test_row_p9_a_broken_route_is_left_alone_probed_and_let_back_in(serve: Serve, clock: Clock) -> None:
    async with serve({"acme": error(500), "backup": answer()}) as gateway:
        seen = Seen(Health(clock, gateway.hall.metrics.ejection), Paces())
        gateway.hall.means = gateway.hall.means._replace(seen=seen)
        acme = gateway.upstreams["acme"]
        replies = [await gateway.chat(stream=bool(number % 2)) for number in range(EJECT_AFTER + 10)]
        assert all(reply.text == GREETING for reply in replies)
        assert len(acme.requests) == EJECT_AFTER, "while it is ejected nobody asks it"
        assert replies[-1].tresor["failover"] is True, "a preferred route had to be left"

        states = {each["route"]: each for each in (await gateway.get("/health/models", {})).json["data"]}
        assert states["global/backup/m"] == {
            "route": "global/backup/m", "state": "up", "until": None, "last_error": None, "refuses": [],
        }  # fmt: skip
        ejected = states["global/acme/m"]
        assert (ejected["state"], ejected["last_error"]) == ("ejected", "server_error")
        assert datetime.fromisoformat(ejected["until"]) > datetime.now(UTC)

        clock.now += 5
        acme.enqueue(delayed(0.2, error(500)))
        many = await asyncio.gather(*(gateway.chat() for _ in range(10)))
        assert all(reply.text == GREETING for reply in many)
        assert len(acme.requests) == EJECT_AFTER + 1, "one of them tried it"

        clock.now += 10
        acme.enqueue(answer("Back"), answer("Back"))
        assert [(await gateway.chat()).text for _ in range(2)] == ["Back", "Back"]
        states = {each["route"]: each["state"] for each in (await gateway.get("/health/models", {})).json["data"]}
        assert set(states.values()) == {"up"}
        metrics = (await gateway.get("/metrics", {})).body.decode()
        for line in (
            'sealgate_ejections_total{gen_ai_provider_name="acme"} 2.0',
            'sealgate_failovers_total{gen_ai_provider_name="acme",outcome="server_error"} 6.0',
            'sealgate_route_up{route="global/acme/m"} 1.0',
            'sealgate_upstream_in_flight{gen_ai_provider_name="acme"} 0.0',
        ):
            assert line in metrics


@pytest.mark.anyio
async def test_row_p9_a_model_with_one_route_is_asked_whatever_happened(serve: Serve) -> None:
    async with serve({"acme": error(500)}) as gateway:
        replies = [await gateway.chat() for _ in range(EJECT_AFTER + 5)]
        assert {reply.code for reply in replies} == {"upstream_error"}
        assert len(gateway.upstreams["acme"].requests) == EJECT_AFTER + 5


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_rows_e6_e7_d8_a_rate_limit_is_kept_and_then_the_route_is_back(
    serve: Serve, clock: Clock, stream: bool
) -> None:
    async with serve({"acme": answer()}) as gateway:
        gateway.hall.means = gateway.hall.means._replace(seen=Seen(Health(clock), Paces()))
        acme = gateway.upstreams["acme"]
        acme.enqueue(error(429, headers={"retry-after": "7"}))
        first = await gateway.chat(stream=stream)
        second = await gateway.chat(stream=stream)
        clock.now += 7
        third = await gateway.chat(stream=stream)
        rows = await gateway.rows(3)
    assert (first.code, first.headers["retry-after"]) == ("upstream_rate_limited", "7")
    assert (second.status, second.code, second.headers["retry-after"]) == (503, "no_healthy_route", "7")
    assert "x-should-retry" not in second.headers
    assert third.text == GREETING
    assert len(acme.requests) == 2
    assert [row.code for row in rows] == ["upstream_rate_limited", "no_healthy_route", None]


@pytest.mark.anyio
@pytest.mark.parametrize("refusal", [error(429, headers={"retry-after": "60"}), quota(), error(401)])
async def test_rows_e6_e7_e8_the_next_key_of_a_pool_is_used_and_stays_in_use(serve: Serve, refusal: Behaviour) -> None:
    def by_key(received: Received) -> Any:
        first = received.headers["authorization"] == "Bearer first-key"
        return (refusal if first else answer())(received)

    async with ScriptedUpstream(default=by_key) as upstream:
        async with serve({"acme": provider(upstream, api_key=SECRETS), "backup": answer()}) as gateway:
            replies = [await gateway.chat(stream=stream) for stream in (True, False, True)]
            rows = await gateway.rows(3)
        assert [received.headers["authorization"] for received in upstream.requests] == [
            "Bearer first-key", *["Bearer second-key"] * 3,
        ]  # fmt: skip
        assert not gateway.upstreams["backup"].requests
    assert [reply.tresor["failover"] for reply in replies] == [False] * 3, "the route was not left"
    assert [row.attempts for row in rows] == [2, 1, 1]


@pytest.mark.anyio
async def test_a_failure_of_the_server_is_not_tried_with_every_key(serve: Serve) -> None:
    async with ScriptedUpstream(default=error(500)) as upstream:
        async with serve({"acme": provider(upstream, api_key=SECRETS), "backup": answer()}) as gateway:
            assert (await gateway.chat()).text == GREETING
        assert len(upstream.requests) == 1


@pytest.mark.anyio
async def test_a_caller_in_a_hurry_does_not_take_a_slow_provider_from_the_others(serve: Serve) -> None:
    async with serve({"acme": silent(), "backup": answer()}) as gateway:
        hurried = {"x-stainless-read-timeout": "0.05"}
        replies = [await gateway.chat(headers=hurried) for _ in range(EJECT_AFTER + 1)]
        assert {reply.code for reply in replies} == {"upstream_timeout"}
        assert not gateway.hall.means.seen.health.troubled


@pytest.mark.anyio
async def test_a_reload_forgets_what_was_learned(serve: Serve) -> None:
    async with serve({"acme": quota()}) as gateway:
        assert (await gateway.chat()).code == "upstream_quota"
        assert (await gateway.chat()).code == "no_healthy_route"
        settings = gateway.hall.settings
        await gateway.gateway.reload(lambda: settings)
        assert (await gateway.chat()).code == "upstream_quota"


@pytest.mark.anyio
async def test_where_the_list_of_models_is_not_public_their_health_is_not_either(serve: Serve) -> None:
    private = Server(port=0, discover=False, models_public=False)
    async with serve({"acme": answer()}, server=private) as gateway:
        assert (await gateway.get("/health/models", {})).code == "missing_api_key"
        assert (await gateway.get("/health/models")).status == 200
