"""Writes numbers within the bounds that several schemas set together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.writing import DeadEndError
from sealgate.providers.sandbox.schema.check import is_multiple
from sealgate.providers.sandbox.schema.values import likely_range

TRIES = 40
SCAN = 400
"""Neighbours looked at, one after the other, where chance found nothing."""


class Bounds(NamedTuple):
    """Exact limits, None where there is none; ``open`` excludes the limit itself."""

    low: Fraction | None = None
    low_open: bool = False
    high: Fraction | None = None
    high_open: bool = False
    steps: tuple[float, ...] = ()

    def hold(self, value: Fraction) -> bool:
        """Whether the value lies within."""
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        return self.high is None or not (value > self.high or (self.high_open and value == self.high))


def bounds_of(schemas: Sequence[dict[str, Any]]) -> Bounds:
    """The limits of all schemas together."""
    low: tuple[Fraction, bool] | None = None
    high: tuple[Fraction, bool] | None = None
    steps = []
    for schema in schemas:
        for bound, is_open in _limits(schema, "minimum", "exclusiveMinimum"):
            low = max(low, (bound, is_open)) if low else (bound, is_open)
        for bound, is_open in _limits(schema, "maximum", "exclusiveMaximum"):
            # False sorts first, so an open limit must count as the lower one: compare by its negation.
            high = min(high, (bound, is_open), key=lambda limit: (limit[0], not limit[1])) if high else (bound, is_open)
        if "multipleOf" in schema:
            steps.append(schema["multipleOf"])
    low_bound, low_open = low or (None, False)
    high_bound, high_open = high or (None, False)
    return Bounds(low_bound, low_open, high_bound, high_open, tuple(steps))


def _limits(schema: dict[str, Any], closed: str, opened: str) -> list[tuple[Fraction, bool]]:
    found = []
    if closed in schema:
        found.append((Fraction(schema[closed]), schema.get(opened) is True))
    if opened in schema and not isinstance(schema[opened], bool):
        found.append((Fraction(schema[opened]), True))
    return found


def write_number(
    schemas: Sequence[dict[str, Any]],
    chance: Chance,
    name: str,
    *,
    whole: bool,
    fractional: bool,
    fits: Callable[[float], bool],
) -> float:
    """A number within all bounds: an integer if ``whole``, never one if ``fractional``. Raises `DeadEndError`."""
    bounds = bounds_of(schemas)
    low, high = _window(bounds, name)
    if whole or bounds.steps:
        return _on_grid(bounds, low, high, chance, whole=whole, fits=fits)
    for attempt in range(TRIES):
        chance.budget.spend(6)
        value = _between(low, high, chance, digits=(1, 2, 4, 9)[min(attempt // 4, 3)])
        if fractional and value.is_integer():
            continue
        if bounds.hold(Fraction(value)) and fits(value):
            return value
    for value in _corners(bounds, low, high):
        if bounds.hold(Fraction(value)) and fits(value):
            return value
    raise DeadEndError


def _window(bounds: Bounds, name: str) -> tuple[Fraction, Fraction]:
    """Where to look: the plausible range where it meets the bounds, else the bounds, else a stretch beside the one."""
    likely_low, likely_high = map(Fraction, likely_range(name))
    low = likely_low if bounds.low is None else max(likely_low, bounds.low)
    high = likely_high if bounds.high is None else min(likely_high, bounds.high)
    if low < high:
        return low, high
    if bounds.low is None:
        top = low if bounds.high is None else bounds.high
        return top - 100, top
    return bounds.low, bounds.low + 100 if bounds.high is None else bounds.high


def _on_grid(
    bounds: Bounds, low: Fraction, high: Fraction, chance: Chance, *, whole: bool, fits: Callable[[float], bool]
) -> float:
    """A multiple of all steps (and of 1 if ``whole``), near the window if none lies in it."""
    step = Fraction(1 if whole else 0)
    for each in bounds.steps:
        step = _common(step, Fraction(repr(each))) if step else Fraction(repr(each))
    first, last = math.ceil(low / step), math.floor(high / step)
    if first > last:
        first, last = _widened(bounds, step, first)
    for attempt in range(TRIES + SCAN):
        chance.budget.spend(6)
        turn = attempt - TRIES
        count = chance.below(last - first + 1) + first if turn < 0 else first + turn
        if count > last:
            break
        exact = count * step
        value: float = int(exact) if exact.denominator == 1 else float(exact)
        if bounds.hold(Fraction(value)) and all(is_multiple(value, each) for each in bounds.steps) and fits(value):
            return value
    raise DeadEndError


def _widened(bounds: Bounds, step: Fraction, near: int) -> tuple[int, int]:
    """The grid's multiples over all that the bounds leave, at most ``SCAN`` of them."""
    first = near - SCAN // 2 if bounds.low is None else math.ceil(bounds.low / step)
    last = first + SCAN if bounds.high is None else math.floor(bounds.high / step)
    if first > last:
        raise DeadEndError
    return first, last


def _common(one: Fraction, other: Fraction) -> Fraction:
    """The least common multiple of two fractions."""
    return Fraction(math.lcm(one.numerator, other.numerator), math.gcd(one.denominator, other.denominator))


def _between(low: Fraction, high: Fraction, chance: Chance, digits: int) -> float:
    share = Fraction(chance.below(1_000_001), 1_000_000)
    return round(float(low + (high - low) * share), digits)


def _corners(bounds: Bounds, low: Fraction, high: Fraction) -> list[float]:
    """Values worth a try in a very narrow range."""
    ends = [float(end) for end in (low, high)]
    return [
        float((low + high) / 2),
        *ends,
        math.nextafter(ends[0], math.inf),
        math.nextafter(ends[1], -math.inf),
        *(float(bound) for bound in (bounds.low, bounds.high) if bound is not None),
    ]
