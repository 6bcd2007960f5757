"""What becomes of each parameter at each kind, as its row declares it: the documentation is written from this.

The tests hold it against what is really sent, both ways: nothing happens that is not said here, and everything that is
said here happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from sealgate.providers.base import UNKNOWN_HINT, Kind
from sealgate.providers.capabilities import CONTRACT, HINTS, PARAMETERS
from sealgate.providers.params import NOT_TAKEN

Action: TypeAlias = Literal["passed", "renamed", "emulated", "dropped", "refused", "depends"]

SAMPLING = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})
DOCUMENTED = tuple(sorted(CONTRACT | HINTS | SAMPLING | {"messages", "top_logprobs"}))
"""Every parameter of a chat request that may reach a provider."""
_FORMS = frozenset({"response_format", "guided_json", "guided_choice"})
"""Asked for in words, and checked, wherever nothing better is there."""


class Fate(NamedTuple):
    """What happens to a parameter: ``detail`` says in which form it goes out, or why it does not.

    ``passed`` with a detail: it stands there in the provider's own terms and means the same, so nothing is told of it.
    ``depends``: on the model, or on the value; where that came to less, or to another value, it is told.
    """

    action: Action
    detail: str = ""


IN_WORDS = Fate("emulated", "asked for in words, the answer is checked")
REFUSED = Fate("refused", "`unsupported_parameter`, unless another route can")


def fate(kind: Kind, name: str) -> Fate:
    """What becomes of a parameter of that name."""
    if name in kind.changes and kind.changes[name] is not UNKNOWN_HINT:
        change = kind.changes[name]
        return Fate(change.action, _joined(change.detail, kind.terms.get(name), _otherwise(kind, name, change.action)))
    if name in kind.changes:
        return Fate("dropped", UNKNOWN_HINT.detail)
    if kind.only is not None and name not in kind.only:
        return Fate("dropped", NOT_TAKEN)
    if _lacks(kind, name):
        return IN_WORDS if name in _FORMS else REFUSED
    if name in kind.depends:
        return Fate("depends", kind.depends[name])
    return Fate("passed", _joined(kind.terms.get(name), _otherwise(kind, name, "passed")))


def _joined(*details: str | None) -> str:
    return "; ".join(filter(None, details))


def _otherwise(kind: Kind, name: str, action: Action) -> str | None:
    """What holds besides: for values that the change leaves alone, and for forms that are not there."""
    if name == "response_format" and (lacking := sorted({"json_object", "json_schema"} - kind.abilities)):
        return f"{' and '.join(lacking)} {IN_WORDS.detail}"
    return f"else {REFUSED.detail}" if action == "dropped" and _lacks(kind, name) else None


def fates(kind: Kind, names: Iterable[str] = DOCUMENTED) -> Iterator[tuple[str, Fate]]:
    """Each parameter and what becomes of it."""
    return ((name, fate(kind, name)) for name in names)


def added(kind: Kind) -> dict[str, str]:
    """Fields of the body that no parameter asks for, and why they are sent."""
    return {name: why for name, why in kind.adds.items() if kind.asks_usage or name != "stream_options"}


def _lacks(kind: Kind, name: str) -> bool:
    """Whether nothing of what this parameter may ask for is there. Lengths by any name are one capability."""
    asked = "max_tokens" if name == "max_completion_tokens" else "logprobs" if name == "top_logprobs" else name
    needed = {capability for capability, param in PARAMETERS.items() if param == asked} - {"tools_with_format"}
    return bool(needed) and name != "messages" and needed.isdisjoint(kind.abilities)
