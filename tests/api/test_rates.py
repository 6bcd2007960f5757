"""Headers about limits, from where a caller stands."""

from sealgate.api.rates import headers
from sealgate.config_tables import Limits
from sealgate.limits.limiter import Standing, rules

MINUTE, DAY, TOKENS = rules("key:1", Limits(requests_per_minute=40, requests_per_day=500, tokens_per_minute=9000))
NOW = 1_700_000_000.25


def named(*standings: Standing) -> dict[str, str]:
    found = headers(standings, NOW)
    assert len({name for name, _ in found}) == len(found)
    return {name.decode(): value.decode() for name, value in found}


def test_requests_stand_in_both_forms_and_tokens_in_one() -> None:
    assert named(Standing(MINUTE, 39, 59.8), Standing(TOKENS, 8000, 12.0)) == {
        "x-ratelimit-limit": "40",
        "x-ratelimit-remaining": "39",
        "x-ratelimit-reset": "1700000061",
        "x-ratelimit-limit-requests": "40",
        "x-ratelimit-remaining-requests": "39",
        "x-ratelimit-reset-requests": "2023-11-14T22:14:21Z",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "8000",
        "x-ratelimit-reset-tokens": "2023-11-14T22:13:33Z",
    }


def test_of_several_windows_the_one_with_the_least_left_is_told() -> None:
    assert named(Standing(MINUTE, 39, 1), Standing(DAY, 7, 5000))["x-ratelimit-limit"] == "500"
    assert named(Standing(MINUTE, 7, 1), Standing(DAY, 7, 5000))["x-ratelimit-limit"] == "40"


def test_what_is_not_limited_is_not_told() -> None:
    assert named() == {}
    assert not any(name.endswith(("limit", "requests")) for name in named(Standing(TOKENS, 1, 1)))
