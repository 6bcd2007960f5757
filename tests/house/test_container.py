"""The container files: what they copy exists, nobody is root, every install is hash-locked."""

import re
import shlex
from pathlib import Path

import pytest


@pytest.fixture
def steps(root: Path) -> list[str]:
    """The instructions of the Dockerfile, continuation lines joined, comments gone."""
    text = (root / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _given(steps: list[str], instruction: str) -> list[str]:
    return [step.removeprefix(instruction).strip() for step in steps if step.startswith(instruction + " ")]


def _sources(steps: list[str]) -> list[str]:
    copies = (shlex.split(copy)[:-1] for copy in _given(steps, "COPY") if not copy.startswith("--from"))
    return [source for copy in copies for source in copy]


def test_everything_the_image_copies_exists_and_is_not_ignored(root: Path, steps: list[str]) -> None:
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert _sources(steps)
    for source in _sources(steps):
        assert (root / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_the_image_runs_as_a_fixed_user_that_is_not_root(steps: list[str]) -> None:
    (user,) = _given(steps, "USER")

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_every_install_in_the_image_is_hash_locked_or_offline(steps: list[str]) -> None:
    installs = re.findall(r"pip install[^&]*", "\n".join(_given(steps, "RUN")))

    assert installs
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_the_image_serves_and_knows_whether_it_is_well(steps: list[str]) -> None:
    assert _given(steps, "ENTRYPOINT") == ['["sealgate"]']
    assert _given(steps, "CMD") == ['["serve", "--host", "0.0.0.0"]']
    assert "/health" in _given(steps, "HEALTHCHECK")[0]


def test_compose_opens_the_gateway_on_loopback_only(root: Path) -> None:
    text = (root / "compose.yaml").read_text()

    assert "\t" not in text
    assert re.findall(r'^ +- "([\d.]+):\d+:\d+"$', text, re.MULTILINE) == ["127.0.0.1"]
