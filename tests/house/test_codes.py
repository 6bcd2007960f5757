"""Error codes are declared once: what the source raises is in the table, and the table holds nothing idle."""

import ast
from collections.abc import Iterator

import pytest
from tests.house.trees import nodes

from sealgate.errors import CODES, Failure

AWAITED: dict[str, str] = {}
"""Codes that callers may already handle but that nothing raises yet, each with the reason."""


def _calls_of_problem(tree: ast.Module) -> Iterator[ast.Call]:
    for node in nodes(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "Problem":
                yield node


def _constants(value: ast.expr) -> Iterator[str]:
    """The strings an expression can be, as far as they are written in it."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _constants(value.body)
        yield from _constants(value.orelse)


def _raised(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for call in _calls_of_problem(tree):
        given = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "code")]
        for value in given:
            yield from ((call.lineno, text) for text in _constants(value))


def _mentioned(sources: dict[str, ast.Module]) -> set[str]:
    """Every string in the source outside the table's own file, and the codes of the failure classes."""
    words = {failure.value for failure in Failure}
    for name, tree in sources.items():
        if name != "errors.py":
            constants = (node for node in nodes(tree) if isinstance(node, ast.Constant))
            words |= {node.value for node in constants if isinstance(node.value, str)}
    return words


def test_every_code_the_source_raises_is_in_the_table(sources: dict[str, ast.Module]) -> None:
    unknown = [
        f"{name}:{line} {code}" for name, tree in sources.items() for line, code in _raised(tree) if code not in CODES
    ]

    assert not unknown, f"not in sealgate.errors.CODES: {unknown}"


def test_every_code_of_the_table_is_used(sources: dict[str, ast.Module]) -> None:
    idle = CODES.keys() - _mentioned(sources) - AWAITED.keys()

    assert not idle, f"nothing in src uses these codes; use them, drop them, or list them in AWAITED: {sorted(idle)}"


def test_no_code_is_still_awaited_once_it_is_used(sources: dict[str, ast.Module]) -> None:
    arrived = AWAITED.keys() & _mentioned(sources)

    assert not arrived, f"take these out of AWAITED: {sorted(arrived)}"


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_class_ends_in_a_public_code(failure: Failure) -> None:
    assert failure.value in CODES
