"""UUIDs of version 7."""

import uuid

import pytest

from sealgate.formats.ids import dashed, uuid7_hex, uuid7_milliseconds


def test_an_id_is_a_uuid_of_version_7_with_its_time_in_front() -> None:
    made = uuid7_hex(1_750_179_872_123_456_789)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert uuid7_milliseconds(made) == 1_750_179_872_123
    assert dashed(made) == str(parsed)


def test_ids_differ_and_sort_by_time() -> None:
    ids = [uuid7_hex(moment * 1_000_000) for moment in range(1_000, 1_100)]
    assert sorted(ids) == ids
    assert len({uuid7_hex(5) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        str(uuid.UUID(int=0)),
        "9b2e4c1a-5d3f-4e8a-8b7c-1f2e3d4c5b6a",
        "01977ed9-7492-7b70-0347-955764f97b3d",
        "01977ed974927b708347955764f97b3",
    ],
)
def test_what_is_not_version_7_has_no_time(text: str) -> None:
    assert uuid7_milliseconds(text) is None


def test_both_forms_are_read() -> None:
    text = "01977ed9-7492-7b70-8347-955764f97b3d"
    assert uuid7_milliseconds(text) == uuid7_milliseconds(text.replace("-", "").upper()) == 0x01977ED97492
