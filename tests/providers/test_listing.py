"""A provider's list of models: asked for where there is one, read in its few forms."""

from __future__ import annotations

import pytest

from sealgate.config import Provider, Secret
from sealgate.providers import listing
from sealgate.providers.base import Account
from sealgate.relay.catalog import make_account


def account(kind: str, **fields: str) -> Account:
    return make_account("acme", Provider(kind=kind, api_key=(Secret("first"), Secret("second")), **fields))


@pytest.mark.parametrize(
    ("kind", "fields", "url", "header"),
    [
        ("openai", {}, "https://api.openai.com/v1/models", ("authorization", "Bearer second")),
        ("compatible", {"base_url": "http://h.example/v1"}, "http://h.example/v1/models",
         ("authorization", "Bearer second")),
        ("anthropic", {}, "https://api.anthropic.com/v1/models?limit=1000", ("x-api-key", "second")),
        ("anthropic", {"base_url": "http://h.example"}, "http://h.example/v1/models?limit=1000",
         ("x-api-key", "second")),
        ("google", {}, "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000",
         ("x-goog-api-key", "second")),
    ],
)  # fmt: skip
def test_the_list_is_asked_for_by_a_key_or_without(
    kind: str, fields: dict[str, str], url: str, header: tuple[str, str]
) -> None:
    asked = listing.request(account(kind, **fields), 1)
    assert asked is not None
    assert (asked.method, asked.url, asked.body) == ("GET", url, b"")
    assert header in asked.headers.items()
    assert "content-type" not in asked.headers
    bare = listing.request(account(kind, **fields), None)
    assert bare is not None
    assert bare.headers == {name: value for name, value in asked.headers.items() if name != header[0]}


def test_where_names_are_ones_own_there_is_no_list_to_go_by() -> None:
    assert listing.request(account("azure", base_url="https://h.example"), 0) is None


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b","owned_by":"x"}]}', ["a", "b"]),
        (b'[{"id":"a","type":"chat"}]', ["a"]),
        (b'{"models":[{"name":"models/gemini-pro","version":"1"}]}', ["gemini-pro"]),
        (b'{"data":[]}', []),
    ],
)
def test_names_are_read_in_each_form(body: bytes, names: list[str]) -> None:
    assert listing.names(body) == names


@pytest.mark.parametrize("body", [b"", b"<html>", b"1", b'{"error":"x"}', b'{"data":[1]}', b'{"data":[{"id":1}]}'])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"list of models|in the list"):
        listing.names(body)


def test_the_nearest_name_is_the_one_that_was_meant() -> None:
    known = ["llama3:latest", "llama3.1:70b", "gemma-4-31b-it", "mistral"]
    assert listing.nearest("llama3", known) == "llama3:latest"
    assert listing.nearest("gema-4-31b-it", known) == "gemma-4-31b-it"
    assert listing.nearest("Mistral", known) == "mistral"
    assert listing.nearest("zzz", known) is None
