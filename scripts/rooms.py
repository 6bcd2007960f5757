"""Keep the room table of ARCHITECTURE.md equal to the tree: `python scripts/rooms.py`.

A missing module gets a row with the first sentence of its docstring, a module that is gone loses its row, and the rows
are put in the order of the arrow, lowest floor first. A job that somebody wrote by hand is never touched. A row that
ends in a slash stands for everything below that folder. `tests/house/test_rooms.py` reads the same functions.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterable
from pathlib import Path

ROW = re.compile(r"^\| `([\w/.]+)` \| (.*) \|$")
HEAD = "| room | job |"


def modules(root: Path) -> list[str]:
    """Every module below src/sealgate, as a path from there; an `__init__` counts once it defines something."""
    house = root / "src" / "sealgate"
    return sorted(path.relative_to(house).as_posix() for path in house.rglob("*.py") if _has_a_job(path))


def _has_a_job(path: Path) -> bool:
    if path.name != "__init__.py":
        return True
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, defines) for node in ast.parse(path.read_text()).body)


def listed(page: str) -> dict[str, str]:
    """The rows of the table: module to job."""
    return {match[1]: match[2].strip() for match in map(ROW.match, page.splitlines()) if match}


def covers(row: str, module: str) -> bool:
    return module == row or (row.endswith("/") and module.startswith(row))


def missing(rows: Iterable[str], tree: Iterable[str]) -> list[str]:
    """Modules that no row names."""
    known = list(rows)
    return [module for module in tree if not any(covers(row, module) for row in known)]


def stale(rows: Iterable[str], tree: Iterable[str]) -> list[str]:
    """Rows that name nothing in the tree."""
    known = list(tree)
    return [row for row in rows if not any(covers(row, module) for module in known)]


def row(root: Path, module: str) -> str:
    """A row for a module, in the words of its own docstring."""
    return _line(module, _first_sentence(root / "src" / "sealgate" / module))


def _line(module: str, job: str) -> str:
    return f"| `{module}` | {job} |"


def _first_sentence(path: Path) -> str:
    first, *_ = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")
    sentence = re.split(r"\.(?:\s|$)", " ".join(first.split()))[0]
    return sentence.replace("|", "/").replace("``", "`")


def floors(root: Path) -> list[str]:
    """Top-level rooms, lowest first, from the layers of .importlinter."""
    contracts = configparser.ConfigParser()
    contracts.read(root / ".importlinter")
    layers = contracts["importlinter:contract:arrow"]["layers"].split()
    return [name.strip("()") for name in reversed(layers) if name != "|"]


def rewrite(root: Path, page: str) -> str:
    """The page with the table's rows completed, pruned and sorted."""
    tree, rows = modules(root), listed(page)
    kept = {name: _line(name, job) for name, job in rows.items() if name not in stale(rows, tree)}
    kept.update((name, row(root, name)) for name in missing(rows, tree))
    order = floors(root)

    def place(name: str) -> tuple[int, str]:
        room = name.split("/")[0].removesuffix(".py")
        return (order.index(room) if room in order else len(order), name)

    above, below = page.split(HEAD + "\n|---|---|\n")
    rest = [line for line in below.splitlines() if not ROW.match(line)]
    return "\n".join([above + HEAD, "|---|---|", *(kept[name] for name in sorted(kept, key=place)), *rest]) + "\n"


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    page = root / "ARCHITECTURE.md"
    page.write_text(rewrite(root, page.read_text()))


if __name__ == "__main__":
    main()
