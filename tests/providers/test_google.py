"""Google's hosts: addresses, credentials, and tokens that expire."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.auth import exceptions
from tests.gateway import Serve, model, provider

from sealgate.config import Provider, Secret
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.outward.client import Request
from sealgate.providers import google
from sealgate.providers.base import Account, Prompt
from sealgate.providers.google import Tokens
from sealgate.relay.catalog import make_account
from sealgate.testing import Behaviour, ScriptedUpstream, answer
from sealgate.testing.anthropic_wire import message
from sealgate.testing.gemini_wire import generated

PLACE = "/v1/projects/acme/locations/"
REQUEST = Request("POST", "https://g.example/", {"x": "y"}, b"{}")


def account(kind: str, key: str | None = None, **fields: Any) -> Account:
    """An account of that kind, with a key or without one."""
    return make_account("g", Provider(kind=kind, api_key=(Secret(key),) if key else (), **fields))


def vertex(location: str = "europe-west1", **fields: Any) -> Account:
    return account("vertex", project="acme", location=location, **fields)


def url(found: Account, model: str, *, stream: bool = False) -> str:
    return found.kind.host.url(found, model, stream=stream)


# Addresses


@pytest.mark.parametrize("model", ["gemini-3-flash", "models/gemini-3-flash"])
def test_ai_studio(model: str) -> None:
    root = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:"
    assert url(account("google"), model) == root + "generateContent"
    assert url(account("google"), model, stream=True) == root + "streamGenerateContent?alt=sse"


def test_tuned_models_have_a_place_of_their_own() -> None:
    assert "/v1beta/tunedModels/mine:generateContent" in url(account("google"), "tunedModels/mine")
    assert url(vertex(), "endpoints/123").endswith(PLACE + "europe-west1/endpoints/123:generateContent")


@pytest.mark.parametrize(("location", "host"), [
    ("europe-west1", "europe-west1-aiplatform.googleapis.com"), ("global", "aiplatform.googleapis.com"),
    ("us", "aiplatform.us.rep.googleapis.com"), ("eu", "aiplatform.eu.rep.googleapis.com"),
])  # fmt: skip
def test_vertex_is_where_its_location_is(location: str, host: str) -> None:
    root = f"https://{host}{PLACE}{location}/publishers/google/models/gemini-3-flash:"
    assert url(vertex(location), "gemini-3-flash") == root + "generateContent"
    assert url(vertex(location), "gemini-3-flash", stream=True) == root + "streamGenerateContent?alt=sse"


def test_an_address_of_the_operators_own_may_hold_the_project_or_not() -> None:
    own = "https://psc.acme.example/v1"
    expected = f"{own}/projects/acme/locations/eu/publishers/google/models/m:generateContent"
    assert url(vertex("eu", base_url=own), "m") == expected
    assert url(account("vertex", base_url=f"{own}/projects/acme/locations/eu"), "m") == expected
    # With a key of the express mode there is no project.
    assert url(account("vertex", base_url=own), "m") == f"{own}/publishers/google/models/m:generateContent"


def test_claude_on_vertex_is_asked_by_its_own_methods() -> None:
    root = f"https://aiplatform.googleapis.com{PLACE}global/publishers/anthropic/models/claude-opus-5@20260101:"
    found = vertex("global", api_model="anthropic")
    assert url(found, "claude-opus-5@20260101") == root + "rawPredict"
    assert url(found, "claude-opus-5@20260101", stream=True) == root + "streamRawPredict"


def test_open_models_on_vertex_are_behind_one_address() -> None:
    found = vertex("us-central1", api_model="openai")
    assert url(found, "meta/llama-4") == (
        "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/acme/locations/us-central1"
        "/endpoints/openapi/chat/completions"
    )


@pytest.mark.parametrize(("kind", "fields"), [("google", {}), ("vertex", {"project": "p", "location": "eu"})])
def test_names_cannot_reach_out_of_their_place_in_the_path(kind: str, fields: Any) -> None:
    assert "/models/..%2F..%2Fx%3Fy%3D1%23z%3Aw:generateContent" in url(account(kind, **fields), "../../x?y=1#z:w")
    for name in (".", "..", "models/..", "models/"):
        with pytest.raises(UpstreamError) as caught:
            url(account(kind, **fields), name)
        assert caught.value.failure is Failure.MODEL_GONE


@pytest.mark.parametrize(("fields", "said"), [
    ({"project": "p"}, "needs 'location'"), ({"location": "eu"}, "needs 'project'"),
    ({"project": "p", "location": "eu", "api_model": "meta"}, "'api_model' is one of anthropic, google, openai"),
])  # fmt: skip
def test_what_is_missing_or_unknown_is_said_at_the_start(fields: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        account("vertex", **fields)


# Wires


def test_the_account_says_which_wire_is_spoken_on_vertex() -> None:
    prompt = Prompt({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}, True, {}, {}, {})
    bodies = {}
    for name in ("google", "anthropic", "openai"):
        found = vertex(api_model=name)
        bodies[name] = found.kind.wire.write(found, prompt, "vendor-model", None).body
    assert b'"contents"' in bodies["google"]
    assert b'"anthropic_version":"vertex-2023-10-16"' in bodies["anthropic"]
    assert b'"model"' not in bodies["anthropic"]
    assert b'"model":"vendor-model"' in bodies["openai"]
    assert vertex().kind.wire is vertex(api_model="google").kind.wire


def test_claude_on_vertex_is_refused_in_googles_words_or_in_its_own() -> None:
    wire = vertex(api_model="anthropic").kind.wire
    google_says = b'[{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}]'
    claude_says = b'{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}'
    assert wire.failure(429, {}, google_says).failure is Failure.RATE_LIMITED
    assert wire.failure(529, {}, claude_says).failure is Failure.OVERLOADED


# Credentials


def test_keys_and_tokens_go_in_headers_never_in_the_address() -> None:
    [headers] = account("google", "AIza-k").fixed_headers
    assert headers[True]["x-goog-api-key"] == "AIza-k"
    assert "authorization" not in headers[True]
    assert vertex(key="ya29.token").fixed_headers[0][False]["authorization"] == "Bearer ya29.token"
    for express in ("AIza-k", "AQ.k"):
        found = vertex(key=express).fixed_headers[0][False]
        assert (found["x-goog-api-key"], "authorization" in found) == (express, False)


def test_only_an_account_without_a_key_asks_the_machine_for_tokens() -> None:
    for name in ("google", "anthropic", "openai"):
        found = vertex(api_model=name)
        assert isinstance(found.kind.host.signer(found), Tokens)
        keyed = vertex(api_model=name, key="t")
        assert keyed.kind.host.signer(keyed) is None
    assert account("google").kind.host.signer(account("google")) is None


class Machine:
    """Credentials as google-auth gives them; each refresh makes another token."""

    quota_project_id: str | None = None

    def __init__(self, seconds: float = 3600, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.refreshed = 0
        self.token: str | None = None
        self.expiry: datetime.datetime | None = None
        self.threads: set[int] = set()
        self.let_go = threading.Event()
        self.let_go.set()

    def refresh(self, transport: Any) -> None:
        self.threads.add(threading.get_ident())
        assert self.let_go.wait(5)
        self.refreshed += 1
        if self.error is not None:
            raise self.error
        self.token = f"token-{self.refreshed}"
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.seconds)
        self.expiry = end.replace(tzinfo=None)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    """Make this what the machine knows of itself."""

    def install(*arguments: Any, **fields: Any) -> Machine:
        found = Machine(*arguments, **fields)
        monkeypatch.setattr("google.auth.default", lambda scopes: (found, "acme"))
        return found

    return install


async def token(tokens: Tokens) -> str:
    signed = await tokens.sign(REQUEST, 0)
    assert (signed.method, signed.url, signed.body, signed.headers["x"]) == ("POST", REQUEST.url, b"{}", "y")
    return signed.headers["authorization"]


async def renewed(tokens: Tokens) -> None:
    """Once the renewal that is under way is over, whatever came of it."""
    assert tokens._renewal is not None
    await asyncio.wait([tokens._renewal])


@pytest.mark.anyio
async def test_a_token_is_fetched_once_in_a_thread_and_used_until_it_ends(machine: Callable[..., Machine]) -> None:
    """However many requests wait for the first one."""
    found, tokens = machine(), Tokens()
    assert set(await asyncio.gather(*(token(tokens) for _ in range(5)))) == {"Bearer token-1"}
    assert await token(tokens) == "Bearer token-1"
    assert found.refreshed == 1
    assert threading.get_ident() not in found.threads


@pytest.mark.anyio
async def test_a_token_that_ends_soon_is_renewed_while_it_is_still_used(machine: Callable[..., Machine]) -> None:
    found, tokens = machine(seconds=google.SLACK - 10), Tokens()
    assert await token(tokens) == "Bearer token-1"
    found.let_go.clear()
    assert await token(tokens) == "Bearer token-1", "nobody waits for the renewal"
    found.let_go.set()
    await renewed(tokens)
    assert await token(tokens) == "Bearer token-2"


@pytest.mark.anyio
async def test_a_renewal_that_fails_too_early_to_matter_is_not_tried_with_every_request(
    machine: Callable[..., Machine],
) -> None:
    found, tokens = machine(seconds=google.SLACK - 10), Tokens()
    assert await token(tokens) == "Bearer token-1"
    found.error = exceptions.TransportError("down")
    for _ in range(5):
        assert await token(tokens) == "Bearer token-1"
        await renewed(tokens)
    assert found.refreshed == 2


@pytest.mark.anyio
@pytest.mark.parametrize("error", [
    exceptions.RefreshError("revoked"), exceptions.TransportError("down"), OSError("no file"), ValueError("no JSON"),
])  # fmt: skip
async def test_without_a_token_the_route_is_left_and_the_next_request_tries_again(
    machine: Callable[..., Machine], error: Exception
) -> None:
    found, tokens = machine(error=error), Tokens()
    seen = await asyncio.gather(token(tokens), token(tokens), return_exceptions=True)
    assert [each.failure for each in seen if isinstance(each, UpstreamError)] == [Failure.CREDENTIAL] * 2
    assert seen[0] is not seen[1], "each is written to"
    found.error = None
    assert await token(tokens) == "Bearer token-2"


@pytest.mark.anyio
async def test_a_machine_that_knows_no_account_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def default(scopes: list[str]) -> Any:
        raise exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr("google.auth.default", default)
    with pytest.raises(UpstreamError) as caught:
        await token(Tokens())
    assert caught.value.failure is Failure.CREDENTIAL


@pytest.mark.anyio
async def test_nobody_waits_longer_than_the_deadline(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what came too late for one is there for the next."""
    monkeypatch.setattr(google, "DEADLINE", 0.01)
    found, tokens = machine(), Tokens()
    found.let_go.clear()
    with pytest.raises(UpstreamError) as caught:
        await token(tokens)
    assert caught.value.failure is Failure.TIMEOUT
    found.let_go.set()
    await renewed(tokens)
    assert await token(tokens) == "Bearer token-1"
    assert found.refreshed == 1


