"""`sealgate.formats.sound`: formats by their first bytes, lengths by their headers."""

from __future__ import annotations

import io
import random
import struct
import wave

import pytest

from sealgate.formats.sound import TYPES, Sound, assumed, look


def wav(seconds: float, rate: int, channels: int) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(int(seconds * rate) * channels * 2))
    return made.getvalue()


def box(kind: bytes, inside: bytes) -> bytes:
    return struct.pack(">I4s", len(inside) + 8, kind) + inside


FLAC = b"fLaC\x00\x00\x00\x22" + bytes(10) + ((44_100 << 44) | (1 << 41) | 88_200).to_bytes(8, "big") + bytes(16)
OPUS = (
    b"OggS" + bytes(24) + b"OpusHead\x01\x02" + struct.pack("<H", 312) + bytes(40)
    + b"OggS\x00\x04" + struct.pack("<q", 48_000 * 3 + 312) + bytes(20)
)  # fmt: skip
MP3_FRAME = b"\xff\xfb\x90\x00"
"""MPEG 1, layer III, 128 kbit/s, 44.1 kHz, stereo."""
MP3 = MP3_FRAME + bytes(16_000 - 4)
XING = MP3_FRAME + bytes(32) + b"Xing" + struct.pack(">II", 1, 100) + bytes(400)
ID3 = b"ID3\x04\x00\x00" + b"\x00\x00\x01\x00" + bytes(128) + MP3
MVHD = box(b"mvhd", bytes(12) + struct.pack(">II", 600, 1500) + bytes(80))
MP4 = box(b"ftyp", b"isom" + bytes(8)) + box(b"mdat", bytes(500)) + box(b"moov", MVHD)
WEBM = b"\x1a\x45\xdf\xa3" + bytes(8) + b"\x2a\xd7\xb1\x83\x0f\x42\x40" + b"\x44\x89\x88" + struct.pack(">d", 2500.0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (wav(1.5, 8000, 2), Sound("wav", 1500, 8000, 2)),
        (FLAC, Sound("flac", 2000, 44_100, 2)),
        (OPUS, Sound("ogg", 3000, 48_000, 2)),
        (MP3, Sound("mp3", 1000, 44_100, 2)),
        (ID3, Sound("mp3", 1000, 44_100, 2)),
        (XING, Sound("mp3", 100 * 1152 * 1000 // 44_100, 44_100, 2)),
        (MP4, Sound("mp4", 2500)),
        (MP4.replace(b"isom", b"M4A "), Sound("m4a", 2500)),
        (WEBM, Sound("webm", 2500)),
        (b"\x00\x00\x01\xba" + bytes(20), Sound("mpeg")),
    ],
    ids=["wav", "flac", "ogg", "mp3", "mp3 with a tag", "mp3 with a count", "mp4", "m4a", "webm", "mpeg"],
)
def test_a_file_says_its_format_and_its_length(data: bytes, expected: Sound) -> None:
    assert look(data) == expected
    assert look(memoryview(data), "other.png") == expected


def test_a_recorder_that_could_not_go_back_leaves_the_length_to_the_file() -> None:
    data = wav(1, 8000, 1)
    at = data.index(b"data") + 4
    assert look(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]) == Sound("wav", 1000, 8000, 1)
    assert look(data[:-8000]) == Sound("wav", 500, 8000, 1)


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_a_broadcast_wav_is_as_long_as_its_file(kind: bytes) -> None:
    """Its lengths stand in a chunk of their own, and where others have them is all ones."""
    plain = wav(1, 8000, 1)
    at = plain.index(b"data") + 4
    ones = b"\xff\xff\xff\xff"
    sizes = b"ds64" + struct.pack("<IQQQI", 28, len(plain) + 28, 16_000, 8000, 0)
    data = kind + ones + b"WAVE" + sizes + plain[12:at] + ones + plain[at + 4 :]
    assert look(data, "talk.wav") == Sound("wav", 1000, 8000, 1)


def test_a_wav_with_its_bytes_the_other_way_round_is_one_of_unknown_length() -> None:
    assert look(b"RIFX" + wav(1, 8000, 1)[4:], "talk.bin") == Sound("wav")


def test_the_name_helps_only_where_the_bytes_say_nothing() -> None:
    assert look(b"\0\x01words", "talk.MP3") == Sound("mp3")
    assert look(b"words", "talk.txt") is None
    assert look(b"words") is None
    for foreign in (b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b" <!DOCTYPE html>", b'{"a": 1}', b"PK\x03\x04"):
        assert look(foreign, "talk.mp3") is None


def test_a_header_that_is_cut_or_spoilt_anywhere_is_never_an_error() -> None:
    chance = random.Random(7)
    for whole in (wav(0.1, 8000, 1), FLAC, OPUS, ID3, XING, MP4, WEBM):
        for length in range(min(len(whole), 300)):
            look(whole[:length], "a.wav")
        for _ in range(300):
            spoilt = bytearray(whole[:2000])
            for _ in range(4):
                spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
            found = look(bytes(spoilt), "a.wav")
            assert found is None or found.milliseconds is None or found.milliseconds >= 0


def test_a_length_that_cannot_be_is_not_believed() -> None:
    """Where a provider does not say it, it is what a caller pays for."""
    short = MP4.replace(struct.pack(">II", 600, 1500), struct.pack(">II", 600_000_000, 600_000)) + bytes(100_000)
    endless = WEBM.replace(struct.pack(">d", 2500.0), struct.pack(">d", 1e300))
    assert look(short) == Sound("mp4")
    assert look(endless) == Sound("webm")


def test_a_sound_of_unknown_length_is_taken_for_64_kbits_a_second() -> None:
    assert assumed(16_000) == 2000


@pytest.mark.parametrize("name", [f"talk.{each}" for each in TYPES])
@pytest.mark.parametrize("text", [b"Just words.\r\n", "Grüße".encode(), "Grüß".encode()[:-1], b"1\n00:00:01,000 --> "])
def test_text_is_no_sound_whatever_it_is_called(name: str, text: bytes) -> None:
    assert look(text, name) is None


@pytest.mark.parametrize(("name", "taken"), [
    ("a.wav", False), ("a.flac", False), ("a.ogg", False), ("a.oga", False), ("a.webm", False),
    ("a.mp3", True), ("a.mpga", True), ("a.mpeg", True), ("a.mp4", True), ("a.m4a", True),
])  # fmt: skip
def test_bytes_that_say_nothing_pass_under_names_of_formats_that_need_not_say_anything(name: str, taken: bool) -> None:
    """A RIFF, FLAC, Ogg or WebM file begins with its mark; an MP3 may have been cut out of a longer one."""
    assert (look(b"\x00\x01\x02\xfe" * 300, name) is not None) is taken
