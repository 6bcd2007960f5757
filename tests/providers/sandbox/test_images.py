"""Image headers: real little files, and what is left when they are cut."""

from __future__ import annotations

import pytest

from sealgate.providers.sandbox.images import Image, read_image

SIZES = {
    "png": Image("PNG", 640, 480),
    "gif 89": Image("GIF", 20, 10),
    "gif 87": Image("GIF", 7, 9),
    "jpeg": Image("JPEG", 1920, 1080),
    "progressive jpeg": Image("JPEG", 33, 44),
    "lossy webp": Image("WebP", 550, 368),
    "lossless webp": Image("WebP", 300, 200),
    "extended webp": Image("WebP", 1234, 567),
}


@pytest.mark.parametrize("name", SIZES)
def test_type_and_size_are_read(pictures: dict[str, bytes], name: str) -> None:
    """The header's type and size, in pixels."""
    assert read_image(pictures[name]) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_a_file_cut_anywhere_is_truncated_or_unknown(pictures: dict[str, bytes], name: str) -> None:
    """No cut makes a whole image, and none raises anything but ValueError."""
    data = pictures[name]
    for at in range(len(data)):
        try:
            found = read_image(data[:at])
        except ValueError as error:
            found = None
            assert str(error) == "the image is truncated"  # noqa: PT017
        assert found is None


def test_other_data_is_no_image() -> None:
    """Text, and a WAV file, which begins as WebP does."""
    assert read_image(b"hello") is None
    assert read_image(b"RIFF\x04\0\0\0WAVE") is None


def test_a_jpeg_that_ends_before_its_frame_is_truncated() -> None:
    """An end marker straight after the start."""
    with pytest.raises(ValueError, match="truncated"):
        read_image(b"\xff\xd8\xff\xd9")
