"""What models refuse is learned from their answers: once, never of what counts, and told to everyone it concerns."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Running, Serve, provider, settings

from sealgate.config import Model
from sealgate.config import Route as Configured
from sealgate.errors import ConfigError
from sealgate.limits.ledger import Outcome
from sealgate.providers.base import Account
from sealgate.providers.table import KINDS
from sealgate.relay.catalog import Route, build
from sealgate.relay.quirks import MAX_MODELS, Quirks, setting
from sealgate.testing import ScriptedUpstream, answer, error, sse
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, head

STRICT = {"x-sealgate-strict": "true"}


def refuses(*names: str, status: int = 400) -> Callable[[Received], Behaviour | None]:
    """An upstream that answers so, one name after the other, as OpenAI's do."""

    def handle(request: Received) -> Behaviour | None:
        found = next((name for name in names if name in request.json), None)
        if found is None:
            return None
        message = f"Unsupported parameter: '{found}' is not supported with this model."
        return error(status, "unsupported_parameter", message, param=found)

    return handle


def route(table: str = "acme", upstream_model: str = "m", refuses: frozenset[str] = frozenset()) -> Route:
    account = Account(table, table, "eu", KINDS["compatible"], "https://acme.example/v1")
    return Route(account, "m", upstream_model, refuses=refuses)


# The table


def test_what_is_learned_holds_for_a_providers_model_and_is_told_once() -> None:
    told: list[tuple[str, list[str]]] = []
    quirks = Quirks(lambda where, names: told.append((where.account.table, list(names))))
    quirks.learn(route(), frozenset({"user", "seed"}))
    quirks.learn(route(), frozenset({"seed"}))
    quirks.learn(route(), frozenset({"seed", "top_k"}))
    assert quirks.of(route()) == {"seed", "user", "top_k"}
    assert quirks.of(route("other")) == quirks.of(route(upstream_model="n")) == frozenset()
    assert told == [("acme", ["seed", "user"]), ("acme", ["top_k"])]


def test_what_is_configured_needs_no_learning() -> None:
    told: list[Route] = []
    quirks = Quirks(lambda where, _names: told.append(where))
    quirks.learn(route(refuses=frozenset({"seed"})), frozenset({"seed"}))
    assert told == []


def test_the_oldest_models_are_forgotten() -> None:
    quirks = Quirks()
    for number in range(MAX_MODELS + 1):
        quirks.learn(route(upstream_model=f"m{number}"), frozenset({"seed"}))
    assert quirks.of(route(upstream_model="m0")) == frozenset()
    assert quirks.of(route(upstream_model="m1")) == {"seed"}


def test_what_is_to_be_written_is_toml_that_the_configuration_takes() -> None:
    said = setting(route(upstream_model='o"9 ü', refuses=frozenset({"user"})), ["seed"])
    found = tomllib.loads(f"routes = [{said}]")["routes"]
    assert found == [{"provider": "acme", "model": 'o"9 ü', "refuses": ["seed", "user"]}]
    assert Configured(**found[0])


# Through a gateway


def dropped(reply: Any) -> list[str]:
    return [each["param"] for each in reply.tresor.get("adjustments", []) if each["action"] == "dropped"]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 422])
async def test_a_refused_hint_is_left_out_once_and_for_all(serve: Serve, stream: bool, status: int) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("seed", status=status))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        for number in range(2):
            reply = await gateway.chat(stream=stream, seed=1, user="u", tools=[])
            assert (reply.status, reply.text, dropped(reply)) == (200, "Hi", ["seed"])
            assert (await gateway.rows(number + 1))[-1].attempts == 2 - number
        assert [sorted({"seed", "user"} & each.json.keys()) for each in upstream.requests] == [
            ["seed", "user"], ["user"], ["user"],
        ]  # fmt: skip
        assert not reply.tresor["failover"]
        assert (await health(gateway))["refuses"] == ["seed"]


