"""The wheel holds the package and nothing that could run, hide or surprise."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the build backend is in requirements/build.lock, which `make test` installs")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.iterdir()
    return zipfile.ZipFile(path)


def test_the_wheel_holds_exactly_the_package(root: Path, wheel: zipfile.ZipFile) -> None:
    tree = (root / "src").rglob("*")
    package = {
        path.relative_to(root / "src").as_posix()
        for path in tree
        if path.is_file() and path.suffix != ".pyc" and path.suffix != ".pth"
    }
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert inside == {name for name in package if name.startswith("sealgate/")}


def test_the_wheel_has_no_hook_and_no_binary(wheel: zipfile.ZipFile) -> None:
    """A `.pth` file runs at every start of Python, and a binary cannot be read before it is trusted."""
    hooks = [name for name in wheel.namelist() if name.endswith((".pth", "sitecustomize.py", "usercustomize.py"))]
    binary = []
    for name in wheel.namelist():
        try:
            wheel.read(name).decode("utf-8")
        except UnicodeDecodeError:
            binary.append(name)

    assert not hooks
    assert not binary


def test_the_wheel_says_it_is_typed_and_under_which_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    assert "sealgate/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_offers_one_command(wheel: zipfile.ZipFile) -> None:
    (entries,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]

    assert wheel.read(entries).decode().split() == ["[console_scripts]", "sealgate", "=", "sealgate.__main__:main"]
