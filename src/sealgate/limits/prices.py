"""What an answer costs: the operator's prices, the provider's counts, and an amount in whole nano-units.

Everything is integers. A price is kept in units of 10**-12, so the price of any count is exact; the amount of one
answer is rounded once, half to even, to 10**-9 of the currency. From there on amounts are only added, so the sum of
the ledger's rows is what was spent, to the last digit.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import msgspec

from sealgate.config_routes import Route

NANO = 10**9
PLACES = 12
"""Decimal places that a price may have."""
LARGEST = 10**9
"""The highest price."""
PRICES = (
    "input_per_mtok",
    "output_per_mtok",
    "cached_input_per_mtok",
    "cache_write_per_mtok",
    "reasoning_per_mtok",
    "per_request",
    "per_minute",
    "minimum_charge",
)
"""The settings of a route that are prices."""

_FINE = 60 * 10**9
"""How many parts of a nano-unit there are where minutes and requests are counted besides tokens."""


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """Prices of a route in 10**-12 of the currency: of a million tokens, of a request, of a minute of sound.

    ``minimum`` is in nano-units. A route without a tariff has no price; one whose tariff is `free` costs nothing.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    request: int = 0
    minute: int = 0
    minimum: int = 0
    currency: str = "USD"

    @property
    def free(self) -> bool:
        """Whether nothing ever costs anything."""
        prices = (self.input, self.output, self.cached, self.cache_write, self.reasoning)
        return not any((*prices, self.request, self.minute, self.minimum))

    def cost(
        self,
        prompt: int,
        completion: int,
        cached: int = 0,
        cache_write: int = 0,
        reasoning: int = 0,
        audio_ms: int = 0,
    ) -> int:
        """The price of one answer in nano-units.

        ``cached`` and ``cache_write`` are parts of ``prompt``, ``reasoning`` is one of ``completion``; ``audio_ms`` is
        the length of the sound that was transcribed.
        """
        parts = prompt * self.input + completion * self.output
        if cached:
            parts += cached * (self.cached - self.input)
        if cache_write:
            parts += cache_write * (self.cache_write - self.input)
        if reasoning:
            parts += reasoning * (self.reasoning - self.output)
        return self._amount(parts, audio_ms)

    def most(self, prompt: int, completion: int, audio_ms: int = 0) -> int:
        """The most that so many tokens can cost, whatever part of them is cached or reasoning; in nano-units."""
        dearest_in, dearest_out = max(self.input, self.cached, self.cache_write), max(self.output, self.reasoning)
        return self._amount(prompt * dearest_in + completion * dearest_out, audio_ms)

    def _amount(self, tokens: int, audio_ms: int) -> int:
        """In nano-units, where the tokens cost so many parts of 10**-18."""
        if self.request or self.minute:
            fine = tokens * 60 + self.request * 60_000_000 + self.minute * audio_ms * 1000
            amount = _rounded(fine, _FINE)
        else:
            amount = _rounded(tokens, NANO)
        return amount if amount > self.minimum else self.minimum


FREE = Tariff(0, 0, 0, 0, 0)
"""For what costs nothing by its nature."""


def tariff(row: Route, currency: str, *, complete: bool = True) -> Tariff | None:
    """The prices of a route, or None where it has none.

    Reading from a cache and writing to one cost as much as other tokens of the prompt unless said otherwise, reasoning
    as much as the rest of the answer. ``complete``: prompt and answer must both have a price where one has. Raises
    `ValueError`, which says what is wrong with the prices.
    """
    given = {name: price for name in PRICES if (price := getattr(row, name)) is not None}
    for name, price in given.items():
        _check(name, price)
    if row.currency not in (None, currency):
        raise ValueError(f"its prices are in {row.currency}, but [billing] currency is {currency}")
    if not given:
        return None
    if complete and ("input_per_mtok" in given) != ("output_per_mtok" in given):
        raise ValueError("input_per_mtok and output_per_mtok go together; write 0 for what costs nothing")
    if not given.keys() & {"input_per_mtok", "output_per_mtok", "per_request", "per_minute", "minimum_charge"}:
        raise ValueError(f"{next(iter(given))} alone is no price; input_per_mtok and output_per_mtok are missing")
    fine = {name: int(price.scaleb(PLACES)) for name, price in given.items()}
    prompt, answer = fine.get("input_per_mtok", 0), fine.get("output_per_mtok", 0)
    return Tariff(
        input=prompt,
        output=answer,
        cached=fine.get("cached_input_per_mtok", prompt),
        cache_write=fine.get("cache_write_per_mtok", prompt),
        reasoning=fine.get("reasoning_per_mtok", answer),
        request=fine.get("per_request", 0),
        minute=fine.get("per_minute", 0),
        minimum=_rounded(fine.get("minimum_charge", 0), 1000),
        currency=currency,
    )


@lru_cache(1024)
def nano(amount: Decimal) -> int:
    """A sum of money in whole nano-units; what is smaller than one is left out."""
    return int(Fraction(amount) * NANO)


@lru_cache(1024)
def shown(amount: int) -> str:
    """Nano-units as a decimal string: ``1500000`` is ``0.0015``. An answer says its cost twice."""
    digits = f"{abs(amount):010d}"
    rest = digits[-9:].rstrip("0")
    text = f"{digits[:-9]}.{rest}" if rest else digits[:-9]
    return f"-{text}" if amount < 0 else text


def _check(name: str, price: Decimal) -> None:
    if not price.is_finite() or not 0 <= price <= LARGEST:
        raise ValueError(f"{name} is no finite number from 0 up to {LARGEST}")
    exponent = price.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > PLACES:
        raise ValueError(f"{name} has more than {PLACES} decimal places")


def _rounded(parts: int, whole: int) -> int:
    """The nearest integer to ``parts / whole``, of two equally near ones the even one."""
    quotient = parts // whole
    twice = 2 * (parts - quotient * whole)
    return quotient + 1 if twice > whole or (twice == whole and quotient & 1) else quotient
