"""Durations and deadlines go by the monotonic clock: the wall clock, which may jump, only dates things (row D13)."""

import ast
from collections.abc import Iterable, Iterator

from tests.house.trees import nodes

WALL = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
"""What reads the wall clock: a name, and the attribute of it."""

DATES = {
    "app.py": "since when models are listed",
    "api/call.py": "when a request came, for its row",
    "api/health.py": "until when a route rests",
    "api/responses_answer.py": "when a response was complete",
    "auth/keys.py": "whether a key has expired",
    "auth/tokens.py": "whether a token has begun, and whether it has expired",
    "cli/doctor.py": "whether this machine's clock is set, and agrees with the providers'",
    "cli/explain.py": "whether a session has expired",
    "cli/signing_keys.py": "which signing key is which",
    "receipts/issuer.py": "when a receipt was issued",
    "receipts/keys.py": "which signing key is which, and when one was made",
    "receipts/log.py": "when a checkpoint was signed, and which process enters until when",
    "receipts/log_key.py": "when a log was begun",
    "receipts/witness.py": "when a witness signed",
    "receipts/offline.py": "whether a receipt comes from the future",
    "receipts/inference.py": "when evidence of a provider was fetched",
    "cli/keys.py": "whether a key has expired, and how dates are written",
    "limits/budgets.py": "in which period of the calendar a request came, and since when a process is silent",
    "formats/waits.py": "until when an answer asks to wait, where it names a date",
    "formats/ids.py": "ids that sort by the time they were made",
    "providers/google.py": "whether a token has expired",
    "providers/sandbox/client.py": "when an answer was made",
    "relay/request.py": "whether an id can have been made already",
    "storage/retention.py": "how old a row is",
    "sessions/sessions.py": "whether a session has expired",
    "storage/writer.py": "when the database was last written to for a check",
    "telemetry/logs.py": "when something happened",
    "testing/issuer.py": "from when to when a token is good",
    "testing/openai_wire.py": "when an answer was made",
}
"""Modules that may look at the wall clock, and what they date with it."""


def _looks(found: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Places where the wall clock is read or handed on."""
    for node in found:
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in WALL:
                yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (node for alias in node.names if ("time", alias.name) in WALL)


def test_the_wall_clock_is_looked_at_only_to_date_things(sources: dict[str, ast.Module]) -> None:
    looking = {name for name, tree in sources.items() if any(_looks(nodes(tree)))}

    assert looking - DATES.keys() == set(), "take time.monotonic() for durations, or say here what is dated"
    assert DATES.keys() - looking == set(), "these do not look at it any more"


def test_no_duration_is_a_difference_of_two_looks_at_the_wall_clock(sources: dict[str, ast.Module]) -> None:
    differences = [
        f"{name}:{node.lineno}"
        for name, tree in sources.items()
        for node in nodes(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and any(_looks(ast.walk(node)))
    ]

    assert not differences, f"a clock that is set in between makes nonsense of these: {differences}"
