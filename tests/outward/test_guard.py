"""Where media may be fetched from: the whole table of addresses, and every way to write one that is not there."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats.addresses import Address
from sealgate.outward.guard import FetchError, plain, public, written

Wrap = Callable[[int], int]

V4_SET_APART = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
V6_SET_APART = [
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001::/32",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00::/8",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
WRAPS: dict[str, Wrap] = {
    "mapped": lambda inner: 0xFFFF << 32 | inner,
    "compatible": lambda inner: inner,
    "translated": lambda inner: 0xFFFF << 48 | inner,
    "6to4": lambda inner: 0x2002 << 112 | inner << 80 | 1,
    "teredo": lambda inner: 0x2001 << 112 | 0x01020304 << 64 | inner ^ 0xFFFF_FFFF,
    "teredo-server": lambda inner: 0x2001 << 112 | inner << 64 | 0xF7F7F7F7,
    "nat64": lambda inner: 0x64FF9B << 96 | inner,
    "nat64-local": lambda inner: 0x64FF9B0001 << 80 | inner,
}

inner_v4 = st.sampled_from(V4_SET_APART).flatmap(lambda each: st.ip_addresses(network=each))
outer_v4 = st.ip_addresses(v=4).filter(public)


@pytest.mark.parametrize("network", [*V4_SET_APART, *V6_SET_APART])
def test_a_network_that_is_set_apart_is_refused_from_its_first_address_to_its_last(network: str) -> None:
    found = ipaddress.ip_network(network)
    for number in (0, 1, found.num_addresses // 2, found.num_addresses - 1):
        assert not public(found[min(number, found.num_addresses - 1)])


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",  # most clouds
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fe80::1%eth0",
        "2606:4700::1111%1",
    ],
)
def test_where_platforms_keep_credentials_is_refused(text: str) -> None:
    assert not public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
        "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1",
        "2001:4860:4860::8888", "2400:cb00::1", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_what_is_given_out_to_the_internet_may_be_asked(text: str) -> None:
    assert public(ipaddress.ip_address(text))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_holds_for_special(address: Address) -> None:
    """An independent table: Python's, with what it calls global although it is not for one host."""
    if address in ipaddress.ip_network("64:ff9b::/96"):
        address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    special = address.is_multicast or address.is_private or address.is_reserved or not address.is_global
    assert not (special and public(address))


@given(st.ip_addresses(v=4))
def test_what_the_standard_library_holds_for_ordinary_is_public(address: ipaddress.IPv4Address) -> None:
    ordinary = address.is_global and not address.is_multicast and not address.is_reserved
    known = any(address in ipaddress.ip_network(each) for each in (*V4_SET_APART, "168.63.129.16/32"))
    assert public(address) == (ordinary and not known)


@given(inner=inner_v4)
def test_an_inner_address_is_refused_in_whichever_clothes(inner: ipaddress.IPv4Address) -> None:
    assert not public(inner)
    assert [name for name, wrap in WRAPS.items() if public(ipaddress.IPv6Address(wrap(int(inner))))] == []


@given(outer=outer_v4)
def test_only_nat64_is_a_way_to_an_outer_address(outer: ipaddress.IPv4Address) -> None:
    """In a network without IPv4 it is the only one; nobody who serves media has the others."""
    assert [name for name, wrap in WRAPS.items() if public(ipaddress.IPv6Address(wrap(int(outer))))] == ["nat64"]


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//media.example/x", "/x", "https:", "https://", "https:///x", "https:media.example",
        "http://media.example/", "ftp://media.example/", "file:///etc/passwd", "gopher://media.example/", "data:,x",
        "https://user@media.example/", "https://user:secret@media.example/", "https://@media.example/",
        "https://media.example\\@127.0.0.1/", "https:\\\\media.example/", "https://media.example\\x",
        "https://[::1", "https://::1/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
        "https://%31%32%37.0.0.1/", "https://127.0.0.1%2f.media.example/", "https://media%2eexample/",
        "https://\uff11\uff12\uff17\u30020\u30020\u30021/", "https://ⓛocalhost/", "https://bücher.example/", "https://media.example。/",
        "https://media example/", "https:// media.example/", "https://media.example/\x00", "https://med\tia.example/",
        "https://media.example/\r\nHost: inner", "https://media.example:65536/", "https://media.example:-1/",
        "https://media.example:x/", "https://./", "https://.media.example/", "https://media..example/",
        "https://*.media.example/", "https://media,example/", "https://media.example../", "https://[v1.x]/",
        f"https://{'x' * 64}.example/", f"https://{'x.' * 127}example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(FetchError, match=r"^It is not an? (plain )?https URL"):
        plain(url)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 80, 442, 444, 993, 1023, 2049, 5060, 6000, 6667, 6697, 10080])
def test_ports_of_other_services_are_refused(port: int) -> None:
    with pytest.raises(FetchError, match="Its port may not be asked"):
        plain(f"https://media.example:{port}/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://media.example", "https://media.example/"),
        ("HTTPS://Media.EXAMPLE/A", "https://media.example/A"),
        ("https://media.example:443/a?b=c#d", "https://media.example/a?b=c"),
        ("https://media.example:8443/", "https://media.example:8443/"),
        ("https://media.example:65535/", "https://media.example:65535/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://media.example/Grüße 1.png?q=ä", "https://media.example/Gr%C3%BC%C3%9Fe%201.png?q=%C3%A4"),
        ("https://media.example/%41%2f?%20", "https://media.example/%41%2f?%20"),
        ("https://[2606:4700::1]:8443/x", "https://[2606:4700::1]:8443/x"),
        ("https://2130706433/", "https://2130706433/"),  # what it means is found out by looking it up
        ("https://media.example./", "https://media.example./"),
        ("https://my_bucket-1.media.example/", "https://my_bucket-1.media.example/"),
        (f"https://{'x' * 63}.example/", f"https://{'x' * 63}.example/"),
    ],
)
def test_other_urls_are_taken_as_they_are(url: str, expected: str) -> None:
    assert written(plain(url)) == expected


@given(st.text())
def test_any_text_is_either_taken_or_refused(text: str) -> None:
    for url in (text, "https://" + text, "https://media.example/" + text):
        try:
            found = plain(url)
        except FetchError:
            continue
        assert found.origin.scheme == "https"
        assert written(found).isascii()
        assert plain(written(found)) == found
