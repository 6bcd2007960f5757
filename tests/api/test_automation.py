"""``/v1/automation/settings``: defaults, partial changes, bounds, whose they are, and what is recorded."""

from __future__ import annotations

from functools import partial

import pytest
from tests.api.test_sessions import SETTINGS, ask
from tests.gateway import PEPPER, Serve

from sealgate.config import Auth, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.storage import audit
from sealgate.testing import Issuer


@pytest.mark.anyio
async def test_settings_begin_with_defaults_and_change_in_part(serve: Serve) -> None:
    async with serve({}) as running:
        begun = (await ask(running, "GET", SETTINGS)).json
        empty = (await ask(running, "PUT", SETTINGS, {})).json
        longer = (await ask(running, "PUT", SETTINGS, {"session_duration": 7200})).json
        on = (await ask(running, "PUT", SETTINGS, {"is_enabled": True, "session_duration": None})).json
        same = (await ask(running, "PUT", "/v1/automation/settings", {"is_enabled": True})).json
        read = (await ask(running, "GET", SETTINGS)).json
        admins = (await ask(running, "GET", SETTINGS, credential=running.admin_key)).json
        trail = await running.hall.storage.read(partial(audit.listed, action="automation.changed"))
    assert begun.keys() == {"is_enabled", "session_duration", "created_at", "updated_at"}
    assert (begun["is_enabled"], begun["session_duration"]) == (False, 3600)
    assert empty == begun
    assert (longer["is_enabled"], longer["session_duration"]) == (False, 7200)
    assert (on["is_enabled"], on["session_duration"]) == (True, 7200)
    assert on == same == read == admins, "they are the customer's"
    assert [each.detail for each in trail] == [
        {"is_enabled": False, "session_duration": 7200}, {"is_enabled": True, "session_duration": 7200},
    ]  # fmt: skip
    assert {(each.actor_kind, each.customer_id) for each in trail} == {("key", "default")}


@pytest.mark.anyio
async def test_bounds_are_400_and_form_is_422_where_that_is_the_dialect(serve: Serve) -> None:
    async with serve({}) as running:
        short = await ask(running, "PUT", SETTINGS, {"session_duration": 59})
        long = await ask(running, "PUT", "/v1/automation/settings", {"session_duration": 86401})
        typed = await ask(running, "PUT", SETTINGS, {"is_enabled": "yes", "session_duration": 3600.5})
        plain = await ask(running, "PUT", "/v1/automation/settings", {"is_enabled": "yes"})
        wrong = await ask(running, "PUT", SETTINGS, {"isEnabled": True})
        nobody = await running.get(SETTINGS, {})
    for reply in (short, long):
        assert (reply.status, reply.error["param"]) == (400, "session_duration")
        assert "between 60 and 86400" in reply.error["message"]
    assert [each["loc"] for each in typed.json["detail"]] == [["body", "is_enabled"], ["body", "session_duration"]]
    assert (typed.status, plain.status, wrong.status, nobody.status) == (422, 400, 422, 401)


@pytest.mark.anyio
async def test_settings_are_a_users_where_several_share_a_customer_else_the_accounts(serve: Serve) -> None:
    """A user with a customer of its own sets them for its keys too."""
    async with Issuer() as issuer:
        common = {"issuer": issuer.url, "audience": ("sealgate",), "algorithms": ("ES256",), "create_users": True}
        for shared in (False, True):
            rules = Rules(**common, customer="team" if shared else None)
            async with serve({}, auth=Auth(pepper=Secret(PEPPER), issuers={"corp": rules})) as running:
                ada, bob = issuer.token("ada"), issuer.token("bob")
                await ask(running, "PUT", SETTINGS, {"is_enabled": True}, ada)
                made = (await ask(running, "POST", "/v1/auth/keys", {"name": "k"}, ada)).json["key"]
                on = [(await ask(running, "GET", SETTINGS, None, who)).json["is_enabled"] for who in (ada, bob, made)]
            assert on == [True, False, not shared]
