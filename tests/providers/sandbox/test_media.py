"""Images, files and sounds, as the answer describes them or the error says what is wrong."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest

from sealgate.providers.sandbox.media import describe_audio, describe_file, describe_image
from sealgate.providers.sandbox.refused import RefusedError

Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image(url: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def file(**fields: Any) -> Json:
    return {"type": "file", "file": fields}


def sound(data: str, form: str = "wav") -> Json:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def wav(seconds: float, rate: int = 16_000, claimed: int | None = None) -> bytes:
    """16-bit mono silence, with a chunk of odd length before the data."""
    data = bytes(int(seconds * rate) * 2)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    length = len(data) if claimed is None else claimed
    body = b"WAVE" + form + note + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_an_image_is_described_by_what_it_is(pictures: dict[str, bytes]) -> None:
    """Real type, pixels and bytes, whatever the data URL announces."""
    data = pictures["jpeg"]
    told = f"An image: JPEG, 1920 by 1080 pixels, {len(data)} bytes."
    assert describe_image(image("data:image/jpeg;base64," + b64(data)), "p") == told
    assert describe_image(image("DATA:image/png;base64," + b64(data)), "p") == told
    assert describe_image({"type": "image_url", "image_url": "data:;base64," + b64(data)}, "p") == told


def test_an_image_of_a_type_not_read_is_described_by_its_announcement() -> None:
    """An SVG has a type and a length, and no size in pixels here."""
    told = describe_image(image("data:image/svg+xml,%3Csvg/%3E"), "p")
    assert told == "An image of type image/svg+xml, 6 bytes; its size in pixels is not known here."


def test_an_address_is_not_fetched_and_the_answer_says_so() -> None:
    """Long addresses are shortened."""
    assert "https://example.com/a.png, which the sandbox did not fetch" in describe_image(
        image("https://example.com/a.png"), "p"
    )
    assert len(describe_image(image("https://example.com/" + "a" * 5000), "p")) < 200


def test_files_are_described_by_type_name_and_length() -> None:
    """The type by the file's own beginning, else by the data URL; the pages of a PDF where they can be counted."""
    pdf = b"%PDF-1.4\n1 0 obj<</Type/Pages/Count 2>>\n2 0 obj<</Type /Page>>\n3 0 obj<</Type/Page/Parent 1 0 R>>\n%%EOF"
    url = "data:application/octet-stream;base64," + b64(pdf)
    assert (
        describe_file(file(file_data=url, filename="a.pdf"), "p")
        == f'A file "a.pdf" of type application/pdf, {len(pdf)} bytes, 2 pages.'
    )
    assert describe_file(file(file_data=b64(pdf)), "p").startswith("A file of type application/pdf")
    assert describe_file(file(file_data="data:text/plain,hi%20you", filename="n.txt"), "p") == (
        'A file "n.txt" of type text/plain, 6 bytes.'
    )
    assert describe_file(file(file_data=b64(b"%PDF-1.7 compressed")), "p").endswith("19 bytes.")
    assert "PK" not in describe_file(file(file_data=b64(b"PK\x03\x04zip")), "p")
    assert "application/zip" in describe_file(file(file_data=b64(b"PK\x03\x04zip")), "p")


def test_a_file_by_id_cannot_be_opened_and_the_answer_says_so() -> None:
    """The sandbox stores no files."""
    assert "file-123, which the sandbox cannot open" in describe_file(file(file_id="file-123"), "p")


def test_a_wav_has_a_duration() -> None:
    """By the byte rate; a data chunk of unknown length reaches to the end."""
    data = wav(1.5)
    assert describe_audio(sound(b64(data)), "p") == f"A sound in the format wav, 1.50 seconds, {len(data):,} bytes."
    assert "1.50 seconds" in describe_audio(sound("data:audio/wav;base64," + b64(data)), "p")
    assert "0.50 seconds" in describe_audio(sound(b64(wav(0.5, claimed=0xFFFFFFFF))), "p")


def test_other_sounds_have_format_and_length() -> None:
    """An MP3 is not decoded."""
    assert describe_audio(sound(b64(b"ID3abc"), "mp3"), "p") == "A sound in the format mp3, 6 bytes."


BROKEN: dict[str, tuple[Callable[[Json, str], str], Json]] = {
    "bad base64": (describe_image, image("data:image/png;base64,/9j/4AAQSkZJRg...")),
    "missing padding": (describe_image, image("data:image/png;base64,abc")),
    "no comma": (describe_image, image("data:image/png;base64")),
    "nothing": (describe_image, image("data:image/png;base64,")),
    "not an image": (describe_image, image("data:image/png;base64," + b64(b"hello"))),
    "not ascii": (describe_image, image("data:image/png;base64,äöü=")),
    "another scheme": (describe_image, image("ftp://example.com/a.png")),
    "no size": (describe_image, image("data:image/gif;base64," + b64(b"GIF89a\0\0\0\0\0\0\0;"))),
    "a broken file": (describe_file, file(file_data="data:application/pdf;base64,%%%")),
    "an empty file": (describe_file, file(file_data="data:application/pdf;base64,")),
    "a cut wav": (describe_audio, sound(b64(wav(1)[:-1]))),
    "a wav without data": (describe_audio, sound(b64(wav(1)[:30]))),
    "no wav": (describe_audio, sound(b64(b"hello"))),
    "a broken sound": (describe_audio, sound("%%%")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_media_are_refused_with_their_place(name: str) -> None:
    """Code ``invalid_media``, and the part's place as the parameter."""
    describe, part = BROKEN[name]
    with pytest.raises(RefusedError) as caught:
        describe(part, "messages[0].content[1]")
    assert (caught.value.code, caught.value.param) == ("invalid_media", "messages[0].content[1]")


def test_an_image_cut_short_is_refused(pictures: dict[str, bytes]) -> None:
    """Half a PNG has a good header and is refused all the same."""
    data = pictures["png"]
    with pytest.raises(RefusedError, match="truncated"):
        describe_image(image("data:image/png;base64," + b64(data[: len(data) // 2])), "p")


@pytest.mark.parametrize(
    ("describe", "part"),
    [
        (describe_image, {"image_url": 5}),
        (describe_image, {}),
        (describe_image, image(7)),
        (describe_image, image("")),
        (describe_file, {"file": []}),
        (describe_file, file()),
        (describe_file, file(file_data=1)),
        (describe_audio, {"input_audio": None}),
        (describe_audio, {"input_audio": {"data": "x"}}),
    ],
)
def test_parts_of_the_wrong_form_are_refused(describe: Callable[[Json, str], str], part: Json) -> None:
    """Code ``invalid_type``, never an exception of another kind."""
    with pytest.raises(RefusedError) as caught:
        describe(part, "p")
    assert caught.value.code == "invalid_type"
