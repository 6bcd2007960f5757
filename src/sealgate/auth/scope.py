"""What a caller may put into a key it makes: never more than it has itself (row B15). Pure.

What the caller's own key or issuer is bound to and the new key does not name is handed down. A budget cannot be shared
out at all: each key has a purse of its own, so whoever could make keys would fill it again with every new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from sealgate.auth.caller import Caller
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem


class Scope(NamedTuple):
    """What a key may do. ``expires_at`` in Unix microseconds; None is no bound."""

    models: Sequence[str] | None = None
    limits: Limits | None = None
    budget: Budget | None = None
    expires_at: int | None = None


def granted(caller: Caller, asked: Scope, usual: Limits | None = None) -> Scope:
    """``asked`` with the caller's own bounds. Raises `Problem` ``scope_exceeds_caller`` where it goes beyond them.

    ``usual`` are the limits of those who have none of their own. They bind users; an administrator may go beyond them.
    """
    if caller.budget is not None:
        _refuse("budget", "Callers with a budget of their own cannot make keys")
    return Scope(_models(caller, asked), _limits(caller, asked, usual), asked.budget, _expiry(caller, asked))


def require_choosable(caller: Caller, limits: Limits | None, usual: Limits | None = None) -> None:
    """Raise where a user would widen its own bounds by choosing a default key with these limits; ``usual`` as above.

    A user's tokens go by the default key: with a budget none can be chosen, for another key has another purse.
    """
    if caller.is_admin:
        return
    if caller.budget is not None:
        _refuse("budget", "Callers with a budget of their own cannot choose the default key")
    for name in _LIMITS:
        own, given = getattr(_set(caller.limits) or usual, name, None), getattr(_set(limits) or usual, name, None)
        if own is not None and (given is None or given > own):
            _refuse(f"limits.{name}", "The key's are wider than the caller's own")


def _models(caller: Caller, asked: Scope) -> Sequence[str] | None:
    if caller.models is None:
        return asked.models
    if asked.models is None:
        return sorted(caller.models)
    if beyond := [name for name in asked.models if name not in caller.models]:
        _refuse("models", f"The caller may not use '{beyond[0]}' itself")
    return asked.models


def _limits(caller: Caller, asked: Scope, usual: Limits | None) -> Limits | None:
    own, wanted = _set(caller.limits), _set(asked.limits)
    if own is None:
        if usual is None or wanted is None or caller.is_admin:
            return wanted  # without any of its own, the usual ones hold for the key too, as they are at the time
        own = usual
    wanted = wanted or Limits()
    return Limits(**{name: _bounded(name, getattr(own, name), getattr(wanted, name)) for name in _LIMITS})


def _set(limits: Limits | None) -> Limits | None:
    """Limits that limit anything."""
    return None if limits == Limits() else limits


def _bounded(name: str, own: Any, wanted: Any) -> Any:
    if own is None:
        return wanted
    if wanted is None or wanted == own:
        return own
    # What is not a number cannot be compared, so it can only be handed down as it is.
    if not isinstance(own, int) or not isinstance(wanted, int) or wanted > own:
        _refuse(f"limits.{name}", "It is more than the caller's own")
    return wanted


def _expiry(caller: Caller, asked: Scope) -> int | None:
    """A key's keys end with it. A token is but a sign-in, which says nothing of how long its user may have keys."""
    if caller.expires_at is None or caller.user_id is not None:
        return asked.expires_at
    if asked.expires_at is not None and asked.expires_at > caller.expires_at:
        _refuse("expires_at", "It is later than the end of the caller's own key")
    return asked.expires_at or caller.expires_at


def _refuse(param: str, why: str) -> NoReturn:
    raise Problem("scope_exceeds_caller", f"{param}: {why[0].lower()}{why[1:]}.", param=param)


_LIMITS = Limits.__struct_fields__
