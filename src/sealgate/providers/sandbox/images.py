"""The type and size of an image, read from its own header: PNG, JPEG, GIF, WebP.

Sources: PNG (ISO/IEC 15948) section 11.2.2, JPEG (ITU-T T.81) annex B.2.2, GIF89a section 18, RFC 9649 (WebP).
Only what says the size and what says that the end is there is read; no pixel is decoded.
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class Image(NamedTuple):
    """What a header says; sizes in pixels."""

    kind: str
    width: int
    height: int


def read_image(data: bytes) -> Image | None:
    """The image's type and size, None where it is none of the four types. ValueError where its end is missing."""
    reader = next((read for magic, read in _READERS if data.startswith(magic)), None)
    if reader is None:
        return None
    try:
        return reader(data)
    except (struct.error, IndexError):
        raise ValueError("the image is truncated") from None


def _png(data: bytes) -> Image:
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while data[at + 4 : at + 8] != b"IEND":
        at += 12 + int(struct.unpack_from(">I", data, at)[0])
    if len(data) < at + 12:
        raise IndexError
    return Image("PNG", width, height)


def _jpeg(data: bytes) -> Image:
    at = 2
    while True:
        while data[at + 1] == 0xFF:  # fill bytes before a marker
            at += 1
        marker, length = data[at + 1], int(struct.unpack_from(">H", data, at + 2)[0])
        if data[at] != 0xFF or marker in (0x00, 0xD9, 0xDA):
            raise IndexError
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            break
        at += 2 + length
    height, width = struct.unpack_from(">HH", data, at + 5)
    if data.rfind(b"\xff\xd9") < at:
        raise IndexError
    return Image("JPEG", width, height)


def _gif(data: bytes) -> Image:
    width, height = struct.unpack_from("<HH", data, 6)
    if not data.rstrip(b"\0").endswith(b";"):
        raise IndexError
    return Image("GIF", width, height)


def _webp(data: bytes) -> Image | None:
    if data[8:12] != b"WEBP":
        return None
    if len(data) < int(struct.unpack_from("<I", data, 4)[0]) + 8:
        raise IndexError
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Image("WebP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", data, 21)[0])
        return Image("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X" and len(data) >= 30:
        return Image("WebP", int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    raise IndexError


_READERS = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
)
