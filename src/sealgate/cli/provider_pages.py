"""A documentation page for each kind of provider, written from its row of the provider table.

Each part of a page is one function of the `Kind`; a part that has nothing to say is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sealgate import config
from sealgate.cli.markdown import NOTE, table
from sealgate.config_template import settings_of
from sealgate.providers.base import Kind
from sealgate.providers.capabilities import CAPABILITIES
from sealgate.providers.fates import Fate, added, fates
from sealgate.providers.openai import BearerHost
from sealgate.providers.params import NOT_TAKEN
from sealgate.providers.table import KINDS

FOLDER = Path("docs/providers")
EXAMPLES = {"aws_region": "eu-central-1", "project": "my-project", "location": "europe-west1"}
"""Values for settings that stand in an address."""


def pages() -> dict[Path, str]:
    """Every page by its path."""
    return {FOLDER / f"{kind.name}.md": page(kind) for kind in KINDS.values()}


def page(kind: Kind) -> str:
    """One kind's page."""
    parts: Iterable[tuple[str, Callable[[Kind], str]]] = (
        ("Configure it", _configure),
        ("Settings", _settings),
        ("Variants", _variants),
        ("Besides chat", _besides),
        ("What it can do", _abilities),
        ("What becomes of parameters", _changes),
        ("Media", _media),
        ("Reasoning in tool loops", _replays),
        ("Source", _source),
    )
    written = [(title, part(kind)) for title, part in parts]
    text = "".join(f"\n## {title}\n\n{body}" for title, body in written if body)
    return f"# {kind.title}\n\n{NOTE}Kind `{kind.name}`; see also [all providers](../reference/providers.md).\n{text}"


def example(kind: Kind) -> str:
    """A configuration that loads, with no more in it than it takes."""
    lines = [f'[providers.{_table(kind)}]\nkind = "{kind.name}"', *_lines(kind)]
    routes = f'routes = [{{ provider = "{_table(kind)}", model = "{"sandbox" if kind.open_catalog else "THE-NAME"}" }}]'
    return "\n".join([*lines, "", '[models."my-model"]', routes]) + "\n"


def _table(kind: Kind) -> str:
    return "acme" if kind.base_url is None else kind.name


def _lines(kind: Kind) -> Iterator[str]:
    if kind.base_url is None:
        yield f'base_url = "https://llm.acme.example{"/v1" if isinstance(kind.host, BearerHost) else ""}"'
    for name in dict.fromkeys(re.findall(r"{(\w+)}", kind.base_url or "")):
        yield f'{name} = "{EXAMPLES.get(name, f"my-{name}")}"'
    if (variable := key_variable(kind)) is not None:
        yield f'api_key = "env::{variable}"'


def key_variable(kind: Kind) -> str | None:
    """The environment variable that the example takes the key from; None where it needs no key."""
    if kind.key_variables:
        return kind.key_variables[0]
    if kind.base_url is None:
        return "ACME_KEY"
    return None


PLACES = {
    "embeddings": "embeddings",
    "transcriptions": "audio/transcriptions",
    "translations": "audio/translations",
}


def _configure(kind: Kind) -> str:
    parts = [f"```toml\n{example(kind)}```\n"]
    if not kind.open_catalog:
        parts.append(
            f"\n`THE-NAME` is the provider's own name of the model. `sealgate doctor {_table(kind)}` checks it.\n"
        )
    parts += [f"\n{line}\n" for line in _found(kind)]
    return "".join(parts)


def _found(kind: Kind) -> Iterator[str]:
    """What holds where the configuration does not say otherwise."""
    if kind.base_url is None:
        yield "It has no address of its own: set `base_url`."
    else:
        yield f"Address, where no `base_url` is set: `{kind.base_url}`."
    if kind.addresses:
        places = ", ".join(f"`{place}`: `{address}`" for place, address in kind.addresses.items())
        yield f"By `location`: {places}."
    if kind.key_variables:
        names = " or ".join(f"`{name}`" for name in kind.key_variables)
        yield f"Without any configuration it is there as `{kind.name}` where {names} is set in the environment."
    if kind.port is not None:
        yield f"Without any configuration a server on port {kind.port} of this machine is found with its models."
    if kind.also:
        offered = " and ".join(f"`/v1/{PLACES[operation]}`" for operation in kind.also)
        yield f"Besides chat it serves {offered}, for models whose `type` says so."
    if kind.extra is not None:
        yield (
            f"It needs `pip install 'sealgate[{kind.extra[0]}]'`. Without an `api_key` the credentials are those that "
            "the provider's own library finds on the machine."
        )


