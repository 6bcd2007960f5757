"""Images, files and sounds in a request, described by what is really in them.

Every description is one sentence for the answer. Nothing is fetched: an address is named and left alone.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Any
from urllib.parse import unquote_to_bytes

from sealgate.providers.sandbox.images import read_image
from sealgate.providers.sandbox.refused import RefusedError

IMAGE_TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/gif": "GIF", "image/webp": "WebP"}
_PDF_PAGE = re.compile(rb"/Type\s{0,4}/Page(?![A-Za-z])")
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)


def describe_image(part: dict[str, Any], param: str) -> str:
    """``{"type": "image_url", "image_url": {"url"}}``: real type, size in pixels, length in bytes."""
    url = _string(_object(part, "image_url", param), "url", param)
    if url[:5].lower() != "data:":
        return _not_fetched("An image", url, param)
    announced, data = _data_url(url, param)
    try:
        image = read_image(data)
    except ValueError as error:
        raise _broken(f"The image cannot be read: {error}.", param) from None
    if image is not None:
        if not image.width or not image.height:
            raise _broken("The image has no size.", param)
        return f"An image: {image.kind}, {image.width} by {image.height} pixels, {_bytes(data)}."
    if announced in IMAGE_TYPES:
        raise _broken(f"The data announced as {announced} is not an image of a known type.", param)
    return f"An image of type {announced or 'unknown'}, {_bytes(data)}; its size in pixels is not known here."


def describe_file(part: dict[str, Any], param: str) -> str:
    """``{"type": "file", "file": {"file_data", "filename"} | {"file_id"}}``: name, type, length, pages of a PDF."""
    file = _object(part, "file", param)
    name = file.get("filename")
    called = f' "{name}"' if isinstance(name, str) and name else ""
    if file.get("file_data") is None:
        return (
            f"A file with the id {_string(file, 'file_id', param)}, which the sandbox cannot open: it stores no files."
        )
    text = _string(file, "file_data", param)
    announced, data = _data_url(text, param) if text[:5].lower() == "data:" else ("", _base64(text, param))
    if not data:
        raise _broken("The file is empty.", param)
    kind = next((mime for magic, mime in _MAGIC if data.startswith(magic)), announced or "application/octet-stream")
    pages = len(_PDF_PAGE.findall(data)) if kind == "application/pdf" else 0
    told = f", {pages} page{'s' if pages != 1 else ''}" if pages else ""
    return f"A file{called} of type {kind}, {_bytes(data)}{told}."


def describe_audio(part: dict[str, Any], param: str) -> str:
    """``{"type": "input_audio", "input_audio": {"data", "format"}}``: format, length, and of a WAV the duration."""
    sound = _object(part, "input_audio", param)
    form = _string(sound, "format", param)
    text = _string(sound, "data", param)
    data = _data_url(text, param)[1] if text[:5].lower() == "data:" else _base64(text, param)
    if not data:
        raise _broken("The sound is empty.", param)
    if form != "wav":
        return f"A sound in the format {form}, {_bytes(data)}."
    try:
        seconds = _wav_seconds(data)
    except (struct.error, ValueError, ZeroDivisionError):
        raise _broken("The sound is not a whole WAV file.", param) from None
    return f"A sound in the format wav, {seconds:.2f} seconds, {_bytes(data)}."


def _wav_seconds(data: bytes) -> float:
    """Duration by the byte rate and the length of the data chunk (Microsoft RIFF, ``WAVEFORMATEX``)."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    at, rate = 12, 0
    while True:
        kind, length = data[at : at + 4], int(struct.unpack_from("<I", data, at + 4)[0])
        if kind == b"fmt ":
            rate = int(struct.unpack_from("<I", data, at + 16)[0])
        if kind == b"data":
            held = len(data) - at - 8
            if length in (0, 0xFFFFFFFF):  # written by a recorder that could not go back
                length = held
            if length > held:
                raise ValueError("truncated")
            return length / rate
        at += 8 + length + (length & 1)


def _data_url(url: str, param: str) -> tuple[str, bytes]:
    """Media type (lower case, may be empty) and bytes of a ``data:`` URL (RFC 2397)."""
    head, comma, payload = url.partition(",")
    if not comma:
        raise _broken("The data URL has no comma.", param)
    mime, *options = (piece.strip().lower() for piece in head[5:].split(";"))
    data = _base64(payload, param) if "base64" in options else unquote_to_bytes(payload)
    if not data:
        raise _broken("The data URL is empty.", param)
    return mime, data


def _base64(text: str, param: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _broken("The data is not valid base64.", param) from None


def _not_fetched(what: str, url: str, param: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise RefusedError("An image must be a data URL or an http(s) address.", param=param, code="invalid_media")
    return f"{what} at {_short(url)}, which the sandbox did not fetch: it has no network."


def _short(url: str) -> str:
    return url if len(url) <= 100 else url[:99] + "…"


def _bytes(data: bytes) -> str:
    return f"{len(data):,} byte{'s' if len(data) != 1 else ''}"


def _broken(message: str, param: str) -> RefusedError:
    return RefusedError(message, param=param, code="invalid_media")


def _object(part: dict[str, Any], name: str, param: str) -> dict[str, Any]:
    value = part.get(name)
    if name == "image_url" and isinstance(value, str):
        return {"url": value}
    if not isinstance(value, dict):
        raise RefusedError(f"'{name}' must be an object.", param=param, code="invalid_type")
    return value


def _string(holder: dict[str, Any], name: str, param: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(f"'{name}' must be a string that is not empty.", param=param, code="invalid_type")
    return value
