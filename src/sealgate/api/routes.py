"""The table of endpoints. A path is matched on its raw bytes, exactly; what is not in the table is 404 (row A14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sealgate.api.call import IN_API, Call
from sealgate.api.problems import OPENAI, Manner, MethodProblem
from sealgate.errors import Problem

Endpoint = Callable[[Call], Awaitable[None]]
Methods = dict[str, tuple[str, str, Endpoint]]
"""Of each method of a path: the path as it is declared, its mount, and who answers."""
Parameter = tuple[str, str] | tuple[str, str, Any]
MOUNTS = ("/v1", IN_API)


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint, and what the reference says of it.

    ``path`` may end in ``{name}``, which takes the rest of the path, slashes included, or have it once further in
    (``/keys/{id}/default``), where it takes one part. ``access`` is what its handler asks of a caller; no endpoint can
    be without an answer to that, and tests hold each handler to it: ``account`` is a user's token or an administrator's
    key. ``body``, ``answer`` and ``events`` are the types of the request, the whole answer (several: a tuple) and a
    stream's events; ``file`` is set where the body is a form with a file, and says what that is; ``query`` names the
    parameters in the query string, ``header`` those in the head, each with what it means and, where not every text will
    do, its type. ``manner`` is how it says what went wrong.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    access: Literal["public", "optional", "key", "account", "admin"]
    endpoint: Endpoint
    summary: str
    mounted: bool = True
    body: Any = None
    file: str = ""
    answer: Any = None
    events: Any = None
    query: tuple[Parameter, ...] = ()
    header: tuple[Parameter, ...] = ()
    manner: Manner = OPENAI

    @property
    def paths(self) -> tuple[str, ...]:
        """Where it answers: under both mounts, or only at ``path`` itself."""
        return tuple(mount + self.path for mount in MOUNTS) if self.mounted else (self.path,)


class Routes:
    """Looks up the endpoint of a call: one dict access for nearly all."""

    def __init__(self, table: Iterable[Route]) -> None:
        self.table = tuple(table)
        self._exact: dict[bytes, Methods] = {}
        self._manners: dict[bytes, Manner] = {}
        """Of the paths that have one of their own."""
        self._around: dict[tuple[bytes, bytes], Methods] = {}
        """By what stands before and behind a name in the path."""
        for route in self.table:
            for path in route.paths:
                self._add(path, route)
        # What stands behind a name decides before a name that takes all the rest.
        self._around = dict(sorted(self._around.items(), key=lambda item: -len(item[0][1])))

    def _add(self, path: str, route: Route) -> None:
        found = (path, path.removesuffix(route.path) if route.mounted else "", route.endpoint)
        methods: Methods = {route.method: found}
        if route.method == "GET":
            methods["HEAD"] = found
        if "{" in path:
            before, _, rest = path.partition("{")
            self._around.setdefault((before.encode(), rest.partition("}")[2].encode()), {}).update(methods)
            return
        for form in (path, path + "/"):
            self._exact.setdefault(form.encode(), {}).update(methods)
            if route.manner is not OPENAI:
                self._manners[form.encode()] = route.manner

    def find(self, call: Call) -> Endpoint:
        """Raises `Problem` with 404 or 405. Notes the route on the call."""
        raw: bytes = call.scope.get("raw_path") or call.scope["path"].encode()
        methods = self._exact.get(raw) or self._by_name(raw, call)
        if methods is None:
            call.manner = self._manner_below(raw)
            raise Problem("unknown_route")
        if raw in self._manners:
            call.manner = self._manners[raw]
        found = methods.get(call.scope["method"])
        if found is None:
            raise MethodProblem(methods)
        call.route, call.mount, endpoint = found
        return endpoint

    def _manner_below(self, raw: bytes) -> Manner:
        """What is asked for below an endpoint, and is not there, is refused in that endpoint's manner."""
        above = (manner for path, manner in self._manners.items() if path.endswith(b"/") and raw.startswith(path))
        return next(above, OPENAI)

    def _by_name(self, raw: bytes, call: Call) -> Methods | None:
        asked, path = raw.removesuffix(b"/"), call.scope["path"].removesuffix("/")
        for (before, behind), methods in self._around.items():
            named = asked[len(before) : len(asked) - len(behind)]
            if not named or not raw.startswith(before) or not asked.endswith(behind) or (behind and b"/" in named):
                continue
            call.path_value = path[len(before) : len(path) - len(behind)].rstrip("/")
            return methods if call.path_value else None
        return None
