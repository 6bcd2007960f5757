"""What no file of the repository may say. The forbidden words are put together here, so that this file passes too."""

import re
from collections.abc import Iterator
from pathlib import Path

REGISTRIES = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("crates", "io"),
    ("proxy.golang", "org"),
    ("maven", "org"),
    ("debian", "org"),
]
FOLDERS = ["work", "root", "home", "Users"]

HOSTS = re.compile(r"\b(?:" + "|".join(r"\.".join(map(re.escape, pair)) for pair in REGISTRIES) + r")\b")
PATHS = re.compile(r"(?<![\w.~})-])/(?:" + "|".join(FOLDERS) + r")/\w")
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME"]) + r")\b")


def _lines(belongings: list[Path], root: Path) -> Iterator[tuple[str, str]]:
    """Each line of each text file, with its place."""
    for path in belongings:
        text = path.read_bytes().decode("utf-8", errors="ignore")
        name = path.relative_to(root)
        yield from ((f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), 1))


def _found(pattern: re.Pattern[str], belongings: list[Path], root: Path) -> list[str]:
    return [f"{place}: {line.strip()[:100]}" for place, line in _lines(belongings, root) if pattern.search(line)]


def test_nothing_is_left_for_later_in_a_comment(belongings: list[Path], root: Path) -> None:
    assert not _found(UNFINISHED, belongings, root)


def test_no_file_names_a_package_registry(belongings: list[Path], root: Path) -> None:
    assert not _found(HOSTS, belongings, root)


def test_no_file_names_a_folder_of_somebodys_machine(belongings: list[Path], root: Path) -> None:
    assert not _found(PATHS, belongings, root)


def test_the_patterns_find_what_they_are_for() -> None:
    assert HOSTS.search("https://files." + "pythonhosted" + ".org/x")
    assert PATHS.search("see /" + "home/ada/notes")
    assert PATHS.search('open("/' + 'root/key")')
    assert not PATHS.search("GET /v1/models, ./homework/x, $(HOME)/wo" + "rk/x")
    assert UNFINISHED.search("# TO" + "DO: later")
