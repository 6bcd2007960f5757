"""The walk over the routes of a plan, against upstreams that fail in every way they can."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import pytest
from tests.gateway import UPSTREAM_KEY, Reply, Serve, model, provider
from tests.relay.walker import walk

from sealgate.config import Timeouts
from sealgate.errors import CODES
from sealgate.limits.ledger import Entry, Outcome
from sealgate.relay.health import EJECT_AFTER, Health
from sealgate.relay.pace import Paces
from sealgate.relay.plan import Seen
from sealgate.testing import (
    LAST_CHUNK,
    SHAPES,
    Behaviour,
    Received,
    ScriptedUpstream,
    Sleep,
    answer,
    bad_chunk,
    bare,
    chunk,
    cut_after,
    delayed,
    empty,
    error,
    error_first,
    gzip_body,
    gzip_bomb,
    head,
    html,
    huge_head,
    huge_line,
    json_answer,
    many_headers,
    not_json,
    quota,
    redirect,
    refusing,
    reset,
    role_only_then_cut,
    run,
    short_body,
    silent,
    sse,
    stale_reuse,
    stall_after,
    status_204,
    truncated,
    unanswering,
    watermarks,
    whole,
)
from sealgate.testing.openai_wire import GREETING

GOOD = answer(watermark=True)
MODELS = {"m": ["acme", "backup"], "alone": ["acme"]}


@dataclass(frozen=True)
class Fault:
    """What an upstream does before its first content, and what callers hear if there is no other route."""

    behaviour: Behaviour
    outcome: str
    status: int | None
    """The upstream's own status."""
    code: str


def failing(status: int, outcome: str, public: str, **fields: Any) -> Fault:
    return Fault(error(status, **fields), outcome, status, public)


def unusable(behaviour: Behaviour, status: int | None = 200) -> Fault:
    return Fault(behaviour, "bad_response", status, "upstream_bad_response")


def completion(received: Received) -> Any:
    return json_answer(answer().completion(received))


def said_with_200(received: Received) -> Any:
    """An error as a plain document where a stream was asked for."""
    return json_answer({"error": {"message": "Slow down.", "type": "rate_limit_error", "code": None}})


def encoded(coding: str) -> Behaviour:
    """An answer that says it is encoded so."""
    return lambda _: whole(b"\x1b\x03", "application/json", headers={"content-encoding": coding})