async def health(gateway: Running) -> Any:
    return (await gateway.get("/health/models")).json["data"][0]


@pytest.mark.anyio
async def test_one_after_the_other_is_learned_in_one_request(serve: Serve) -> None:
    names = ("seed", "temperature", "user")
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses(*names))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(seed=1, temperature=0.5, user="u", top_k=3)
        assert (reply.status, dropped(reply), len(upstream.requests)) == (200, sorted(names), 4)


@pytest.mark.anyio
async def test_there_is_an_end_to_learning(serve: Serve) -> None:
    names = ("seed", "temperature", "user", "top_p", "top_k", "logit_bias")
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses(*names))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(seed=1, temperature=0.5, user="u", top_p=0.5, top_k=3, logit_bias={"1": 1})
        assert (reply.code, len(upstream.requests), len(reply.attempts)) == ("upstream_invalid_request", 5, 5)
        assert (await health(gateway))["refuses"] == [], "nothing was taken in the end"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_contract_parameters_are_never_left_out(serve: Serve, stream: bool) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("stop"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(stream=stream, stop=["x"], seed=1)
        assert (reply.status, reply.code, reply.error["param"]) == (400, "upstream_invalid_request", "stop")
        assert len(upstream.requests) == 1


@pytest.mark.anyio
async def test_a_refusal_that_only_repeats_the_callers_words_teaches_nothing(serve: Serve) -> None:
    def handle(request: Received) -> Behaviour | None:
        return error(400, None, f"bad colour: {request.json['colour']}") if "colour" in request.json else None

    upstream = ScriptedUpstream(default=answer("Hi"), handler=handle)
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(seed=1, colour="Unsupported parameter: 'seed'")
        assert (reply.status, len(upstream.requests)) == (400, 2)
        assert dropped(await gateway.chat(seed=1)) == []
        assert upstream.requests[-1].json["seed"] == 1


@pytest.mark.anyio
async def test_an_error_behind_a_200_teaches_no_more_than_a_400(serve: Serve) -> None:
    def handle(request: Received) -> Behaviour | None:
        if "colour" not in request.json:
            return None
        said = {"error": {"message": request.json["colour"], "type": "invalid_request_error", "code": 400}}
        return [head(200, {"content-type": "text/event-stream"}), Chunk(sse(said)), LAST_CHUNK]

    upstream = ScriptedUpstream(default=answer("Hi"), handler=handle)
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(stream=True, seed=1, colour="Unsupported parameter: 'seed'")
        assert (reply.status, len(upstream.requests)) == (400, 2)
        assert (await health(gateway))["refuses"] == []


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_the_limit_goes_by_its_other_name_where_one_is_refused(serve: Serve, stream: bool) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("max_tokens"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        for _ in range(2):
            reply = await gateway.chat(headers=STRICT, stream=stream, max_tokens=9)
            assert (reply.status, reply.tresor["adjustments"]) == (
                200, [{"param": "max_tokens", "action": "renamed", "detail": "sent as max_completion_tokens"}],
            )  # fmt: skip
    assert [each.json.get("max_completion_tokens") for each in upstream.requests] == [None, 9, 9]


@pytest.mark.anyio
async def test_usage_is_no_longer_asked_for_where_that_is_refused(serve: Serve) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("stream_options"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(headers=STRICT, stream=True)
        assert (reply.text, reply.done, len(upstream.requests)) == ("Hi", True, 2)
        assert "adjustments" not in reply.tresor


@pytest.mark.anyio
@pytest.mark.parametrize("learned", [False, True])
async def test_strict_requests_go_where_nothing_is_left_out_or_get_400(serve: Serve, learned: bool) -> None:
    upstream = ScriptedUpstream(default=answer("weak"), handler=refuses("seed"))
    async with upstream, ScriptedUpstream(default=answer("able")) as other:
        providers = {"weak": provider(upstream, "compatible"), "able": provider(other, "compatible")}
        async with serve(providers, {"m": ["weak", "able"], "w": ["weak"]}) as gateway:
            if learned:
                assert (await gateway.chat(seed=1)).text == "weak"
            reply = await gateway.chat(headers=STRICT, seed=1)
            assert (reply.text, reply.tresor["routed_model"]) == ("able", "global/able/m")
            reply = await gateway.chat(headers=STRICT, model="w", seed=1)
            assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", "seed")
            assert "would be dropped" in reply.error["message"]


@pytest.mark.anyio
async def test_what_the_operator_names_is_never_sent(serve: Serve) -> None:
    models = {"m": Model(routes=(Configured("acme", "test-model", refuses=("seed", "max_tokens")),))}
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("seed", "max_tokens"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}, models) as gateway:
        reply = await gateway.chat(seed=1, max_tokens=9)
        assert (reply.status, dropped(reply), len(upstream.requests)) == (200, ["seed"], 1)
        assert (await gateway.chat(headers=STRICT, seed=1)).code == "unsupported_parameter"
        assert (await health(gateway))["refuses"] == ["max_tokens", "seed"]


def test_the_operator_may_not_name_what_counts() -> None:
    models = {"m": Model(routes=(Configured("acme", "x", refuses=("tools",)),))}
    wrong = settings(Path("unused"), {"acme": provider("http://127.0.0.1:9/v1", "compatible")}, models)
    with pytest.raises(ConfigError, match=r"\[models.'m'\]: refuses: 'tools' is never left out"):
        build(wrong)


@pytest.mark.anyio
async def test_a_failure_after_the_lesson_is_what_is_told_and_both_calls_are_listed(serve: Serve) -> None:
    def handle(request: Received) -> Behaviour | None:
        return refuses("seed")(request) or error(503)

    upstream = ScriptedUpstream(handler=handle)
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        reply = await gateway.chat(seed=1)
        row = await gateway.row()
    assert (reply.status, reply.code) == (503, "upstream_overloaded")
    assert reply.attempts == [("global/acme/m", "invalid_request", 400), ("global/acme/m", "overloaded", 503)]
    assert (row.outcome, row.attempts) == (Outcome.UPSTREAM_FAILED, 2)


@pytest.mark.anyio
async def test_what_was_left_out_for_one_route_is_sent_to_the_next(serve: Serve) -> None:
    def handle(request: Received) -> Behaviour | None:
        return refuses("seed")(request) or error(503)

    upstream = ScriptedUpstream(handler=handle)
    async with upstream, ScriptedUpstream(default=answer("Hi")) as other:
        providers = {"weak": provider(upstream, "compatible"), "able": provider(other, "compatible")}
        async with serve(providers) as gateway:
            reply = await gateway.chat(seed=1)
            assert (reply.text, dropped(reply)) == ("Hi", [])
            assert other.requests[0].json["seed"] == 1


@pytest.mark.anyio
async def test_the_log_says_once_what_to_write(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("seed"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        for _ in range(2):
            await gateway.chat(seed=1)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "parameter_refused" in line]
    assert [(each["provider"], each["routed_model"], each["parameters"]) for each in lines] == [
        ("acme", "global/acme/m", "seed"),
    ]
    assert lines[0]["setting"] == '{ provider = "acme", model = "test-model", refuses = ["seed"] }'


@pytest.mark.anyio
async def test_a_dry_run_shows_what_would_be_left_out(serve: Serve) -> None:
    upstream = ScriptedUpstream(default=answer("Hi"), handler=refuses("seed"))
    async with upstream, serve({"acme": provider(upstream, "compatible")}) as gateway:
        await gateway.chat(seed=1)
        headers = {"authorization": f"Bearer {gateway.admin_key}"}
        found = (await gateway.post("/v1/chat/completions?dry_run=true", gateway.ask(seed=1), headers)).json
    assert "seed" not in found["requests"][0]["body"]
