"""A sandbox client to talk to, and what a test asks of its answers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from sealgate.outward.client import Limits, Request
from sealgate.providers.sandbox import SandboxClient

CREATED = 1_700_000_000


@dataclass
class Answer:
    """One answer, read to its end."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(b"".join(self.pieces))

    @property
    def message(self) -> Any:
        return self.json["choices"][0]["message"]

    @property
    def content(self) -> str:
        return self.message["content"]

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The chunks of a stream; each piece must be one whole event, and the last one ``[DONE]``."""
        assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in self.pieces)
        assert all(piece.count(b"\n\n") == 1 for piece in self.pieces)
        assert self.pieces[-1] == b"data: [DONE]\n\n"
        return [msgspec.json.decode(piece[6:]) for piece in self.pieces[:-1]]

    def deltas(self, name: str, index: int = 0) -> list[Any]:
        """What the chunks of one choice say under one name of the delta."""
        found = [choice for event in self.events for choice in event["choices"] if choice["index"] == index]
        return [choice["delta"][name] for choice in found if choice["delta"].get(name) is not None]


Chat = Callable[..., Awaitable[Answer]]


@pytest.fixture
def chat() -> Chat:
    """``await chat(messages or text, **fields)`` → `Answer`."""
    return chat_with(SandboxClient(clock=lambda: CREATED))


def chat_with(client: SandboxClient) -> Chat:
    async def send(said: Any = "Hello there", **fields: Any) -> Answer:
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        body = msgspec.json.encode({"model": "echo", "messages": messages, **fields})
        response = await client.send(Request("POST", "sandbox:/chat/completions", {}, body), Limits())
        answer = Answer(response.status, dict(response.headers))
        while piece := await response.read():
            answer.pieces.append(piece)
        return answer

    return send


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages with one of the user's, made of parts."""
    return [{"role": "user", "content": list(parts)}]


@pytest.fixture
def pictures() -> dict[str, bytes]:
    """Small whole images by the names that ``test_images.py`` lists with their sizes."""
    return {
        "png": _png(640, 480),
        "gif 89": _gif(20, 10),
        "gif 87": _gif(7, 9, b"GIF87a"),
        "jpeg": _jpeg(1920, 1080),
        "progressive jpeg": _jpeg(33, 44, 0xC2),
        "lossy webp": _webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", 550 | 0x4000, 368) + bytes(8)),
        "lossless webp": _webp(b"VP8L", b"\x2f" + struct.pack("<I", (300 - 1) | (200 - 1) << 14) + bytes(8)),
        "extended webp": _webp(
            b"VP8X", bytes(4) + (1234 - 1).to_bytes(3, "little") + (567 - 1).to_bytes(3, "little") + bytes(8)
        ),
    }


def _png(width: int, height: int) -> bytes:
    """A whole grey PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _gif(width: int, height: int, magic: bytes = b"GIF89a") -> bytes:
    """A GIF of one colour (the frame is not decoded)."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return magic + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame + b";"


def _jpeg(width: int, height: int, marker: int = 0xC0) -> bytes:
    """A JPEG as far as its segments go, with a fill byte and a DHT before the frame."""
    app = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    table = b"\xff\xff\xc4\x00\x05abc"
    frame = bytes((0xFF, marker)) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + app + table + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x12\x34\xff\xd9"


def _webp(kind: bytes, chunk: bytes) -> bytes:
    """A RIFF container around one chunk."""
    body = b"WEBP" + kind + struct.pack("<I", len(chunk)) + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body
