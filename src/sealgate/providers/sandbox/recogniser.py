"""Speech to text in a process of its own: a WAV file comes in by standard input, what was understood goes out as JSON.

PocketSphinx (the optional extra ``speech``, whose package brings a model of American English) holds the interpreter
while it works, for about as long as a third of the sound: in the gateway's own process nothing else would happen
meanwhile. `sealgate.providers.sandbox.hearing` starts it.

Source: pocketsphinx.readthedocs.io (``Decoder``, ``Segmenter``); Microsoft's WAVE format (``WAVEFORMATEX``,
``WAVEFORMATEXTENSIBLE``).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

RATE = 16_000
"""Samples in a second that the model was trained with."""
FRAMES = 100
"""Frames of the recogniser in a second."""
PAUSE = RATE
"""Samples of silence that are put behind the sound, so that its last word has an end."""
LONGEST = 300
"""Seconds of sound that are listened to."""
MEMORY = 1 << 30
"""Bytes that the process may have of its own; a file of 25 MiB takes some 200 MB of them."""
CPU_SECONDS = 600
"""After this much work the system ends the process, should nobody else have done it."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_VARIANT = re.compile(r"\(\d+\)$")
"""How the model writes other ways to say a word: ``was(2)``."""


class UnreadableError(ValueError):
    """The file is no WAV whose samples can be read."""


class Wave(NamedTuple):
    """What a WAV file holds: its samples, channel by channel in turn, from -32768 to 32767."""

    rate: int
    channels: int
    samples: array[int]


class Word(msgspec.Struct):
    """A word, and the seconds from which to which it was said."""

    word: str
    start: float
    end: float


class Segment(msgspec.Struct):
    """What was said without a longer pause; times in seconds of the file."""

    start: float
    end: float
    text: str
    words: list[Word]


# The file


def read_wave(file: bytes) -> Wave:
    """Raises `UnreadableError`."""
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        raise UnreadableError("it is no WAV file")
    form, data = b"", b""
    for name, chunk in _chunks(file):
        if name == b"fmt ":
            form = chunk
        elif name == b"data":
            data = chunk
            break
    if len(form) < 16:
        raise UnreadableError("its header says no format")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        [tag] = struct.unpack_from("<H", form, 24)
    if not 1 <= channels <= 32 or not 1000 <= rate <= 384_000:
        raise UnreadableError("its header cannot be")
    if len(data) // max(1, channels * bits // 8) > LONGEST * rate:
        raise UnreadableError("it is too long")
    return Wave(rate, channels, _samples(data, tag, bits))


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(file):
        name, [length] = file[place : place + 4], struct.unpack_from("<I", file, place + 4)
        # A length that nobody knew yet when the header was written says nothing: the file's end counts.
        yield name, file[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _samples(data: bytes, tag: int, bits: int) -> array[int]:
    """Samples of any width as those of 16 bits."""
    width = bits // 8
    if bits % 8 or width == 0:
        raise UnreadableError(f"samples of {bits} bits are not read")
    data = data[: len(data) // width * width]
    if tag == _FLOAT and width in (4, 8):
        numbers = _in_order(array("f" if width == 4 else "d"), data)
        return array("h", (_clipped(number * 32768) for number in numbers))
    if tag != _PCM or width > 4:
        raise UnreadableError("its samples are compressed")
    if width == 1:
        return array("h", ((value - 128) << 8 for value in data))
    if width == 2:
        return _in_order(array("h"), data)
    # Of wider samples the two highest bytes.
    high = bytearray(len(data) // width * 2)
    high[0::2], high[1::2] = data[width - 2 :: width], data[width - 1 :: width]
    return _in_order(array("h"), bytes(high))


def _in_order(numbers: array[Any], data: bytes) -> array[Any]:
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _clipped(value: float) -> int:
    return 0 if value != value else int(max(-32768, min(32767, value)))


def mono(wave: Wave) -> array[int]:
    """All channels as one, at `RATE`."""
    samples = wave.samples
    if wave.channels > 1:
        count = len(samples) // wave.channels
        sides = [samples[side :: wave.channels][:count] for side in range(wave.channels)]
        samples = array("h", (sum(each) // wave.channels for each in zip(*sides, strict=True)))
    return resampled(samples, wave.rate)


def resampled(samples: array[int], rate: int) -> array[int]:
    """At `RATE`: the mean of what falls into each new sample, or points on the line between two old ones.

    Simple, and good enough for speech: what is above 8 kHz is dampened, not cut off.
    """
    if rate == RATE or not samples:
        return samples
    count = len(samples) * RATE // rate
    if rate > RATE:
        sums = array("q", accumulate(samples, initial=0))
        edges = (place * rate // RATE for place in range(count + 1))
        return array("h", ((sums[end] - sums[start]) // (end - start) for start, end in pairwise(edges)))
    last = len(samples) - 1
    found = array("h", bytes(2 * count))
    for place in range(count):
        before, rest = divmod(place * rate, RATE)
        here = samples[before]
        found[place] = here + (samples[min(before + 1, last)] - here) * rest // RATE
    return found


# What is said in it


def recognise(samples: array[int]) -> Iterator[Segment]:
    """What is understood, from one longer pause to the next."""
    import pocketsphinx

    decoder = pocketsphinx.Decoder(loglevel="FATAL", maxhmmpf=3000)
    stream = io.BytesIO(samples.tobytes() + bytes(2 * PAUSE))
    for speech in pocketsphinx.Segmenter(sample_rate=RATE).segment(stream):
        decoder.start_utt()
        decoder.process_raw(speech.pcm, full_utt=True)
        decoder.end_utt()
        words = list(_words(decoder.seg() or (), speech.start_time))
        if words:
            text = " ".join(each.word for each in words)
            yield Segment(words[0].start, words[-1].end, text, words)


def _words(found: Iterable[Any], begins: float) -> Iterator[Word]:
    """Without what the model has for silence and noise."""
    for each in found:
        word = _VARIANT.sub("", each.word)
        if word[:1] not in ("<", "[", "+"):
            start, end = begins + each.start_frame / FRAMES, begins + (each.end_frame + 1) / FRAMES
            yield Word(word, round(start, 2), round(end, 2))


def main() -> int:
    """Read, listen, write. 2: the file cannot be read."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.nice(10)  # callers who wait for a model come first
    try:
        samples = mono(read_wave(sys.stdin.buffer.read()))
    except UnreadableError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(list(recognise(samples))))
    return 0
