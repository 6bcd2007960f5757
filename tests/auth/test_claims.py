"""What claims must say, to the second (row B12). Pure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.auth.claims import FAR, Identity, Refused, identity
from sealgate.config_tables import Issuer

NOW = 1_900_000_000.0
ISS = "https://id.corp.example/"
GOOD = {"iss": ISS, "sub": "alice", "aud": "sealgate", "exp": NOW + 1}


def rules(**fields: Any) -> Issuer:
    return Issuer(**{"issuer": ISS, "audience": ("sealgate", "other"), **fields})


def reason(claims: dict[str, Any], known: Issuer | None = None, typ: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        identity(claims, known or rules(), typ, NOW)
    return caught.value.reason


def test_good_claims_name_somebody_until_their_expiry() -> None:
    said = {**GOOD, "email": "alice@corp.example", "name": "Alice", "exp": NOW + 0.5}
    expected = Identity(ISS, "alice", "alice@corp.example", "Alice", int((NOW + 0.5) * 1e6))
    assert identity(said, rules(), "JWT", NOW) == expected


@pytest.mark.parametrize("aud", ["sealgate", "other", ["x", "other"], ["sealgate"], ["sealgate", 7, None]])
def test_one_audience_of_ours_is_enough(aud: Any) -> None:
    assert identity({**GOOD, "aud": aud}, rules(), None, NOW).sub == "alice"


@pytest.mark.parametrize(
    "aud", [None, "", "Sealgate", "sealgate ", [], ["x"], [["sealgate"]], {"sealgate": 1}, 7, True]
)
def test_another_audience_is_refused(aud: Any) -> None:
    assert reason({**GOOD, "aud": aud}) == "audience"


def test_the_audience_may_stand_in_another_claim_and_then_only_there() -> None:
    cognito = rules(audience_claim="client_id")
    assert identity({**GOOD, "aud": None, "client_id": "other"}, cognito, None, NOW).sub == "alice"
    assert reason({**GOOD, "aud": "sealgate"}, cognito) == "audience"
    assert reason({**GOOD, "client_id": ["sealgate"]}, cognito) == "audience"
    assert identity({**GOOD, "azp": "sealgate"}, rules(audience_claim="azp"), None, NOW).sub == "alice"


def test_clients_are_bound_where_they_are_listed() -> None:
    bound = rules(clients=("web", "cli"))
    assert identity({**GOOD, "azp": "web"}, bound, None, NOW).sub == "alice"
    assert identity({**GOOD, "client_id": "cli"}, bound, None, NOW).sub == "alice"
    assert reason({**GOOD, "azp": "evil", "client_id": "cli"}, bound) == "client"
    assert reason({**GOOD, "azp": None, "client_id": "cli"}, bound) == "client"
    assert reason({**GOOD, "azp": ["web"]}, bound) == "client"
    assert reason(GOOD, bound) == "client"


@pytest.mark.parametrize(
    ("exp", "good"),
    [(NOW + 0.001, True), (NOW + 1, True), (NOW, False), (NOW - 1, False), (0, False), (-1, False), (1e300, True),
     (None, False), ("1900000001", False), (True, False), ([], False)],
)  # fmt: skip
def test_the_expiry_has_no_leeway(exp: Any, good: bool) -> None:
    said = {**GOOD, "exp": exp}
    if good:
        assert identity(said, rules(), None, NOW).expires_at <= FAR * 1_000_000
    else:
        assert reason(said) == "exp"


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize(("leeway", "most"), [(60, 60), (0, 0), (1.5, 1.5)])
def test_a_beginning_may_be_as_far_ahead_as_the_leeway(name: str, leeway: float, most: float) -> None:
    known = rules(leeway=leeway)
    assert identity({**GOOD, name: NOW + most}, known, None, NOW).sub == "alice"
    assert reason({**GOOD, name: NOW + most + 0.001}, known) == name
    assert identity({**GOOD, name: 0}, known, None, NOW).sub == "alice"
    for wrong in (None, "0", True, [0]):
        assert reason({**GOOD, name: wrong}, known) == name


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_a_type_is_a_media_type(typ: str) -> None:
    assert identity(GOOD, rules(typ="at+jwt"), typ, NOW).sub == "alice"
    assert identity(GOOD, rules(typ="application/at+jwt"), typ, NOW).sub == "alice"


@pytest.mark.parametrize("typ", [None, "", "JWT", "logout+jwt"])
def test_another_type_is_refused_where_one_is_set(typ: str | None) -> None:
    assert reason(GOOD, rules(typ="at+jwt"), typ) == "typ"
    assert identity(GOOD, rules(), typ, NOW).sub == "alice"


@pytest.mark.parametrize("sub", [None, "", 7, ["alice"], "a\nb", "a\0", "s" * 256, "a\u202eb"])
def test_a_subject_is_text_that_can_be_shown(sub: Any) -> None:
    assert reason({**GOOD, "sub": sub}) == "sub"


def test_a_subject_is_taken_as_it_is() -> None:
    for sub in ("Alice", "alice ", "ALICE", "a" * 255, "auth0|5f", "übung"):
        assert identity({**GOOD, "sub": sub}, rules(), None, NOW).sub == sub


@pytest.mark.parametrize("iss", [None, ISS[:-1], ISS + "/", ISS.upper(), [ISS], 7])
def test_another_issuer_is_refused(iss: Any) -> None:
    assert reason({**GOOD, "iss": iss}) == "issuer"


@pytest.mark.parametrize("value", [7, "", ["x"], "a\nb", "x" * 400, True, {}])
def test_an_email_or_a_name_that_is_none_is_left_out(value: Any) -> None:
    found = identity({**GOOD, "email": value, "name": value}, rules(), None, NOW)
    assert (found.email, found.name) == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "azp", "client_id", "email", "name"])


@given(st.dictionaries(NAMES, JSON), st.sampled_from([rules(), rules(clients=("web",)), rules(audience_claim="azp")]))
def test_whatever_is_claimed_it_is_somebody_or_refused(said: dict[str, Any], known: Issuer) -> None:
    try:
        found = identity({**GOOD, **said}, known, None, NOW)
        outcome = "in time" if found.issuer == ISS and found.expires_at > NOW * 1e6 else "wrong"
    except Refused as refused:
        outcome = refused.reason
    assert outcome in ("in time", "issuer", "audience", "client", "exp", "nbf", "iat", "sub")
