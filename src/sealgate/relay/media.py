"""Media by https URL, for routes that take bytes: from a prompt with URLs to one with data URLs."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.fetch import Allowance, Fetcher
from sealgate.outward.guard import FetchError
from sealgate.providers.base import Json, Prompt

SECONDS = 10.0
"""In which all media of one request must be here."""
MAX_BYTES = 20 * 1024 * 1024
"""Of all media of one request."""
MAX_URLS = 32
AT_ONCE = 8

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_ACCEPT = "image/png, image/jpeg, image/gif, image/webp"
_SAYS_NOTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Content types of servers that do not know what they hold."""
_OTHER_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_NOT_FETCHED = "data:image/png;base64,"


class _Failed(NamedTuple):
    """What the caller is told, and the place in the request it is about."""

    text: str
    place: str


class Media:
    """The media of one request that are given by URL: fetched once, however many routes need them."""

    def __init__(self, fetcher: Fetcher, prompt: Prompt) -> None:
        self._fetcher = fetcher
        self._prompt = prompt
        self._as_data: Prompt | None = None
        self._failed: _Failed | None = None

    async def as_data(self, until: float) -> Prompt:
        """The prompt with data URLs, before ``until`` by the event loop's clock.

        Raises `UpstreamError` with MEDIA_FETCH and the place of what could not be had, at every call the same.
        """
        if self._as_data is None and self._failed is None:
            found = await self._fetch(min(until, asyncio.get_running_loop().time() + SECONDS))
            if isinstance(found, _Failed):
                self._failed = found
            else:
                self._as_data = replaced(self._prompt, found.__getitem__)
        if self._failed is not None:
            raise UpstreamError(Failure.MEDIA_FETCH, self._failed.text, param=self._failed.place)
        assert self._as_data is not None
        return self._as_data

    async def _fetch(self, until: float) -> dict[str, str] | _Failed:
        """Data URLs by URL. The first failure ends all others."""
        places = urls(self._prompt)
        if len(places) > MAX_URLS:
            return _Failed(f"There are more than {MAX_URLS} URLs.", "messages")
        allowance, turns = Allowance(MAX_BYTES), asyncio.Semaphore(AT_ONCE)
        make = asyncio.get_running_loop().create_task
        tasks = [make(self._one(url, place, until, allowance, turns)) for url, place in places.items()]
        fetched: dict[str, str] = {}
        try:
            for each in asyncio.as_completed(tasks):
                url, found = await each
                if isinstance(found, _Failed):
                    return found
                fetched[url] = found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return fetched

    async def _one(
        self, url: str, place: str, until: float, allowance: Allowance, turns: asyncio.Semaphore
    ) -> tuple[str, str | _Failed]:
        """The URL and what became of it: never an error, whose frames would keep what had come."""
        try:
            async with turns:
                announced, data = await self._fetcher.fetch(url, _ACCEPT, until, allowance)
            return url, f"data:{_type_of(announced, data)};base64,{b64encode(data).decode()}"
        except FetchError as error:
            return url, _Failed(str(error), place)


def urls(prompt: Prompt) -> dict[str, str]:
    """The https URLs of a prompt, each with its first place."""
    found: dict[str, str] = {}
    for index, message in enumerate(prompt.fields["messages"]):
        for place, part in _by_url(message):
            found.setdefault(part["image_url"]["url"], f"messages[{index}].content[{place}].image_url.url")
    return found


def replaced(prompt: Prompt, data_url: Callable[[str], str]) -> Prompt:
    """The prompt with data in place of each URL. The one that is given stays as it is."""
    messages = [_with_data(message, data_url) for message in prompt.fields["messages"]]
    return replace(prompt, fields={**prompt.fields, "messages": messages}, native=None)


def unfetched(prompt: Prompt) -> Prompt:
    """The prompt as it would be sent if each URL held an empty picture: for telling what would be sent."""
    return replaced(prompt, lambda _: _NOT_FETCHED)


def _by_url(message: Mapping[str, Any]) -> Iterator[tuple[int, Json]]:
    """The parts of a message that hold an https URL, each with its number."""
    content = message.get("content")
    if isinstance(content, list):
        for place, part in enumerate(content):
            if part["type"] == "image_url" and part["image_url"]["url"][:5].lower() != "data:":
                yield place, part


def _with_data(message: Json, data_url: Callable[[str], str]) -> Json:
    parts = dict(_by_url(message))
    if not parts:
        return message
    content = list(message["content"])
    for place, part in parts.items():
        image = part["image_url"]
        content[place] = {**part, "image_url": {**image, "url": data_url(image["url"])}}
    return {**message, "content": content}


def _type_of(announced: str, data: bytes) -> str:
    """The type of an image by its first bytes. Raises `FetchError` where it is none, or was announced as another."""
    found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = "image/webp"
    if found is None:
        raise FetchError("It is not an image of type PNG, JPEG, GIF or WebP.")
    if announced not in _SAYS_NOTHING and _OTHER_NAMES.get(announced, announced) != found:
        raise FetchError("It is an image of another type than its host says.")
    return found
