"""The ASGI application: finds the endpoint, answers what goes wrong, and writes one access line per request."""

from __future__ import annotations

import asyncio
import time

from sealgate.api.call import CONNECTION, Call, ClientGoneError, Receive, Scope, Send
from sealgate.api.departure import watched
from sealgate.api.entrance import entrance
from sealgate.api.routes import Routes
from sealgate.errors import Problem, StorageError
from sealgate.relay.hall import Hall
from sealgate.telemetry import logs
from sealgate.telemetry.logs import Access

CLIENT_LEFT = 499
"""Status in logs and metrics of a request whose caller left; it is never sent."""


class Front:
    """Answers every HTTP request."""

    def __init__(self, hall: Hall, routes: Routes) -> None:
        self._hall = hall
        self._routes = routes
        self._find = entrance(hall.settings.server, routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if CONNECTION not in (scope.get("extensions") or ()):
            receive = watched(scope, receive)
        call, metrics = Call(scope, receive, send), self._hall.metrics
        metrics.in_flight += 1
        try:
            await self._find(call)(call)
        except Problem as problem:
            await self._tell(call, problem)
        except ClientGoneError:
            call.status = CLIENT_LEFT
        except asyncio.CancelledError:
            if call.connection_ends and not call.status:
                await self._tell(call, Problem("gateway_shutting_down"))
            elif not call.client_left:
                raise
            if call.client_left:
                call.status = CLIENT_LEFT
        except StorageError as error:
            self._hall.log.error("storage_unavailable", request_id=call.request_id, error=str(error))
            await self._tell(call, Problem("storage_unavailable"))
        except Exception as error:
            self._hall.log.error(
                "unexpected_error", request_id=call.request_id, error=type(error).__name__, trace=logs.where(error)
            )
            await self._tell(call, Problem("internal_error"))
        finally:
            metrics.in_flight -= 1
            if call.admitted and call.caller is not None:
                self._hall.load.leave(call.caller.customer_id)
            self._record(call)

    async def _tell(self, call: Call, problem: Problem) -> None:
        """Answer with an error where nothing has been sent yet; else the connection just breaks off."""
        if call.status:
            raise problem
        await call.problem(problem)

    def _record(self, call: Call) -> None:
        hall, seconds = self._hall, time.monotonic() - call.started
        method = call.scope["method"]
        hall.metrics.http_request(method if call.route else "_OTHER", call.route, call.status, seconds)
        if not hall.settings.telemetry.access_log:
            return
        caller, entry, client = call.caller, call.entry, call.scope.get("client")
        line = Access(  # no more than fourteen by name: of a longer list Python makes a dict
            call.request_id,
            method=method,
            route=call.route,
            status=call.status,
            seconds=int(seconds * 1e6) / 1e6,
            client=client[0] if client else None,
            customer=caller.customer_id if caller else None,
            key=caller.key_id if caller else None,
            user=caller.user_id if caller else None,
            routed_model=entry.routed_model if entry else None,
            outcome=entry.outcome if entry else None,
            attempts=entry.attempts if entry else None,
            stream=entry.stream if entry else None,
            prompt_tokens=entry.prompt_tokens if entry else None,
            completion_tokens=entry.completion_tokens if entry else None,
        )
        if call.code is not None:
            line.code, line.reason = call.code, call.reason
        hall.access(line)
