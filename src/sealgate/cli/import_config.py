"""``sealgate import``: another gateway's configuration as ours, with a report of what could not be carried."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sealgate.cli.moving.convert import Moved, convert
from sealgate.cli.refuse import refuse
from sealgate.config import DEFAULT_FILE, environment_secrets
from sealgate.errors import ConfigError


def command(
    file: Annotated[Path, typer.Argument(help="LiteLLM's config.yaml, or TensorZero's tensorzero.toml.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")] = Path(
        DEFAULT_FILE
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> None:
    """Convert a configuration of LiteLLM or TensorZero; each setting is carried, or named with the reason why not."""
    try:
        moved = convert(file, _variable)
        with output.open("x", encoding="utf-8") as out:
            out.write(moved.text)
    except ConfigError as error:
        refuse(str(error))
    except FileExistsError:
        refuse(f"{output} exists already and is left as it is; name another with --output")
    except OSError as error:
        refuse(f"{output} cannot be written: {error.strerror}")
    if as_json:
        return typer.echo(msgspec.json.encode(_document(moved, output)))
    return typer.echo(_report(moved, output), err=True)


def _variable(name: str) -> str | None:
    """An address or a region that the source reads from the environment. Keys are never looked up."""
    found = environment_secrets([name]).get(name)
    return found.reveal() if found else None


def _document(moved: Moved, output: Path) -> dict[str, object]:
    return {
        "output": str(output),
        "models": moved.models,
        "providers": moved.providers,
        "variables": moved.variables,
        "carried": [{"key": key, "to": to} for key, to in moved.carried.items()],
        "not_carried": [{"key": key, "reason": reason} for key, reason in moved.left.items()],
        "notes": moved.notes,
    }


def _report(moved: Moved, output: Path) -> str:
    """For people: a reason once, and below it all that it holds for."""
    lines = [
        f"Wrote {output}: {len(moved.models)} models, {len(moved.providers)} providers. "
        f"{len(moved.carried)} settings are carried, {len(moved.left)} are not.",
        *(f"- {note}" for note in moved.notes),
    ]
    if moved.variables:
        lines.append(f"- It takes keys from the environment: {', '.join(moved.variables)}.")
    by_reason: dict[str, list[str]] = {}
    for key, reason in moved.left.items():
        by_reason.setdefault(reason, []).append(key)
    if by_reason:
        lines.append("\nNot carried:")
    for reason, keys in by_reason.items():
        lines.append(f"- {reason}")
        lines += [f"    {key}" for key in keys]
    lines.append(f"\nCheck it: sealgate models --config {output}")
    return "\n".join(lines)
