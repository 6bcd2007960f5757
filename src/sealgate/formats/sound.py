"""What a sound file says of itself: its format by its first bytes, and how long it is where its header tells.

Nothing is decoded. Sources: Microsoft RIFF; ITU-R BS.2088 (BW64); RFC 9639 (FLAC); RFC 3533 and RFC 7845 (Ogg, Opus);
ISO/IEC 11172-3 and the Xing header (MP3); ISO/IEC 14496-12 (``mvhd``); RFC 9559 (Matroska, WebM).
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import NamedTuple

Data = bytes | memoryview

TYPES = {
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "mpeg": "audio/mpeg",
    "mpga": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
"""Extensions of the formats that transcription endpoints take, and their media types."""

HEAD = 64 * 1024
"""As much of a file's beginning, and of its end, is looked at."""
LONGEST = 7 * 24 * 3600 * 1000
"""Milliseconds: a header that tells of more is not believed,"""
FASTEST = 5_000_000
"""nor one by which a second takes more bytes than these (192 kHz, 24 bit, 8 channels): that file is longer."""
ASSUMED_RATE = 8_000
"""Bytes a second of sound whose header does not tell its length: 64 kbit/s."""

_FOREIGN = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|%PDF-|PK\x03\x04|\x1f\x8b|BM.{4}\x00{4}|\x7fELF|MZ|\s*(?:<!doctype|<html|<\?xml|\{\s*\")",
    re.IGNORECASE | re.DOTALL,
)
"""Beginnings of what is plainly no sound."""
_MARKED = frozenset({"flac", "oga", "ogg", "wav", "webm"})
"""Formats without which's mark a file is none of them. The others may begin in the middle, or by an older habit."""
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\v\f\r\x1b"})


class Sound(NamedTuple):
    """A format of `TYPES`, milliseconds, and what else the header says; None where it does not."""

    format: str
    milliseconds: int | None = None
    rate: int | None = None
    channels: int | None = None


def look(data: Data, name: str = "") -> Sound | None:
    """What a file is. ``name`` helps where the beginning says nothing; None for what is no sound of these formats."""
    view = memoryview(data)
    head = bytes(view[:HEAD])
    found = _by_magic(head)
    if found is None:
        extension = name.rpartition(".")[2].lower()
        if extension not in TYPES or extension in _MARKED or _FOREIGN.match(head) or _is_text(head):
            return None
        return Sound(extension)
    try:
        told = _READERS[found](view, head, found)
    except (struct.error, IndexError, ValueError, ZeroDivisionError, OverflowError):
        return Sound(found)
    length = told.milliseconds
    if length is not None and not (0 < length <= LONGEST and len(view) * 1000 // length <= FASTEST):
        return told._replace(milliseconds=None)
    return told


def _is_text(head: bytes) -> bool:
    """Whether what is there is text in UTF-8; one that is cut off in the middle of a character is."""
    if head.translate(None, _CONTROLS) != head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _by_magic(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[4:8] == b"ftyp":
        return "m4a" if head[8:11] == b"M4A" else "mp4"
    if head[:3] == b"ID3" or (len(head) > 3 and _mp3_frame(head, 0) is not None):
        return "mp3"
    return "mpeg" if head[:4] in (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3") else None


def _wav(view: memoryview, head: bytes, name: str) -> Sound:
    if head[:4] == b"RIFX":
        return Sound(name)  # the same with its bytes the other way round: nobody writes it any more
    at, channels, rate, speed = 12, 0, 0, 0
    while at + 8 <= len(view):
        kind, length = bytes(view[at : at + 4]), int(struct.unpack_from("<I", view, at + 4)[0])
        if kind == b"fmt ":
            channels, rate, speed = struct.unpack_from("<HII", view, at + 10)
        if kind == b"data":
            # A recorder that could not go back leaves the length open; one that was cut off promises too much.
            held = len(view) - at - 8
            length = held if length in (0, 0xFFFFFFFF) else min(length, held)
            return Sound(name, length * 1000 // speed, rate, channels)
        at += 8 + length + (length & 1)
    return Sound(name)


def _flac(_view: memoryview, head: bytes, name: str) -> Sound:
    packed = int.from_bytes(head[18:26], "big")
    rate, channels, samples = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    return Sound(name, samples * 1000 // rate if samples else None, rate, channels)


def _ogg(view: memoryview, head: bytes, name: str) -> Sound:
    skipped = 0
    if (at := head.find(b"OpusHead")) >= 0:
        rate, channels, skipped = 48_000, head[at + 9], int(struct.unpack_from("<H", head, at + 10)[0])
    elif (at := head.find(b"\x01vorbis")) >= 0:
        channels, rate = struct.unpack_from("<BI", head, at + 11)
    else:
        return Sound(name)
    tail = bytes(view[-HEAD:])
    last = tail.rfind(b"OggS")
    position = int(struct.unpack_from("<q", tail, last + 6)[0]) if last >= 0 else -1
    return Sound(name, max(0, position - skipped) * 1000 // rate if position > 0 else None, rate, channels)


_KBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of layer III: MPEG 1, and MPEG 2 with 2.5."""
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class _Frame(NamedTuple):
    version: int
    kbits: int
    rate: int
    channels: int


def _mp3_frame(head: bytes, at: int) -> _Frame | None:
    """The header of a frame of layer III at this place."""
    first, second, third, fourth = head[at : at + 4]
    version, layer = second >> 3 & 3, second >> 1 & 3
    if first != 0xFF or second & 0xE0 != 0xE0 or layer != 1 or version == 1:
        return None
    kbits, rate = third >> 4, third >> 2 & 3
    if kbits in (0, 15) or rate == 3:
        return None
    return _Frame(version, _KBITS[3 if version == 3 else 2][kbits], _RATES[version][rate], 1 if fourth >> 6 == 3 else 2)


def _mp3(view: memoryview, head: bytes, name: str) -> Sound:
    start = 0
    if head[:3] == b"ID3":
        one, two, three, four = head[6:10]
        start = 10 + (one << 21 | two << 14 | three << 7 | four)
    near = bytes(view[start : start + HEAD])
    frame = _mp3_frame(near, 0)
    if frame is None:
        return Sound(name)
    samples = 1152 if frame.version == 3 else 576
    for mark in (b"Xing", b"Info"):
        at = near.find(mark, 0, 200)
        if at >= 0 and near[at + 7] & 1:
            frames = int(struct.unpack_from(">I", near, at + 8)[0])
            return Sound(name, frames * samples * 1000 // frame.rate, frame.rate, frame.channels)
    return Sound(name, (len(view) - start) * 8 // frame.kbits, frame.rate, frame.channels)


def _mp4(view: memoryview, _head: bytes, name: str) -> Sound:
    """Boxes at the top level are passed over by their sizes; ``moov`` may stand at the end."""
    at = 0
    while at + 16 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, at)
        if size == 1:
            size = int(struct.unpack_from(">Q", view, at + 8)[0])
        if kind == b"moov":
            inside = bytes(view[at : at + min(size or HEAD, HEAD)])
            return Sound(name, _mvhd(inside, inside.index(b"mvhd") + 4))
        if size < 8:
            break
        at += size
    return Sound(name)


def _mvhd(data: bytes, at: int) -> int | None:
    layout, start = (">IQ", at + 20) if data[at] == 1 else (">II", at + 12)
    scale, length = struct.unpack_from(layout, data, start)
    return int(length * 1000 // scale) or None


def _webm(_view: memoryview, head: bytes, name: str) -> Sound:
    scale = 1_000_000
    if (at := head.find(b"\x2a\xd7\xb1")) >= 0:
        size = head[at + 3] & 0x7F
        scale = int.from_bytes(head[at + 4 : at + 4 + size], "big") or scale
    at = head.find(b"\x44\x89")
    if at < 0 or head[at + 2] not in (0x84, 0x88):
        return Sound(name)
    layout = ">f" if head[at + 2] == 0x84 else ">d"
    return Sound(name, int(struct.unpack_from(layout, head, at + 3)[0] * scale / 1e6) or None)


def _untold(_view: memoryview, _head: bytes, name: str) -> Sound:
    return Sound(name)


_READERS = {
    "wav": _wav, "flac": _flac, "ogg": _ogg, "mp3": _mp3, "m4a": _mp4, "mp4": _mp4, "webm": _webm, "mpeg": _untold,
}  # fmt: skip


def assumed(size: int) -> int:
    """Milliseconds of a sound of so many bytes whose length nobody tells."""
    return size * 1000 // ASSUMED_RATE