EITHER = {
    **{f"E12 {status}": failing(status, "server_error", "upstream_error") for status in (500, 502, 520)},
    **{f"E12 {status}": failing(status, "overloaded", "upstream_overloaded") for status in (503, 529)},
    "E12 504": failing(504, "timeout", "upstream_timeout"),
    "408": failing(408, "timeout", "upstream_timeout"),
    **{str(status): failing(status, "server_error", "upstream_error") for status in (405, 409, 412, 424, 425)},
    "E6 429": failing(429, "rate_limited", "upstream_rate_limited", headers={"retry-after": "2"}),
    "E7 quota": Fault(quota(), "quota", 429, "upstream_quota"),
    "402": failing(402, "quota", "upstream_quota"),
    "E8 401": failing(401, "credential", "upstream_auth_failed"),
    "E8 403": failing(403, "credential", "upstream_auth_failed"),
    "E8 400 for a bad key": failing(400, "credential", "upstream_auth_failed", code="invalid_api_key"),
    "E10 404": failing(404, "model_gone", "model_not_found"),
    "D11 context": failing(400, "context_length", "context_length_exceeded", code="context_length_exceeded"),
    "E13 html": unusable(html()),
    "html 503": Fault(html(503), "overloaded", 503, "upstream_overloaded"),
    "E13 empty": unusable(empty()),
    "E13 not json": unusable(not_json(0)),
    "E13 no content and no usage": unusable(answer("", usage=None)),
    "E13 error in a 200": Fault(error_first("openai"), "overloaded", 200, "upstream_overloaded"),
    "E13 error in a 200, openrouter": Fault(error_first("openrouter"), "overloaded", 200, "upstream_overloaded"),
    "E13 error in a 200, anthropic": Fault(error_first("anthropic"), "overloaded", 200, "upstream_overloaded"),
    "E13 error in a 200, vllm": Fault(error_first("vllm"), "server_error", 500, "upstream_error"),
    "E15 redirect": Fault(redirect(), "redirect", 307, "upstream_redirect"),
    "E15 304": Fault(bare(304), "redirect", 304, "upstream_redirect"),
    "E16 a coding nobody knows": unusable(encoded("br")),
    "E16 gzip bomb": unusable(gzip_bomb(4 << 20)),
    "E17 huge head": unusable(huge_head(), None),
    "E17 many headers": unusable(many_headers(1000), None),
    "E21 204": unusable(status_204(), 204),
    "E21 206": unusable(bare(206), 206),
    "reset": Fault(reset(), "reset", None, "upstream_stream_reset"),
    "bad chunk": unusable(bad_chunk(0)),
}
STREAMED = {
    "role, then cut": unusable(role_only_then_cut()),
    "role, then reset": Fault(role_only_then_cut(rst=True), "reset", 200, "upstream_stream_reset"),
    "role, then the end": unusable(truncated(1)),
    "head, then cut": unusable(cut_after(0)),
    "E13 a document for a stream": unusable(completion),
    "E19 a document with an error": Fault(said_with_200, "rate_limited", 200, "upstream_rate_limited"),
    "F7 a line without end": unusable(huge_line()),
    **{
        f"a finish that means failure: {reason}": Fault(
            answer("", usage=None, finish_reason=reason), "server_error", 200, "upstream_error"
        )
        for reason in ("error", "network_error", "MALFORMED_FUNCTION_CALL", "malformed_model_output")
    },
}
WHOLE = {
    "E14 half": unusable(truncated()),
    "E14 short": unusable(short_body()),
    "E14 cut": unusable(cut_after(1)),
    "E14 reset": Fault(cut_after(1, rst=True), "reset", 200, "upstream_stream_reset"),
    "E13 a stream for a document": unusable(whole(b"data: {}\n\n", "text/event-stream")),
    "E13 a list": unusable(json_answer([])),
    "E13 no choices": unusable(json_answer({"object": "chat.completion", "choices": []})),
    "finish_reason network_error": Fault(answer(finish_reason="network_error"), "server_error", 200, "upstream_error"),
}
CASES = [
    *(pytest.param(fault, (True, False), id=name) for name, fault in EITHER.items()),
    *(pytest.param(fault, (True,), id=f"{name}, stream") for name, fault in STREAMED.items()),
    *(pytest.param(fault, (False,), id=f"{name}, whole") for name, fault in WHOLE.items()),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "forms"), CASES)
async def test_a_route_that_fails_before_its_first_content_is_left_and_nobody_sees_it(
    serve: Serve, fault: Fault, forms: Sequence[bool]
) -> None:
    """And where there is no other route, the caller is told the class of the failure, and each attempt."""
    async with serve({"acme": fault.behaviour, "backup": GOOD}, MODELS) as gateway:
        for number, stream in enumerate(forms):
            gateway.forget()
            served = await gateway.chat(stream=stream)
            gateway.forget()
            failed = await gateway.chat(model="alone", stream=stream)
            first, second = await gateway.rows(2, behind=2 * number)
            assert_left(served, first, stream, gateway.upstreams["backup"].requests[number].watermark)
            assert_told(failed, second, fault)


def assert_left(served: Reply, row: Entry, stream: bool, watermark: str) -> None:
    """The backup answered, and it alone."""
    assert (served.status, served.error) == (200, None)
    assert served.done is stream
    assert watermarks(served.body.decode()) == [watermark], "P3: one answer, never a mixture"
    assert served.text.endswith(GREETING)
    assert served.tresor | {"cost": None} == {
        "receipt_id": served.headers["x-tresor-receipt-id"],
        "cost": None,
        "requested_route": "auto/auto/m", "routed_model": "global/backup/m", "failover": True,
    }  # fmt: skip
    assert (row.outcome, row.status, row.code) == (Outcome.OK, 200, None)
    assert (row.attempts, row.failover, row.routed_model) == (2, True, "global/backup/m")


def assert_told(failed: Reply, row: Entry, fault: Fault) -> None:
    """The class of the failure, with a status of its own: nothing had come before it."""
    assert (failed.code, failed.status) == (fault.code, CODES[fault.code].status)
    assert failed.attempts == [("global/acme/alone", fault.outcome, fault.status)]
    assert not failed.events, "an error before the first content has a status of its own"
    assert_may_retry(failed)
    assert (row.outcome, row.status, row.code) == (Outcome.UPSTREAM_FAILED, failed.status, fault.code)
    assert (row.attempts, row.routed_model, row.prompt_tokens) == (1, None, None)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_row_e16_a_compressed_answer_is_decoded(serve: Serve, stream: bool) -> None:
    """Nobody asked for it, but a caller is better served than refused."""
    async with serve({"acme": gzip_body()}) as gateway:
        reply = await gateway.chat(stream=stream)
    assert (reply.status, reply.text, reply.done) == (200, GREETING, stream)