@pytest.mark.anyio
async def test_the_project_that_pays_is_named_where_the_machine_knows_it(machine: Callable[..., Machine]) -> None:
    found, tokens = machine(), Tokens()
    assert "x-goog-user-project" not in (await tokens.sign(REQUEST, 0)).headers
    found.quota_project_id = "payer"
    assert (await tokens.sign(REQUEST, 0)).headers["x-goog-user-project"] == "payer"


@pytest.mark.anyio
async def test_a_token_without_an_end_is_not_kept_for_ever(machine: Callable[..., Machine]) -> None:
    found, tokens = machine(), Tokens()
    await token(tokens)
    found.expiry = None
    assert 0 < google._end_of(found) - google._now() <= 2 * google.SLACK


# Through a gateway


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("api_model", "name", "behaviour", "path"), [
    (None, "gemini-3-flash", generated("Hi."),
     "publishers/google/models/gemini-3-flash:{streamGenerateContent?alt=sse|generateContent}"),
    ("anthropic", "claude-sonnet-4-5", message("Hi."),
     "publishers/anthropic/models/claude-sonnet-4-5:{streamRawPredict|rawPredict}"),
    ("openai", "meta/llama-4", answer("Hi."), "endpoints/openapi/chat/completions"),
])  # fmt: skip
async def test_each_wire_of_vertex_answers_with_the_machines_own_token(
    serve: Serve, machine: Callable[..., Machine], api_model: str | None, name: str, behaviour: Behaviour, path: str,
    stream: bool,
) -> None:  # fmt: skip
    machine()
    async with ScriptedUpstream(handler=lambda _: behaviour) as upstream:
        row = provider(
            f"{upstream.origin}/v1", "vertex", api_key=(), project="acme", location="eu", api_model=api_model
        )
        async with serve({"v": row}, {"m": model("v", upstream_model=name)}) as gateway:
            reply = await gateway.chat(stream=stream)
        [received] = upstream.requests
    assert (reply.status, reply.text) == (200, "Hi.")
    head, _, choice = path.rstrip("}").partition("{")
    expected = head + (choice.partition("|")[0 if stream else 2] if choice else "")
    version = "v1beta1" if api_model == "openai" else "v1"
    assert received.path == f"/{version}/projects/acme/locations/eu/{expected}"
    assert received.headers["authorization"] == "Bearer token-1"


# What the installation and the account decide


def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing but the base is installed."""

    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("sealgate.relay.catalog.importlib.import_module", refuse)


@pytest.mark.parametrize("publisher", [None, "anthropic", "openai"])
@pytest.mark.parametrize("key", ["ya29.token", "AIzaKey"])
def test_with_a_key_or_a_token_nothing_needs_to_be_installed(
    monkeypatch: pytest.MonkeyPatch, publisher: str | None, key: str
) -> None:
    missing(monkeypatch)
    found = account("vertex", key, project="acme", location="eu", api_model=publisher)
    assert found.secrets == (key,)


def test_the_machines_own_account_needs_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch)
    with pytest.raises(ConfigError, match=r"pip install 'sealgate\[gcp\]'"):
        account("vertex", project="acme", location="eu")


def test_claude_on_vertex_takes_pictures_as_data_only() -> None:
    own = {"project": "acme", "location": "eu"}
    assert not account("vertex", "t", api_model="anthropic", **own).media_by_url
    assert account("vertex", "t", api_model="anthropic", media="pass", **own).media_by_url
    assert account("vertex", "t", **own).media_by_url
    assert not account("vertex", "t", media="data", **own).media_by_url
