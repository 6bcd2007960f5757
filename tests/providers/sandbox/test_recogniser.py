"""WAV files of every kind as the samples the recogniser takes, and real speech as text."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import subprocess
import sys
import wave
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sealgate.providers.sandbox.hearing import PROGRAM, can_hear
from sealgate.providers.sandbox.recogniser import LONGEST, RATE, UnreadableError, mono, read_wave, resampled

SPOKEN = "the sun was setting slowly casting long shadows across the empty field"
"""What is said in the recording."""
RECORDING = Path(__file__).parents[4] / "shared" / "recorded" / "compat" / "compat-audio-analysis-prompt-2309.json"


def wav(data: bytes, tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, *, form: bytes = b"") -> bytes:
    width = channels * bits // 8
    form = form or struct.pack("<HHIIHH", tag, channels, rate, rate * width % 2**32, width, bits)
    chunks = b"".join(
        name + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2)
        for name, chunk in ((b"fmt ", form), (b"LIST", b"odd"), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def speech(rate: int = RATE) -> list[int]:
    """Samples of the recording, 16 bits, one channel. Skips where there is no recording or nothing to decode it."""
    if not RECORDING.exists():
        pytest.skip("there is no recorded speech beside the project")
    miniaudio: Any = pytest.importorskip("miniaudio", reason="nothing here decodes MP3")
    parts = json.loads(RECORDING.read_text())["request"]["body"]["messages"][1]["content"]
    found = next(part["input_audio"]["data"] for part in parts if "input_audio" in part)
    decoded = miniaudio.decode(
        base64.b64decode(found), output_format=miniaudio.SampleFormat.SIGNED16, nchannels=1, sample_rate=rate
    )
    return list(decoded.samples)


def packed(samples: list[int], kind: str) -> tuple[bytes, int, int]:
    """Samples in another form: data, format tag, bits."""
    match kind:
        case "8":
            return bytes((sample >> 8) + 128 for sample in samples), 1, 8
        case "16":
            return struct.pack(f"<{len(samples)}h", *samples), 1, 16
        case "24":
            return b"".join(struct.pack("<i", sample << 8)[:3] for sample in samples), 1, 24
        case "32":
            return struct.pack(f"<{len(samples)}i", *(sample << 16 for sample in samples)), 1, 32
        case "float":
            return struct.pack(f"<{len(samples)}f", *(sample / 32768 for sample in samples)), 3, 32
        case _:
            return struct.pack(f"<{len(samples)}d", *(sample / 32768 for sample in samples)), 3, 64


@pytest.mark.parametrize("kind", ["8", "16", "24", "32", "float", "double"])
def test_samples_of_every_width_come_to_the_same(kind: str) -> None:
    samples = [0, 256, -256, 32512, -32768, 12800]
    data, tag, bits = packed(samples, kind)

    found = read_wave(wav(data, tag, bits=bits))

    assert list(found.samples) == samples
    assert (found.rate, found.channels) == (RATE, 1)


def test_channels_are_mixed_and_an_extensible_header_is_read() -> None:
    sides = struct.pack("<6h", 100, 300, -100, 100, 7, 8)
    assert list(mono(read_wave(wav(sides, channels=2)))) == [200, 0, 7]
    extended = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 2, RATE, RATE * 4, 4, 16, 22, 16, 3, 1, b"\0" * 14)
    assert list(mono(read_wave(wav(sides, form=extended)))) == [200, 0, 7]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000])
def test_other_rates_keep_length_and_pitch(rate: int) -> None:
    """A tone of 440 Hz crosses zero as often afterwards as it did before."""
    tone = array("h", [int(10000 * math.sin(2 * math.pi * 440 * place / rate)) for place in range(rate)])

    found = resampled(tone, rate)

    assert abs(len(found) - RATE) <= 1
    crossings = sum((one < 0) != (other < 0) for one, other in pairwise(found))
    assert abs(crossings - 880) <= 4
    assert 8500 <= max(found) <= 10000


@pytest.mark.parametrize("file", [
    b"",
    b"RIFF",
    b"ID3" + bytes(50),
    b"RIFF\0\0\0\0WAVE",
    b"RIFF\0\0\0\0WAVEdata\4\0\0\0\1\0\1\0",
    wav(b"\0\0", tag=2, bits=4),
    wav(b"\0\0", tag=7, bits=8),
    wav(b"\0\0", bits=12),
    wav(b"\0\0", bits=0),
    wav(b"\0\0", bits=128),
    wav(b"\0\0", channels=0),
    wav(b"\0\0", channels=33),
    wav(b"\0\0", rate=0),
    wav(b"\0\0", rate=2**31),
    wav(bytes((LONGEST + 1) * 8000), rate=8000, bits=8),
])  # fmt: skip
def test_what_cannot_be_read_is_said_to_be_so(file: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_wave(file)


def test_a_length_that_was_not_known_when_the_header_was_written_means_the_rest() -> None:
    file = bytearray(wav(b"\1\0\2\0"))
    file[-8:-4] = b"\xff\xff\xff\xff"
    assert list(read_wave(bytes(file)).samples) == [1, 2]
    assert list(read_wave(wav(b"\1\0\2\0\3")).samples) == [1, 2], "half a sample is none"
    assert list(mono(read_wave(wav(b"")))) == []


def recognised(file: bytes) -> Any:
    done = subprocess.run(PROGRAM, input=file, capture_output=True, timeout=55, check=True, env={})
    return json.loads(done.stdout)


needs_speech = pytest.mark.skipif(not can_hear(), reason="the extra `speech` is not installed")


@needs_speech
@pytest.mark.parametrize(("rate", "kind"), [(RATE, "16"), (44100, "24"), (RATE, "float")])
def test_real_speech_is_understood_word_by_word_with_its_times(rate: int, kind: str) -> None:
    samples = speech(rate)
    data, tag, bits = packed(samples, kind)

    found = recognised(wav(data, tag, rate=rate, bits=bits))

    assert " ".join(segment["text"] for segment in found) == SPOKEN
    words = [word for segment in found for word in segment["words"]]
    assert [word["word"] for word in words] == SPOKEN.split()
    times = [(word["start"], word["end"]) for word in words]
    assert times == sorted(times)
    assert 0 <= times[0][0] < times[-1][1] <= len(samples) / rate + 0.1


@needs_speech
def test_silence_is_nothing() -> None:
    assert recognised(wav(bytes(2 * RATE))) == []
    assert recognised(wav(b"")) == []


def test_a_file_that_cannot_be_read_ends_the_program_with_a_sentence() -> None:
    done = subprocess.run(PROGRAM, input=b"no WAV", capture_output=True, timeout=55, check=False, env={})

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no WAV file" in done.stderr


def test_the_standard_librarys_files_are_read() -> None:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<3h", 1, 2, 3))
    assert list(read_wave(made.getvalue()).samples) == [1, 2, 3]
    assert sys.executable == PROGRAM[0]
