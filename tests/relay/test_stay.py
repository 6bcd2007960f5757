"""Who gets a session, and on what it hangs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sealgate.auth.caller import ANONYMOUS, Caller
from sealgate.relay.ask import Ask
from sealgate.relay.catalog import Catalog
from sealgate.relay.stay import NO_STAY, holder, of
from sealgate.sessions.automation import Automation, Settings
from sealgate.sessions.sessions import Sessions

ADA = Caller(customer_id="acme", key_id="k")


def stay(caller: Caller, *, on: bool, session_id: str | None = None, kind: str = "chat") -> Any:
    automation = Automation()
    if on:
        automation.take([(("acme", None), Settings(is_enabled=True, created_at=1, updated_at=1))])
    ask = cast(Ask, SimpleNamespace(session_id=session_id, type=kind))
    return of(cast(Sessions, SimpleNamespace(automation=automation)), Catalog({}, {}), caller, ask)


def test_only_who_names_a_session_or_wants_one_has_a_stay() -> None:
    other = Caller(customer_id="umbrella", key_id="k2")
    assert stay(ADA, on=False) is NO_STAY
    assert stay(other, on=True) is NO_STAY
    assert stay(ADA, on=True, kind="embedding") is NO_STAY
    assert stay(ADA, on=True) is not NO_STAY
    assert stay(other, on=False, session_id="s") is not NO_STAY
    assert (NO_STAY.pin, NO_STAY.session_id) == (None, None)


def test_a_session_hangs_on_the_key_else_on_the_user_else_on_the_customer() -> None:
    user = Caller(customer_id="acme", key_id=None, user_id="u", default_key_id="k")
    keyless = Caller(customer_id="acme", key_id=None, user_id="u")
    assert holder(ADA).name == holder(user).name == "key:k"
    assert (holder(keyless).name, holder(ANONYMOUS).name) == ("user:u", "customer:default")