def assert_may_retry(reply: Reply) -> None:
    """The official SDKs would send everything three times; only these are worth it, and say when."""
    if reply.code == "upstream_rate_limited":
        assert reply.headers["retry-after"] == "2"
        assert "x-should-retry" not in reply.headers
    elif reply.status >= 500:
        assert reply.headers["x-should-retry"] == "false"
        assert "retry-after" not in reply.headers


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_row_e1_a_route_that_refuses_connections_is_left(serve: Serve, stream: bool) -> None:
    with refusing() as nowhere:
        async with serve({"acme": nowhere, "backup": answer()}, MODELS) as gateway:
            served = await gateway.chat(stream=stream)
            failed = await gateway.chat(model="alone", stream=stream)
            assert [row.outcome for row in await gateway.rows(2)] == [Outcome.OK, Outcome.UPSTREAM_FAILED]
    assert (served.text, served.tresor["failover"]) == (GREETING, True)
    assert (failed.code, failed.attempts) == ("upstream_unreachable", [("global/acme/alone", "unreachable", None)])
    assert failed.headers["x-should-retry"] == "false"


@pytest.mark.anyio
async def test_row_e5_a_kept_connection_that_was_given_up_costs_nobody_an_attempt(serve: Serve) -> None:
    async with serve({"acme": stale_reuse(GOOD), "backup": answer()}) as gateway:
        replies = [await gateway.chat(stream=stream) for stream in (True, False, True)]
        rows = await gateway.rows(3)
    assert {reply.tresor["routed_model"] for reply in replies} == {"global/acme/m"}
    assert [row.attempts for row in rows] == [1, 1, 1]
    assert gateway.upstreams["acme"].accepted == 3


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("status", "code", "public"), [
    (400, None, "upstream_invalid_request"), (413, None, "upstream_request_too_large"),
    (422, None, "upstream_unprocessable"), (400, "unsupported_schema", "unsupported_schema"),
    (418, None, "upstream_invalid_request"),
])  # fmt: skip
async def test_rows_e9_to_e11_what_is_wrong_with_the_request_itself_ends_the_walk(
    serve: Serve, status: int, code: str | None, public: str, stream: bool
) -> None:
    """The provider's sentence is shown, with the parameter it names; no other route is asked."""
    refusal = error(status, code, "The model of sk-abcdef123456 takes no temperature.", param="temperature")
    async with serve({"acme": refusal, "backup": answer()}) as gateway:
        reply = await gateway.chat(stream=stream)
        row = await gateway.row()
    assert (reply.code, reply.status) == (public, CODES[public].status)
    assert reply.error["message"] == "The model of [redacted] takes no temperature."
    assert reply.error["param"] == "temperature"
    assert not gateway.upstreams["backup"].requests
    assert (row.outcome, row.attempts, row.code) == (Outcome.UPSTREAM_FAILED, 1, public)


@pytest.mark.anyio
async def test_a_refusal_of_the_request_after_other_failures_is_what_the_caller_hears(serve: Serve) -> None:
    refusal = error(400, message="Bad.")
    async with serve({"one": error(500), "two": refusal, "three": answer()}) as gateway:
        reply = await gateway.chat()
    assert (reply.code, reply.error["message"]) == ("upstream_invalid_request", "Bad.")
    assert [outcome for _, outcome, _ in reply.attempts] == ["server_error", "invalid_request"]
    assert not gateway.upstreams["three"].requests


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_failures_of_different_kinds_are_told_as_one_and_each_attempt_is_listed(
    serve: Serve, stream: bool
) -> None:
    async with serve({"one": error(503), "two": html(), "three": error(429, headers={"retry-after": "9"})}) as gateway:
        reply = await gateway.chat(stream=stream)
        row = await gateway.row()
    assert (reply.code, reply.status) == ("upstream_error", 502)
    assert reply.attempts == [
        ("global/one/m", "overloaded", 503),
        ("global/two/m", "bad_response", 200),
        ("global/three/m", "rate_limited", 429),
    ]
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers
    assert (row.attempts, row.code, row.failover) == (3, "upstream_error", False)


