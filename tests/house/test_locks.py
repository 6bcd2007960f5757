"""What gets installed: pinned, hashed, from no named place, without a version known to be unsafe."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKS = ("run", "build", "dev", "speech")

SAFE_SINCE = {
    "aiohttp": "3.13.3",
    "h11": "0.16",
    "httpx2": "2.12",
    "orjson": "3.11.5",
    "pyjwt": "2.13",
    "python-multipart": "0.0.27",
}
"""Least version without a published hole that matters here, kept by hand; for the day a package comes in, too."""

PIN = r"[a-z0-9][\w.\[\]-]*==\S+(?: ; .+)? \\"
HASH = r"    --hash=sha256:[0-9a-f]{64}(?: \\)?"
ORIGIN = r"    #(?: +via)?(?: +(?:-[cr] requirements/[a-z.]+|[\w.-]+(?: \(pyproject\.toml(?::[a-z]+)?\))?))?"
LINE = re.compile(f"(?:{PIN}|{HASH}|{ORIGIN})")


def _pins(root: Path, lock: str) -> dict[str, Version]:
    lines = (root / "requirements" / f"{lock}.lock").read_text().splitlines()
    pinned = (Requirement(line.removesuffix(" \\")) for line in lines if line and line[0] not in " #")
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pinned}


def _wanted(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_and_no_address(root: Path, lock: str) -> None:
    lines = (root / "requirements" / f"{lock}.lock").read_text().splitlines()
    strange = [line for line in lines if not LINE.fullmatch(line)]

    assert not strange
    assert len(_pins(root, lock)) > 3


@pytest.mark.parametrize("lock", ["run", "build", "speech"])
def test_the_locks_agree_on_every_version(root: Path, lock: str) -> None:
    """They are installed into one environment, one after the other."""
    developers = _pins(root, "dev")
    apart = {
        name: (str(pin), str(developers[name]))
        for name, pin in _pins(root, lock).items()
        if developers.get(name, pin) != pin
    }

    assert not apart, f"run `make lock`; these differ between {lock}.lock and dev.lock: {apart}"


@pytest.mark.parametrize("lock", LOCKS)
def test_no_pin_is_older_than_its_least_safe_version(root: Path, lock: str) -> None:
    unsafe = {
        name: str(pin)
        for name, pin in _pins(root, lock).items()
        if name in SAFE_SINCE and pin < Version(SAFE_SINCE[name])
    }

    assert not unsafe, unsafe


def test_a_plain_pip_install_takes_no_unsafe_version_either(root: Path) -> None:
    """Without the lock only the bounds of pyproject.toml protect: each must lie at or above the safe version."""
    loose = []
    for wanted in _wanted(root):
        floor = SAFE_SINCE.get(canonicalize_name(wanted.name))
        bounds = [Version(bound.version) for bound in wanted.specifier if bound.operator == ">="]
        if floor and not any(bound >= Version(floor) for bound in bounds):
            loose.append(f"{wanted} should be >={floor}")

    assert not loose, loose


def test_the_lock_satisfies_the_project(root: Path) -> None:
    pins = _pins(root, "run")
    stale = [
        str(wanted)
        for wanted in _wanted(root)
        if not wanted.specifier.contains(pins.get(canonicalize_name(wanted.name), Version("0")))
    ]

    assert not stale, f"run `make lock`; not satisfied by run.lock: {stale}"


def test_direct_dependencies_stay_few(root: Path) -> None:
    assert len(_wanted(root)) <= 16
