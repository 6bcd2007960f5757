"""The reference pages, written from the declarations in the code: ``python -m sealgate.cli.docs [--check]``.

Run in the root of the source tree. ``--check`` writes nothing and fails where a page is not what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sealgate import config
from sealgate.cli import provider_pages
from sealgate.cli.markdown import NOTE, table
from sealgate.config_log import Witness
from sealgate.config_template import fixed_tables, settings_of
from sealgate.errors import CODES, Failure
from sealgate.providers.base import UNKNOWN_HINT, Kind
from sealgate.providers.capabilities import CAPABILITIES
from sealgate.providers.fates import Fate, fates
from sealgate.providers.sandbox import MODELS
from sealgate.providers.table import KINDS
from sealgate.relay.responses import REFUSED
from sealgate.relay.responses_shapes import ResponsesRequest
from sealgate.relay.shapes import ChatRequest
from sealgate.storage.audit import ACTIONS
from sealgate.storage.audit import FIELDS as AUDIT_FIELDS
from sealgate.telemetry.registry import LOG_FIELDS, METRICS

FOLDER = Path("docs/reference")
MARK, END = "<!-- generated:{} -->", "<!-- /generated -->"
ROWS_OF_PROVIDERS = "[providers.NAME]", config.Provider
ROWS_OF_MODELS = '[models."NAME"]', config.Model
ROWS_OF_ROUTES = "routes of a model", config.Route
ROWS_OF_LIMITS = "limits of a model", config.Limits


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
    return {
        FOLDER / "errors.md": _errors(),
        FOLDER / "configuration.md": _configuration(),
        FOLDER / "providers.md": _providers(),
        **provider_pages.pages(),
        FOLDER / "chat-request.md": _chat_request(),
        FOLDER / "responses-request.md": _responses_request(),
        FOLDER / "telemetry.md": _telemetry(),
        FOLDER / "audit.md": _audit(),
        Path("docs/sandbox.md"): _within(Path("docs/sandbox.md"), "sandbox-models", _sandbox()),
    }


def _errors() -> str:
    rows = [
        (f"`{code.name}`", str(code.status), f"`{code.type}`", code.message, _advice(code)) for code in CODES.values()
    ]
    classes = [(failure.name.lower(), f"`{failure.value}`", "no" if failure.final else "yes") for failure in Failure]
    return (
        f'# Errors\n\n{NOTE}Every error is `{{"error": {{"message", "type", "param", "code", "status"}}}}`. '
        "`code` is stable; the message may be more exact than the one shown here.\n\n"
        + table("code", "status", "type", "message", "to clients", rows=rows)
        + "\n## What an attempt at a provider can say\n\nA failed attempt has one of these classes. "
        "Unless the class ends the request, the next route is asked; the code is used when no route is left.\n\n"
        + table("class", "code", "next route is asked", rows=classes)
    )


def _advice(code: Any) -> str:
    said = []
    if code.retry_after is not None:
        said.append(f"`Retry-After: {code.retry_after}`")
    if code.should_retry is not None:
        said.append(f"`x-should-retry: {str(code.should_retry).lower()}`")
    return ", ".join(said)


def _configuration() -> str:
    parts = [
        f"# Configuration\n\n{NOTE}TOML, by default `sealgate.toml` in the working folder; `sealgate init` writes a "
        "commented file. Every key is optional. Keys of the fixed tables can be set in the environment: "
        "`SEALGATE_SERVER__PORT=8080`.\n"
    ]
    fixed = [(f"[{name}]", table) for name, table in fixed_tables(config.Settings)]
    issuers = ("[auth.issuers.NAME]", config.Issuer)
    witnesses = ("[[receipts.log.witnesses]]", Witness)
    for title, declared in [
        *fixed,
        witnesses,
        issuers,
        ROWS_OF_PROVIDERS,
        ROWS_OF_MODELS,
        ROWS_OF_ROUTES,
        ROWS_OF_LIMITS,
    ]:
        rows = [(f"`{name}`", _default(default), description) for name, description, default in settings_of(declared)]
        parts.append(f"\n## `{title}`\n\n{declared.__doc__}\n\n" + table("key", "default", "what it does", rows=rows))
    return "".join(parts)


def _default(value: Any) -> str:
    if value is None or value in ({}, ()):
        return ""
    if type(value).__name__ == "NoDefaultType":
        return "required"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def _providers() -> str:
    rows = [
        (
            f"[`{kind.name}`](../providers/{kind.name}.md)",
            kind.title,
            f"`{kind.base_url}`" if kind.base_url else "set `base_url`",
            ", ".join(f"`{name}`" for name in kind.key_variables),
            "https or data" if kind.media_by_url else "data only",
        )
        for kind in KINDS.values()
    ]
    head = ("kind", "provider", "base_url", "key found in", "images")
    meanings = [(f"`{row.name}`", f"`{row.param}`", row.meaning) for row in CAPABILITIES.values()]
    abilities = [(f"`{kind.name}`", *_abilities(kind)) for kind in KINDS.values()]
    changes = [(name, *line) for kind in KINDS.values() for name, row in _rows(kind) for line in _changes(row)]
    return (
        f"# Providers\n\n{NOTE}One row for each `kind`; its page says how to configure it. Any other server that "
        "speaks OpenAI's API is kind `compatible`, and so is kind `openai` with a `base_url` that is not OpenAI's own: "
        "everything goes there as the caller sent it. `sealgate doctor` asks each of yours for real.\n\n"
        + table(*head, rows=rows)
        + "\n## Capabilities\n\nParameters that change what an answer means go only to routes that can honour them; "
        "where there is none, the answer is 400 `unsupported_parameter`. The names can be set for a model, "
        '`[models."NAME"] capabilities`, where it can do more or less than its provider usually can.\n\n'
        + table("capability", "asked for by", "meaning", rows=meanings)
        + "\n## What each kind can do\n\nEmulated: in another form that loses nothing.\n\n"
        + table("kind", "by itself", "emulated", rows=abilities)
        + "\n## What becomes of parameters\n\nWhat is not listed goes out as it came. Each change is told to the "
        "caller in `tresor.adjustments`; `tensorzero::extra_body` is never changed.\n\n"
        + table("kind", "parameter", "becomes", rows=changes)
    )


def _rows(kind: Kind) -> Iterator[tuple[str, Kind]]:
    """A kind and its variants."""
    yield f"`{kind.name}`", kind
    for setting, values in kind.variants.items():
        yield from ((f'`{kind.name}`, `{setting} = "{value}"`', row) for value, row in values.items() if row)


def _abilities(kind: Kind) -> tuple[str, str]:
    given = kind.abilities - kind.capabilities
    return _in_order(kind.capabilities), _in_order(given)


def _in_order(names: frozenset[str]) -> str:
    return ", ".join(name for name in CAPABILITIES if name in names)


def _changes(kind: Kind) -> Iterator[tuple[str, str]]:
    """Parameters that do not simply pass, and those that the provider names in terms of its own."""
    for name, found in fates(kind):
        if name in kind.params or name in kind.depends:
            yield (
                f"`{name}`",
                f"{'by the model or the value' if found.action == 'depends' else found.action}: {found.detail}",
            )
        elif found.action == "passed" and found.detail:
            yield f"`{name}`", f"passed: {found.detail}"
    if left_out := [name for name, found in fates(kind) if found == Fate("dropped", UNKNOWN_HINT.detail)]:
        yield ", ".join(f"`{name}`" for name in left_out), "dropped: unknown there"
    if kind.only is not None:
        yield "all that it does not know", "dropped: refused there"


def _chat_request() -> str:
    rows = [(f"`{field}`", text) for field, text, _ in _encoded(ChatRequest)]
    return (
        f"# The chat request\n\n{NOTE}Fields of `POST /v1/chat/completions`. Fields that are not listed are passed on "
        "to the provider as they are.\n\n" + table("field", "meaning", rows=rows)
    )


def _responses_request() -> str:
    rows = [(f"`{field}`", text) for field, text, _ in _encoded(ResponsesRequest)]
    refused = [(f"`{name}`", f"{why[0].upper()}{why[1:]}.") for name, why in REFUSED.items()]
    return (
        f"# The Responses request\n\n{NOTE}Fields of `POST /v1/responses`; [the guide](../guides/responses.md) says "
        "what becomes of them. Fields that are listed nowhere are left out, and reported as such.\n\n"
        + table("field", "meaning", rows=rows)
        + "\nRefused with 400 `unsupported_parameter`:\n\n"
        + table("field", "why", rows=refused)
    )


def _encoded(struct: Any) -> Iterator[tuple[str, str, Any]]:
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    for name, description, default in settings_of(struct):
        yield names[name], description, default


def _telemetry() -> str:
    metrics = [(f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in METRICS]
    fields = [(f"`{name}`", text) for name, text in LOG_FIELDS.items()]
    return (
        f"# Metrics and logs\n\n{NOTE}`GET /metrics` gives Prometheus text. Names follow OpenTelemetry's conventions "
        "where those have one.\n\n"
        + table("metric", "kind", "labels", "meaning", rows=metrics)
        + "\n## Log fields\n\nOne JSON line per event on standard error. Nothing but these fields is ever written.\n\n"
        + table("field", "meaning", rows=fields)
    )


def _audit() -> str:
    fields = [(f"`{name}`", text) for name, text in AUDIT_FIELDS.items()]
    return (
        f"# The audit trail\n\n{NOTE}`sealgate audit` shows it. A row is written in the transaction of the act it "
        "records, so there is never one without the other; the program never changes or deletes a row.\n\n"
        + table("act", "meaning", rows=[(f"`{name}`", text) for name, text in ACTIONS.items()])
        + "\n## What a row holds\n\n"
        + table("field", "meaning", rows=fields)
    )


def _sandbox() -> str:
    return table("model", "what it does", rows=[(f"`{name}`", text) for name, text in MODELS.items()])


def _within(file: Path, name: str, text: str) -> str:
    """The page with the part between its marks replaced."""
    page = file.read_text(encoding="utf-8")
    before, mark, rest = page.partition(MARK.format(name))
    _, end, after = rest.partition(END)
    assert end, f"{file} has no part {name}"
    return f"{before}{mark}\n{text}{end}{after}"


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    written = pages()
    stale = [path for path, text in written.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    gone = [path for path in provider_pages.FOLDER.glob("*.md") if path not in written]
    if "--check" in arguments:
        for path in [*stale, *gone]:
            sys.stderr.write(f"{path} is not what the code says; run: make docs\n")
        return 1 if stale or gone else 0
    for path in gone:
        path.unlink()
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
