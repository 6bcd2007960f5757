"""P4 with the official SDK in front: its retries and ours never multiply."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway import Serve, Template, Threaded, provider

from sealgate.testing import Behaviour, ScriptedUpstream, delayed, error, error_first, quota, reset, silent
from sealgate.testing.thread import ThreadedUpstream

REQUESTS = 60
MOST = 1.2
"""Upstream calls for each request that callers meant."""


Upstreams = tuple[ThreadedUpstream, ThreadedUpstream]


@pytest.fixture
def upstreams(behaviour: Behaviour) -> Iterator[Upstreams]:
    """Two providers that do nothing but fail in this way."""
    with ScriptedUpstream.in_thread(default=behaviour) as one, ScriptedUpstream.in_thread(default=behaviour) as two:
        yield one, two


@pytest.fixture
def gateway(gateway_template: Template, tmp_path: Path, upstreams: Upstreams) -> Iterator[Threaded]:
    """Model ``alone`` has one route, ``both`` has two; either provider allows five retries."""
    one, two = upstreams
    providers = {"one": provider(one, retries=5), "two": provider(two, retries=5)}
    models = {"alone": ["one"], "both": ["one", "two"]}
    with Serve(gateway_template, tmp_path).in_thread(providers, models) as found:
        yield found


def everybody_asks(gateway: Threaded, model: str, *, stream: bool) -> None:
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, timeout=20) as client:
        messages: Any = [{"role": "user", "content": "Hi"}]

        def ask(_: int) -> None:
            with pytest.raises(openai.APIError):
                client.chat.completions.create(model=model, messages=messages, stream=stream)

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(ask, range(REQUESTS)))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "behaviour", [error(500), delayed(0.05, error(503)), error_first(), reset(), error(401), quota()],
    ids=["500", "slow 503", "error in a 200", "reset", "401", "quota"],
)  # fmt: skip
def test_an_upstream_where_all_fails_gets_at_most_a_fifth_more_than_was_asked(
    gateway: Threaded, upstreams: Upstreams, stream: bool
) -> None:
    """The SDK alone would send everything three times, and five retries would make that eighteen."""
    everybody_asks(gateway, "alone", stream=stream)
    assert 0 < len(upstreams[0].requests) <= REQUESTS * MOST


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("behaviour", [error(500), delayed(0.02, error(500))], ids=["at once", "slow"])
def test_each_of_two_providers_that_fail_is_asked_no_more_than_that(
    gateway: Threaded, upstreams: Upstreams, stream: bool
) -> None:
    everybody_asks(gateway, "both", stream=stream)
    for upstream in upstreams:
        assert 0 < len(upstream.requests) <= REQUESTS * MOST


@pytest.mark.parametrize("behaviour", [silent()], ids=["silent"])
def test_a_whole_answer_that_takes_longer_than_the_sdk_waits_is_asked_for_once(
    gateway: Threaded, upstreams: Upstreams
) -> None:
    """The gateway answers 504 before the time that the SDK names is over, and says that trying again is no use.

    Here it names a second and waits longer: on a busy machine a quarter of a second is soon gone on the way.
    """
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, timeout=60) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(
            model="alone", messages=[{"role": "user", "content": "Hi"}], extra_headers={"x-stainless-read-timeout": "1"}
        )
    assert caught.value.code == "upstream_timeout"
    assert len(upstreams[0].requests) == 1
