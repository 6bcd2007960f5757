"""Small by nature: how long a module and a function may be. A docstring does not count against its function."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.house.trees import nodes

MODULE = 450
FUNCTION = 60

LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
"""Exemptions, `path` and `path:function`, each with the reason why two would be worse than one."""


def _functions(name: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            words = (first.end_lineno or 0) - first.lineno + 1 if said else 0
            yield f"{name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - words


def _lengths(sources: dict[str, ast.Module]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for name, tree in sources.items():
        for function, length in _functions(name, tree):
            lengths[function] = max(length, lengths.get(function, 0))
    return lengths


def _modules(root: Path) -> dict[str, int]:
    house = root / "src" / "sealgate"
    return {path.relative_to(house).as_posix(): len(path.read_text().splitlines()) for path in house.rglob("*.py")}


def test_no_module_is_longer_than_a_reader_can_hold(root: Path) -> None:
    long = {name: lines for name, lines in _modules(root).items() if lines > MODULE}

    assert long.keys() == LONG_MODULES.keys(), f"modules over {MODULE} lines are {long}; LONG_MODULES says otherwise"


def test_no_function_is_longer_than_a_page(sources: dict[str, ast.Module]) -> None:
    long = {name: lines for name, lines in _lengths(sources).items() if lines > FUNCTION}

    assert long.keys() == LONG_FUNCTIONS.keys(), (
        f"functions over {FUNCTION} lines are {long}; LONG_FUNCTIONS says otherwise"
    )


def test_functions_are_mostly_short(sources: dict[str, ast.Module]) -> None:
    """The feel of the house: half of all functions have at most 10 lines, and 95 of 100 at most 50."""
    lengths = [length for name, tree in sources.items() for _, length in _functions(name, tree)]

    assert statistics.median(lengths) <= 10
    assert statistics.quantiles(lengths, n=20)[-1] <= 50
