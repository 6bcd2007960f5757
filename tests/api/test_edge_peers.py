"""Whose forwarded headers are believed, and what is read from them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.edge_server import Served, get

from sealgate.api.edge_peers import HOPS, NOBODY, Peers
from sealgate.api.edge_rules import EdgeLimits

PEERS = Peers(["10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48"])
PROXY = ("10.0.0.1", 40000)


def origin(*forwarded: str, proto: str | None = None, scheme: str = "http") -> tuple[Any, str]:
    """What is made of these ``X-Forwarded-For`` lines from a trusted proxy."""
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    if proto is not None:
        headers.append((b"x-forwarded-proto", proto.encode()))
    return PEERS.origin(PROXY, scheme, headers)


@pytest.mark.parametrize("address", ["10.0.0.1", "10.255.0.9", "192.0.2.1", "2001:db8:1::9"])
def test_a_peer_in_the_list_is_trusted(address: str) -> None:
    assert PEERS.trusts((address, 1))


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.2", "2001:db8:2::1", "127.0.0.1"])
def test_a_peer_that_is_not_in_the_list_is_not(address: str) -> None:
    assert not PEERS.trusts((address, 1))


def test_without_a_list_nobody_is_trusted() -> None:
    assert not NOBODY.trusts(PROXY)
    assert not PEERS.trusts(None)


@pytest.mark.parametrize(
    ("lines", "caller"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7:5000"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        (["203.0.113.7,10.9.9.9 , 192.0.2.1"], "203.0.113.7"),
        (["10.0.0.5, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        (["10.0.0.5, 10.9.9.9"], "10.0.0.5"),
        (["\xff\x00, 203.0.113.7"], "203.0.113.7"),
        (["2001:db8:9::1"], "2001:db8:9::1"),
        (["[2001:DB8:9::1]:443, [2001:db8:1::2]"], "2001:db8:9::1"),
    ],
)
def test_the_right_most_address_that_is_no_proxys_is_the_caller(lines: list[str], caller: str) -> None:
    assert origin(*lines) == ((caller, 0), "http")


@pytest.mark.parametrize(
    "line", ["unknown", "", "203.0.113.7, _hidden", "203.0.113.7, nonsense, 10.0.0.2", "203.0.113"]
)
def test_a_caller_that_the_proxy_does_not_name_is_nobody(line: str) -> None:
    assert origin(line) == (None, "http")


def test_a_scheme_without_a_caller_is_a_request_of_nobody() -> None:
    """Or plain HTTP through a proxy on the same machine would pass for the machine's own."""
    assert origin(proto="http") == (None, "http")


def test_without_either_header_the_proxy_speaks_for_itself() -> None:
    assert origin() == (PROXY, "http")


@pytest.mark.parametrize(
    ("proto", "scheme", "found"),
    [
        ("https", "http", "https"),
        ("HTTPS", "http", "https"),
        ("http, https", "http", "https"),
        ("https, http", "http", "http"),
        ("http", "https", "http"),
        ("wss", "https", "http"),
        ("", "https", "https"),
    ],
)
def test_the_last_word_on_the_scheme_counts(proto: str, scheme: str, found: str) -> None:
    assert origin("203.0.113.7", proto=proto, scheme=scheme) == (("203.0.113.7", 0), found)


def test_only_so_many_hops_are_looked_at() -> None:
    assert origin(", ".join(["203.0.113.7", *["10.0.0.2"] * HOPS]))[0] == ("10.0.0.2", 0)
    assert origin(", ".join(["203.0.113.7", *["10.0.0.2"] * (HOPS - 1)]))[0] == ("203.0.113.7", 0)


FORWARDED = (b"X-Forwarded-For: 198.51.100.1, 203.0.113.7", b"X-Forwarded-Proto: https")


def test_the_application_sees_the_caller_behind_a_trusted_proxy() -> None:
    with Served(EdgeLimits(), peers=Peers(["127.0.0.0/8"])) as served, served.caller() as caller:
        caller.send(get("/echo", *FORWARDED))
        said = caller.answer().json
        assert (said["client"], said["scheme"]) == (["203.0.113.7", 0], "https")
        caller.send(get("/echo"))
        said = caller.answer().json
        assert (said["client"][0], said["scheme"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize("peers", [NOBODY, Peers(["10.0.0.0/8"])])
def test_row_a21_from_anybody_else_the_headers_are_ignored(peers: Peers) -> None:
    with Served(EdgeLimits(), peers=peers) as served, served.caller() as caller:
        caller.send(get("/echo", *FORWARDED))
        said = caller.answer().json
        assert said["client"] == list(caller.socket.getsockname())
        assert said["scheme"] == "http"
