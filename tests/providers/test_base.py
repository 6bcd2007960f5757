"""Accounts: an address and a credential that belong together, and the headers of a request."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.providers.base import Account, Prompt
from sealgate.providers.table import KINDS

FIXED = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "sealgate"}


def account(**fields: Any) -> Account:
    given = {
        "table": "acme",
        "name": "acme",
        "region": "eu",
        "kind": KINDS["openai"],
        "base_url": "https://acme.example",
    }
    return Account(**given | fields)


def prompt(*, stream: bool = False, headers: Any = None, trace: Any = None) -> Prompt:
    return Prompt({}, stream, {}, headers or {}, trace or {})


@pytest.mark.parametrize(("stream", "accept"), [(True, "text/event-stream"), (False, "application/json")])
def test_the_headers_of_a_request(stream: bool, accept: str) -> None:
    assert account(secrets=("k",)).headers(prompt(stream=stream)) == {
        **FIXED, "authorization": "Bearer k", "accept": accept,
    }  # fmt: skip


def test_without_a_key_there_is_no_credential() -> None:
    assert account().headers(prompt()) == {**FIXED, "accept": "application/json"}


def test_the_trace_goes_along() -> None:
    found = account().headers(prompt(trace={"traceparent": "00-a", "tracestate": "x=y"}))
    assert (found["traceparent"], found["tracestate"]) == ("00-a", "x=y")


def test_callers_set_the_headers_that_the_operator_allows_and_no_others() -> None:
    sent = {"x-allowed": "1", "x-other": "2"}
    found = account(allowed_headers=frozenset({"x-allowed", "x-absent"})).headers(prompt(headers=sent))
    assert found["x-allowed"] == "1"
    assert not {"x-other", "x-absent"} & found.keys()


@pytest.mark.parametrize("name", ["authorization", "content-type", "accept", "accept-encoding", "user-agent"])
def test_no_caller_replaces_what_is_the_gateways_own(name: str) -> None:
    mine = account(secrets=("k",), allowed_headers=frozenset({name}))
    assert mine.headers(prompt(headers={name: "theirs"})) == mine.headers(prompt())


def test_a_traces_headers_cannot_be_replaced_either() -> None:
    mine = account(allowed_headers=frozenset({"traceparent"}))
    assert mine.headers(prompt(headers={"traceparent": "x"}, trace={"traceparent": "00-a"}))["traceparent"] == "00-a"


def test_one_requests_headers_do_not_stay_for_the_next() -> None:
    mine = account(allowed_headers=frozenset({"x-a"}))
    before = dict(mine.headers(prompt()))
    mine.headers(prompt(headers={"x-a": "1"}, trace={"traceparent": "t"}))
    assert mine.headers(prompt()) == before


def test_p18_an_account_does_not_show_its_key() -> None:
    shown = repr(account(secrets=("canary",)))
    assert "canary" not in shown
    assert "acme" in shown
