"""Each outside thing has one door: a library is imported in its rooms only, and the environment is read in one file."""

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.house.trees import nodes

DOORS: dict[str, tuple[str, ...]] = {
    "uvicorn": ("api/", "cli/"),
    "httptools": ("api/", "outward/"),
    "aiohttp": ("outward/aiohttp_client.py",),
    "yarl": ("outward/aiohttp_client.py",),
    "sqlalchemy": (
        "storage/",
        "auth/records.py",
        "auth/users.py",
        "limits/ledger.py",
        "receipts/store.py",
        "sessions/store.py",
        "sessions/episodes.py",
        "receipts/log_rows.py",
        "limits/budget_rows.py",
        "limits/reports.py",
        "relay/reasoning_records.py",
        "relay/kept_records.py",
    ),
    "alembic": ("storage/",),
    "psycopg": ("storage/",),
    "prometheus_client": ("telemetry/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "google": ("providers/google.py",),
    "joserfc": ("auth/jwt.py", "testing/issuer.py"),
    "redis": ("limits/redis.py",),
    "python_multipart": ("api/multipart.py",),
    "yaml": ("cli/moving/source.py",),
    "pocketsphinx": ("providers/sandbox/recogniser.py",),
}
"""Library to the rooms (a folder ends in a slash) that may import it."""

ENVIRONMENT = ("config.py",)

BROUGHT = {"yarl": "aiohttp takes its addresses", "google": "google-auth is a part of it", "yaml": "pyyaml's own name"}
"""Libraries that come with a declared one and are part of its own interface."""


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level name of everything a module imports, inside functions too."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def _reads_environment(tree: ast.Module) -> Iterator[int]:
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in nodes(tree):
        used = isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "os"
        taken = isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}
        if used or taken:
            yield node.lineno


@pytest.fixture(scope="module")
def imports(sources: dict[str, ast.Module]) -> dict[str, list[tuple[int, str]]]:
    """What each module imports."""
    return {name: list(_imports(tree)) for name, tree in sources.items()}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_only_at_its_door(library: str, imports: dict[str, list[tuple[int, str]]]) -> None:
    elsewhere = [
        f"{name}:{line}"
        for name, lines in imports.items()
        for line, found in lines
        if found == library and not name.startswith(DOORS[library])
    ]

    assert not elsewhere, f"{library} belongs to {DOORS[library] or 'nobody'}, and is imported in {elsewhere}"


def test_the_environment_is_read_in_the_configuration_only(sources: dict[str, ast.Module]) -> None:
    readers = [
        f"{name}:{line}"
        for name, tree in sources.items()
        for line in _reads_environment(tree)
        if name not in ENVIRONMENT
    ]

    assert not readers, f"take the value from sealgate.config instead: {readers}"


def test_the_source_imports_nothing_that_is_not_declared(root: Path, sources: dict[str, ast.Module]) -> None:
    """A library that is there only because another one brought it may be gone with the next lock."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_").lower() for line in wanted}
    known = declared | BROUGHT.keys() | sys.stdlib_module_names | {"sealgate"}
    guests = [
        f"{name}:{line} {found}"
        for name, tree in sources.items()
        for line, found in _imports(tree)
        if found not in known
    ]

    assert not guests, f"declare these in pyproject.toml: {guests}"


BEGUN_BY = {
    "Exchange": ("relay/exchange.py", ("api/desk.py",)),
    "Walk": ("relay/walk.py", ("relay/exchange.py",)),
    "Admission": ("relay/admission.py", ("relay/exchange.py",)),
}
"""What every request to a model goes through: where it is made, and who alone may begin it."""


@pytest.mark.parametrize("name", BEGUN_BY)
def test_every_door_to_a_model_shares_one_relay(name: str, sources: dict[str, ast.Module]) -> None:
    """Five doors that settled each in its own way would settle in five ways."""
    home, allowed = BEGUN_BY[name]
    module = f"sealgate.{home.removesuffix('.py').replace('/', '.')}"
    callers = {
        source
        for source, tree in sources.items()
        for node in nodes(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module and name in {each.name for each in node.names}
        if _calls(tree, name)
    }

    assert callers == set(allowed), f"{name} is begun in {allowed} alone"
    doors = {source for source, tree in sources.items() if source.startswith("api/") and _calls(tree, "Desk")}
    assert doors == {f"api/{door}.py" for door in ("audio", "chat", "embeddings", "messages", "responses")}


def _calls(tree: ast.Module, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name for node in nodes(tree)
    )
