"""What goes wrong at any provider is told to the caller in one way, and says the same of the route everywhere."""

from __future__ import annotations

import pytest
from tests.conformance.matrix import EVERY, Row, good, message, split
from tests.gateway import Reply

from sealgate.limits.ledger import Outcome
from sealgate.testing import Fault
from sealgate.testing import Reply as Said

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
REFUSED = {
    "rate_limit": (429, "upstream_rate_limited"),
    "quota": (429, "upstream_quota"),
    "overload": (503, "upstream_overloaded"),
    "server_error": (502, "upstream_error"),
    "auth": (502, "upstream_auth_failed"),
    "not_found": (404, "model_not_found"),
    "bad_request": (400, "upstream_invalid_request"),
    "context_length": (400, "context_length_exceeded"),
}
MISTRAL = {"bad_request": (422, "upstream_unprocessable")}
"""A field that it does not take is a 422 there, and at TGI."""
OWN = {"vllm", "vllm-legacy", "sglang", "tgi", "llamacpp", "ollama", "lmstudio"}


def mock_of(row: Row) -> str:
    return split(row.name)[0]


def told(reply: Reply) -> tuple[int, str | None]:
    return reply.status, reply.code


@STREAM
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_the_same_code_wherever_it_comes_from(row: Row, name: str, stream: bool) -> None:
    if name == "quota" and mock_of(row) in OWN:
        pytest.skip("one's own server has no quota")
    row.mock.fail(name)  # type: ignore[arg-type]
    reply = row.ask(stream=stream)
    expected = REFUSED[name]
    if mock_of(row) in ("mistral", "tgi"):
        expected = MISTRAL.get(name, expected)
    assert told(reply) == expected
    [attempt] = reply.attempts
    assert attempt[0] == row.route.id
    assert row.mock.api_key not in reply.body.decode()


@EVERY
def test_how_long_to_wait_is_passed_on(row: Row) -> None:
    row.mock.fail("rate_limit", retry_after=7)
    reply = row.ask()
    assert told(reply) == (429, "upstream_rate_limited")
    assert reply.headers["retry-after"] == "7"


@STREAM
@pytest.mark.parametrize("name", ["rate_limit", "quota", "overload", "server_error", "auth", "not_found",
                                  "context_length"])  # fmt: skip
def test_a_route_that_fails_is_left_for_the_next(row: Row, name: str, stream: bool) -> None:
    """And what the caller gets is the other's answer."""
    if row.name == "compatible":
        pytest.skip("it is the other one")
    other = row.matrix.rows["compatible"]
    other.mock.forget()
    row.mock.fail(name)  # type: ignore[arg-type]
    other.mock.reply("From the other.")
    reply = good(row.ask(stream=stream, failover=["compatible"]))
    assert reply.text == "From the other."
    assert (reply.tresor["failover"], reply.tresor["routed_model"]) == (True, other.route.id)


@pytest.mark.parametrize("name", ["bad_request"])
def test_a_request_that_is_refused_is_not_asked_again_elsewhere(row: Row, name: str) -> None:
    other = row.matrix.rows["compatible"]
    if row.name != "compatible":
        other.mock.forget()
    row.mock.fail(name)  # type: ignore[arg-type]
    reply = row.ask(failover=["compatible"])
    assert reply.status in (400, 422)
    assert len(row.mock.requests) == 1
    assert not other.mock.requests or row.name == "compatible"


@STREAM
@pytest.mark.parametrize("name", ["reset", "empty", "html", "truncated", "not_json", "cut"])
def test_what_is_no_answer_is_left_before_its_first_content(row: Row, name: str, stream: bool) -> None:
    after = None if not stream or name in ("empty", "html") else 0
    row.mock.enqueue(Fault(name, after=after, reply=Said("Never said.")))  # type: ignore[arg-type]
    reply = row.ask(stream=stream)
    assert reply.status == 502, reply.body
    assert reply.code in ("upstream_bad_response", "upstream_error", "upstream_unreachable", "upstream_stream_reset")
    assert b"Never said." not in reply.body


@pytest.mark.parametrize("name", ["cut", "reset", "truncated", "overload", "server_error", "not_json"])
def test_a_stream_that_breaks_never_looks_complete(row: Row, name: str) -> None:
    """What came is passed on; then comes an error, and no ``[DONE]``."""
    row.mock.enqueue(Fault(name, after=5, reply=Said("one two three four five six seven eight nine ten")))  # type: ignore[arg-type]
    reply = row.ask(stream=True)
    assert reply.status == 200
    assert reply.text.startswith("one ")
    assert not reply.text.endswith("ten")
    assert reply.error is not None
    assert reply.code in ("upstream_stream_truncated", "upstream_stream_reset", "upstream_bad_stream", "upstream_error",
                          "upstream_stream_timeout"), reply.code  # fmt: skip
    assert not reply.done
    finishes = [choice["finish_reason"] for chunk in reply.chunks for choice in chunk["choices"]]
    assert set(finishes) == {None}


@pytest.mark.parametrize("name", ["overload", "rate_limit", "server_error"])
def test_a_stream_that_begins_with_an_error_is_left_like_a_refusal(row: Row, name: str) -> None:
    other = row.matrix.rows["compatible"]
    if row.name == "compatible":
        pytest.skip("it is the other one")
    other.mock.forget()
    row.mock.enqueue(Fault(name, after=0))  # type: ignore[arg-type]
    other.mock.reply("From the other.")
    assert good(row.ask(stream=True, failover=["compatible"])).text == "From the other."


@STREAM
def test_an_answer_with_nothing_in_it_but_its_end(row: Row, stream: bool) -> None:
    """It is one, as long as it says what it cost: the model had nothing to say."""
    row.mock.reply("")
    reply = good(row.ask(stream=stream))
    assert message(reply)["finish"] == "stop"
    assert not reply.text


@STREAM
def test_an_answer_with_neither_content_nor_usage_is_none(row: Row, stream: bool) -> None:
    row.mock.reply("", usage=None)
    assert row.ask(stream=stream).status == 502


def test_the_ledger_has_one_row_for_each_outcome(row: Row) -> None:
    """Whole, streamed, refused and broken."""
    ledger = row.matrix.gateway
    before = row.matrix.run(ledger.counted())
    row.mock.enqueue(Said("Hi"), Said("Hi"), Fault("quota"), Fault("cut", after=5, reply=Said("a b c d e f g h i")))
    for stream in (False, True, False, True):
        row.ask(stream=stream)
    found = row.matrix.run(ledger.rows(4, behind=before))
    assert [each.outcome for each in found][:3] == [Outcome.OK, Outcome.OK, Outcome.UPSTREAM_FAILED]
    assert found[3].outcome is not Outcome.OK
    assert {each.upstream_model for each in found if each.outcome is Outcome.OK} == {row.route.upstream_model}