def _settings(kind: Kind) -> str:
    rows = [(f"`{name}`", text) for name, text, _ in settings_of(config.Provider) if name in kind.reads]
    if not rows:
        return ""
    common = "Besides [those of every provider](../reference/configuration.md):\n\n"
    return common + table("key", "what it does", rows=rows)


def _variants(kind: Kind) -> str:
    rows = [
        (f'`{setting} = "{value}"`', "this page" if row is None else row.title, "" if row is None else _given(row))
        for setting, values in kind.variants.items()
        for value, row in values.items()
    ]
    if kind.elsewhere is not None:
        rows.append(("another `base_url`", kind.elsewhere.title, _given(kind.elsewhere)))
    if not rows:
        return ""
    own = [
        f'\n### Parameters with `{setting} = "{value}"`\n\n{_table_of_changes(row)}'
        for setting, values in kind.variants.items()
        for value, row in values.items()
        if row is not None
    ]
    return table("where", "what holds", "can do", rows=rows) + "".join(own)


def _besides(kind: Kind) -> str:
    """How it is asked for what is not chat, where that takes words; its variants included."""
    rows = [kind, *(row for values in kind.variants.values() for row in values.values() if row is not None)]
    found: dict[str, list[str]] = {}
    for row in rows:
        for operation, wire in row.also.items():
            if about := getattr(wire, "about", ""):
                at = f"`/v1/{PLACES[operation]}`" + ("" if row is kind else f" ({row.title})")
                found.setdefault(about, []).append(at)
    return "".join(f"- {' and '.join(places)}: {about}\n" for about, places in found.items())


def _given(kind: Kind) -> str:
    return ", ".join(name for name in CAPABILITIES if name in kind.abilities)


def _abilities(kind: Kind) -> str:
    rows = [(f"`{name}`", row.meaning, _how(kind, name)) for name, row in CAPABILITIES.items()]
    return (
        'Where a model can do more or less than its provider usually can, `[models."NAME"] capabilities` says so. A '
        "route is not asked for what it would refuse: where there is no other one the answer is 400 "
        "`unsupported_parameter`, unless it is a schema that the gateway can check itself.\n\n"
        + table("capability", "meaning", "how", rows=rows)
    )


def _how(kind: Kind, name: str) -> str:
    if name in kind.capabilities:
        return "native"
    return "emulated, without loss" if name in kind.abilities else "refused"


def _changes(kind: Kind) -> str:
    return (
        "What is renamed, emulated or dropped is told to the caller in `tresor.adjustments`; a value that asks for "
        "what happens anyway (`n` 1, `logprobs` false) may be left out in silence.\n\n" + _table_of_changes(kind)
    )


def _table_of_changes(kind: Kind) -> str:
    """What becomes of every parameter there is; those of one fate share a line where nothing more is said of them."""
    shared: dict[Fate, list[str]] = {}
    rows: list[tuple[str, str, str]] = []
    for name, found in fates(kind):
        if name in kind.params or (found.detail and found.detail in (kind.terms.get(name), kind.depends.get(name))):
            rows.append((f"`{name}`", *_said(found)))
        else:
            shared.setdefault(found, []).append(name)
    rows += [(_code(names), *_said(found)) for found, names in sorted(shared.items())]
    others = ("all others", "passed", "as they came") if kind.only is None else ("all others", "dropped", NOT_TAKEN)
    return table("parameter", "is", "as", rows=[*rows, others]) + _added(kind)


def _said(found: Fate) -> tuple[str, str]:
    return ("by the model or the value" if found.action == "depends" else found.action), found.detail


def _added(kind: Kind) -> str:
    """What is sent that nobody asked for."""
    found = [f"`{name}` ({why})" for name, why in added(kind).items()]
    return f"\nSent besides: {', '.join(found)}.\n" if found else ""


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _media(kind: Kind) -> str:
    taken = [name for name in ("images", "files", "audio") if name in kind.capabilities]
    if not taken:
        return "Text only, as far as is known.\n"
    where = "By https URL or as data URL" if kind.media_by_url else 'As data URL only, unless `media = "pass"` is set'
    return f"{where}: {', '.join(taken)}.\n"


def _replays(kind: Kind) -> str:
    if not kind.replays:
        return ""
    return (
        f"What led to a call of a tool comes as {_code(sorted(kind.replays))}, and is wanted back with the call's "
        "result. For clients that leave it out [the gateway keeps it](../guides/reasoning.md).\n"
    )


def _source(kind: Kind) -> str:
    return f"These facts are from `{kind.source}`.\n"
