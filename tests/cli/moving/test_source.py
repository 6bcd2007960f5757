"""What a file may hold: plain data within bounds, nothing twice, nothing run; and the book of its leaves."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sealgate.cli.moving.source import MAX_BYTES, Source, leaves, read, shown
from sealgate.errors import ConfigError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))


def given(folder: Path, text: str, name: str = "a.yaml") -> Any:
    (folder / name).write_text(text)
    return read(folder / name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB, "more than 50000 values, aliases written out"),
        (MERGES, "more than 50000 values, aliases written out"),
        ("a: &a [*a]", "one of its aliases contains itself"),
        ("a: 1\nb: 2\na: 3", "the key a stands twice in one table (line 3)"),
        ("? [a]\n: 1", "has a key that is no text"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [exit]", "is not valid YAML at line 1"),
        ("a: 1\n---\nb: 2", "is not valid YAML at line 2"),
        ("a: sk-canary: x", "is not valid YAML at line 1"),
        ("a: " + "9" * 6000, "a.yaml: "),
        ("", "holds no settings"),
    ],
)
def test_yaml_that_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        given(tmp_path, text)
    assert sentence in str(raised.value)
    assert "canary" not in str(raised.value)


def test_toml_is_bounded_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        given(tmp_path, "a = " + "[" * 60 + "]" * 60, "a.toml")
    with pytest.raises(ConfigError, match="more than 50000 values"):
        given(tmp_path, f"a = [{'1,' * 50_010}]", "a.toml")


def test_a_file_too_large_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 1024 KiB"):
        given(tmp_path, "#" * (MAX_BYTES + 1))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read(tmp_path / "b.yaml")


def test_without_the_library_for_yaml_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"needs: pip install 'sealgate\[import\]'"):
        given(tmp_path, "a: 1")
    assert given(tmp_path, "a = 1", "a.toml") == {"a": 1}


def test_aliases_within_bounds_are_plain_values(tmp_path: Path) -> None:
    assert given(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1},
    }  # fmt: skip


def test_numbers_of_toml_are_exact(tmp_path: Path) -> None:
    assert given(tmp_path, "a = 0.1", "a.toml") == {"a": Decimal("0.1")}


def test_leaves_and_how_they_are_shown() -> None:
    found = [shown(place) for place, _ in leaves({"a": [{"b c": 1}, [], {}], 'q"': None, 3: "x"})]
    assert found == ['a[0]."b c"', "a[1]", "a[2]", r'"q\""', "3"]


def test_who_speaks_of_a_leaf_first_is_heard_and_the_rest_is_left() -> None:
    source = Source({"a": {"b": 1, "c": 2}, "d": 3})
    source.carry(("a", "b"), "there")
    source.leave(("a",), "why")
    source.carry(("a", "c"), "too late")
    source.close()
    assert source.carried == {("a", "b"): "there"}
    assert source.left[("a", "c")] == "why"
    assert "does not know it" in source.left[("d",)]


@pytest.mark.parametrize("value", [True, "x", [], "nan", "1e99", float("inf"), "1" * 40])
def test_what_is_no_number_is_left(value: Any) -> None:
    source = Source({"a": value})
    assert source.root.number("a") is None
    assert source.left == {("a",): "it is no number"}


def test_a_number_may_be_text_as_yaml_reads_small_ones() -> None:
    assert Source({"a": "1e-6"}).root.number("a") == Decimal("0.000001")
