"""Addresses and origins: what is one, and what only looks like one."""

from __future__ import annotations

import pytest

from sealgate.formats import addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_hop_is_an_address_with_or_without_a_port(text: str, address: str) -> None:
    assert str(addresses.hop(text)) == address


@pytest.mark.parametrize(
    "text",
    ["", "unknown", "_hidden", "192.0.2", "192.0.2.256", "192.0.2.1:", "fe80::1%eth0", "[192.0.2.1", "a.example"],
)
def test_anything_else_is_no_hop(text: str) -> None:
    assert addresses.hop(text) is None


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32"])
def test_a_network_is_an_address_or_in_cidr_form(text: str) -> None:
    assert str(addresses.network(text)).startswith(text)


@pytest.mark.parametrize("text", ["192.0.2.1/24", "proxy.example", "192.0.2.0/33"])
def test_a_network_with_host_bits_or_a_name_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        addresses.network(text)


@pytest.mark.parametrize(
    "text", ["*", "https://app.example", "http://localhost:8080", "http://[::1]:8080", "http://192.0.2.1"]
)
def test_an_origin_is_what_a_browser_sends(text: str) -> None:
    assert addresses.origin(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "null", "app.example", "https://app.example/", "https://App.example", "https://app.example:443",
     "http://app.example:80", "https://*.example", "file:///x", "https://a.example,https://b.example"],
)  # fmt: skip
def test_what_no_browser_would_send_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        addresses.origin(text)