@pytest.mark.anyio
@pytest.mark.parametrize(("headers", "seconds"), [
    ([{"retry-after": "30"}, {"retry-after": "7"}], "7"),
    ([{"retry-after": "30"}, {}], "30"),
    ([{}, {}], "2"),
    ([{"retry-after": "3600"}] * 2, "120"),
    ([{"retry-after": "inf"}] * 2, "120"),
    ([{"retry-after": "nan"}] * 2, "2"),
    ([{"retry-after": "-5"}] * 2, "2"),
    ([{"retry-after": "0.3"}] * 2, "1"),
    ([{"retry-after-ms": "2500", "retry-after": "9"}] * 2, "3"),
    ([{"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}] * 2, "2"),
])  # fmt: skip
async def test_row_e6_retry_after_is_the_soonest_that_any_route_names(
    serve: Serve, headers: list[dict[str, str]], seconds: str
) -> None:
    first, second = (error(429, headers=each) for each in headers)
    async with serve({"acme": first, "backup": second}) as gateway:
        reply = await gateway.chat()
    assert (reply.code, reply.status, reply.headers["retry-after"]) == ("upstream_rate_limited", 429, seconds)
    assert "x-should-retry" not in reply.headers


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_route_is_asked_again_as_often_as_its_provider_allows(serve: Serve, stream: bool) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.enqueue(error(500), html(), GOOD)
        async with serve({"acme": provider(upstream, retries=2), "backup": answer()}) as gateway:
            reply = await gateway.chat(stream=stream)
            row = await gateway.row()
    assert reply.text.endswith(GREETING)
    assert reply.tresor["failover"] is False, "the preferred route was not left"
    assert len(upstream.requests) == 3
    assert not gateway.upstreams["backup"].requests
    assert (row.attempts, row.failover, row.routed_model) == (3, False, "global/acme/m")


@pytest.mark.anyio
@pytest.mark.parametrize("lasting", [error(401), error(404), quota(), redirect()])
async def test_a_route_is_not_asked_again_where_that_cannot_help(serve: Serve, lasting: Behaviour) -> None:
    async with ScriptedUpstream(default=lasting) as upstream:
        async with serve({"acme": provider(upstream, retries=3), "backup": answer()}) as gateway:
            reply = await gateway.chat()
        assert len(upstream.requests) == 1
    assert reply.tresor["routed_model"] == "global/backup/m"


@pytest.mark.anyio
async def test_without_retries_each_route_is_asked_once(serve: Serve) -> None:
    async with serve({"acme": error(500)}) as gateway:
        assert (await gateway.chat()).code == "upstream_error"
    assert len(gateway.upstreams["acme"].requests) == 1


@pytest.mark.anyio
async def test_failover_goes_to_another_model_of_the_callers_choice(serve: Serve) -> None:
    models = {"m": ["acme"], "other": model("backup", upstream_model="other-upstream")}
    async with serve({"acme": error(500), "backup": answer()}, models) as gateway:
        reply = await gateway.chat(failover=["other"])
        row = await gateway.row()
    sent = gateway.upstreams["backup"].requests[0].json
    assert reply.json["model"] == "m", "the caller reads the name it sent"
    assert reply.tresor["routed_model"] == "global/backup/other"
    assert sent["model"] == "other-upstream"
    assert "failover" not in sent
    assert (row.model, row.upstream_model, row.requested_route) == ("m", "other-upstream", "auto/auto/m")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_an_empty_answer_that_reports_usage_is_an_answer(serve: Serve, stream: bool) -> None:
    async with serve({"acme": answer("")}) as gateway:
        reply = await gateway.chat(stream=stream)
        row = await gateway.row()
    assert (reply.status, reply.text, reply.done) == (200, "", stream)
    assert (row.outcome, row.usage_source) == (Outcome.OK, "reported")


@pytest.mark.anyio
@pytest.mark.parametrize("shape", SHAPES)
async def test_row_e19_an_error_as_first_event_and_the_backup_fails_too(serve: Serve, shape: Any) -> None:
    async with serve({"acme": error_first(shape), "backup": error(500)}) as gateway:
        reply = await gateway.chat(stream=True)
    assert (reply.status, len(reply.attempts), reply.events) == (502, 2, [])


@pytest.mark.anyio
async def test_requests_at_once_never_mix_their_answers(serve: Serve) -> None:
    """P3, with routes that fail at random moments beside routes that do not."""
    behaviours = [GOOD, error(503), role_only_then_cut(), cut_after(4, GOOD), GOOD, html(), not_json(3, GOOD)]
    replies: list[Reply] = []
    async with serve({"acme": GOOD, "backup": GOOD}) as gateway:
        for _ in range(6):
            gateway.forget()
            gateway.upstreams["acme"].enqueue(*behaviours)
            replies += await asyncio.gather(*(gateway.chat(stream=True) for _ in behaviours))
        rows = await gateway.rows(len(replies))
    seen = [watermarks(reply.text) for reply in replies]
    assert all(len(found) == 1 for found in seen)
    assert len({found[0] for found in seen}) == len(replies), "no answer was given twice"
    assert sum(reply.done for reply in replies) == 5 * 6
    assert {row.outcome for row in rows} == {Outcome.OK, Outcome.TRUNCATED}


# Time: on a clock that jumps, to the second


def pinging(received: Received) -> Any:
    """Says something every 50 seconds; its first content comes after 150."""
    first, *others = answer("Hi").events(received)
    yield head(200, {"content-type": "text/event-stream"})
    for piece in (b": ping\n\n", first, b"event: ping\ndata: {}\n\n", *others, sse("[DONE]")):
        yield Sleep(50)
        yield chunk(piece)
    yield LAST_CHUNK


@pytest.mark.parametrize("fault", [silent(), silent(after_head=True), stall_after(1)], ids=["E4", "E20", "E20 role"])
def test_rows_e4_e20_silence_before_the_first_content_is_60_seconds_while_a_route_is_left(fault: Behaviour) -> None:
    """And 180 on the last one, whose caller has nobody else to hope for."""
    found = run(walk({"acme": fault, "backup": answer()}, stream=True))
    assert (found.text, found.route, found.outcomes) == (GREETING, "global/backup/m", ["timeout", "ok"])
    assert found.times[0] == 60
    alone = run(walk({"acme": fault}, stream=True))
    assert (alone.code, alone.outcomes, alone.seconds) == ("upstream_timeout", ["timeout"], 180)


def test_row_e4_the_route_that_was_left_is_not_kept_waiting() -> None:
    found = run(walk({"acme": silent(), "backup": answer()}, stream=True))
    assert found.upstreams["acme"].requests[0].abandoned


def test_row_e2_a_connection_that_does_not_come_to_be_is_given_up_after_5_seconds() -> None:
    with unanswering() as nowhere:
        found = run(walk({"acme": nowhere, "backup": answer()}, stream=True))
        alone = run(walk({"acme": nowhere}))
    assert (found.text, found.outcomes, found.times[0]) == (GREETING, ["connect_timeout", "ok"], 5)
    assert (alone.code, alone.seconds) == ("upstream_connect_timeout", 5)


def test_any_byte_of_the_upstream_restarts_the_wait_for_its_first_content() -> None:
    found = run(walk({"acme": pinging, "backup": answer()}, stream=True))
    assert (found.text, found.route, found.problem) == ("Hi", "global/acme/m", None)
    assert found.times[0] == 200


def test_routes_that_ran_out_of_time_in_different_places_all_timed_out() -> None:
    with unanswering() as nowhere:
        found = run(walk({"one": silent(), "two": nowhere, "three": stall_after(1)}, stream=True))
    assert found.outcomes == ["timeout", "connect_timeout", "timeout"]
    assert (found.code, found.seconds) == ("upstream_timeout", 60 + 5 + 180)


def test_a_whole_answer_may_be_silent_for_as_long_as_a_request_may_take() -> None:
    """The limits on silence are for streams: a whole answer says nothing until it is there."""
    found = run(walk({"acme": delayed(590, answer()), "backup": answer()}))
    assert (found.text, found.route, found.seconds) == (GREETING, "global/acme/m", 590)


@pytest.mark.parametrize("second", [silent(), silent(after_head=True), stall_after(1)], ids=["mute", "head", "half"])
def test_p5_the_deadline_of_a_whole_answer_is_kept_to_the_second_failover_included(second: Behaviour) -> None:
    found = run(walk({"acme": delayed(100, error(500)), "backup": second, "third": answer()}, seconds=180))
    assert (found.code, found.outcomes, found.seconds) == ("upstream_timeout", ["server_error", "timeout"], 180)
    assert not found.upstreams["third"].requests, "there is no time left for it"
    assert found.upstreams["backup"].requests[0].abandoned


def test_a_whole_answer_that_comes_in_time_comes() -> None:
    found = run(walk({"acme": delayed(100, error(500)), "backup": delayed(79, answer())}, seconds=180))
    assert (found.text, found.outcomes, found.seconds) == (GREETING, ["server_error", "ok"], 179)


def test_a_stream_may_be_silent_for_180_seconds_after_its_first_content_and_has_no_total() -> None:
    found = run(walk({"acme": answer(["a", "b", "c", "d"], delay=179)}, stream=True))
    assert (found.text, found.problem) == ("abcd", None)
    assert found.times[-1] == 179 * 5


def test_row_f4_a_stream_that_falls_silent_is_given_up_after_180_seconds() -> None:
    found = run(walk({"acme": stall_after(3), "backup": answer()}, stream=True))
    assert (found.code, found.text, found.outcomes) == ("upstream_stream_timeout", "Hello! How ", ["stalled"])
    assert found.seconds == found.times[-1] + 180
    assert not found.upstreams["backup"].requests


# What may be shown of a provider's sentence


@pytest.mark.anyio
async def test_p18_a_provider_that_repeats_our_key_does_not_reach_the_caller_with_it(serve: Serve) -> None:
    async with serve({"acme": error(400, message=f"Who is {UPSTREAM_KEY}?")}) as gateway:
        reply = await gateway.chat()
    assert reply.error["message"] == "Who is [redacted]?"


# Who is asked next, and who pays


@pytest.mark.anyio
async def test_a_target_that_is_left_alone_does_not_cost_the_free_step(serve: Serve) -> None:
    """Sixty requests leave a failing route at once; the second asks for quiet, and the third must serve them all."""
    quiet = error(429, headers={"retry-after": "30"})
    async with serve({"acme": delayed(0.2, error(500)), "second": quiet, "third": answer()}) as gateway:
        assert (await gateway.chat()).text == GREETING
        replies = await asyncio.gather(*(gateway.chat() for _ in range(60)))
    assert {reply.status for reply in replies} == {200}


@pytest.mark.anyio
async def test_steps_within_one_account_are_charged_to_it(serve: Serve) -> None:
    """P4: another model of a failing provider is no way out of it."""
    models = {name: model("acme", upstream_model=name) for name in ("m", "n", "o")}
    async with serve({"acme": delayed(0.3, error(500))}, models) as gateway:
        await asyncio.gather(*(gateway.chat(failover=["n", "o"]) for _ in range(40)))
        assert len(gateway.upstreams["acme"].requests) <= 40 * 1.2 + 3
        budget = gateway.hall.means.budget
        assert all(budget.take("acme") for _ in range(3)), "what was charged was given back"


@pytest.mark.parametrize("keys", [1, 2, 3])
def test_further_keys_do_not_make_a_route_impatient(keys: int) -> None:
    """A timeout leads to no other key, so there is nobody to leave a slow route for."""
    found = run(walk({"acme": delayed(90, answer())}, keys=keys, stream=True))
    assert (found.text, found.code) == (GREETING, None)


@pytest.mark.anyio
async def test_a_file_of_authorities_that_has_gone_fails_over_and_holds_nothing(serve: Serve, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    shutil.copy(certifi.where(), authorities)
    gone = provider("https://llm.acme.example", ca_file=str(authorities))
    async with serve({"acme": gone, "backup": answer()}) as gateway:
        authorities.unlink()
        reply = await gateway.chat()
        assert not +gateway.hall.means.budget.active
    assert (reply.text, reply.tresor["routed_model"]) == (GREETING, "global/backup/m")


@pytest.mark.anyio
async def test_callers_in_a_hurry_do_not_keep_an_ejected_route_on_probation(serve: Serve) -> None:
    """A probe that runs out of its caller's time is a failed probe: the next callers are not sent there as well."""
    now = [0.0]
    async with serve({"acme": error(500), "backup": answer()}) as gateway:
        gateway.hall.means = gateway.hall.means._replace(seen=Seen(Health(lambda: now[0]), Paces()))
        for _ in range(EJECT_AFTER):
            await gateway.chat()
        gateway.upstreams["acme"].default = silent()
        now[0] += 5
        hurried = {"x-stainless-read-timeout": "0.3"}
        replies = [await gateway.chat(headers=hurried) for _ in range(4)]
    assert [reply.status for reply in replies] == [504, 200, 200, 200]


@pytest.mark.anyio
async def test_a_provider_that_hangs_is_ejected_however_short_the_configured_limit_is(serve: Serve) -> None:
    limits = Timeouts(total=0.1, max_total=600)
    async with serve({"acme": silent(), "backup": answer()}, timeouts=limits) as gateway:
        replies = [await gateway.chat() for _ in range(EJECT_AFTER + 2)]
    assert [reply.status for reply in replies] == [504] * EJECT_AFTER + [200, 200]
