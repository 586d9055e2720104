"""From a requirement to an order: packs, minimums, price breaks and a supplier's minimum order amount.

Belongs here: exact arithmetic on lots. A quantity is rounded once, straight from base units to a whole number of packs;
from then on it is an integer. Does not belong here: how much is required, and from whom.

Quantities are int64 micro-units (millionths of a base unit), which hold the six decimals of every stored quantity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from ml.replenishment.errors import ReplenishmentError

MICRO = 1_000_000


class InexactPack(ReplenishmentError):
    """A pack is not a whole number of millionths of a base unit, so no order of it could be stated exactly."""


@dataclass(frozen=True)
class Lot:
    """What can be ordered: multiples of `pack` micro-units, none or at least `minimum` packs.

    `tiers`: (packs from which the price applies, price per order unit), ascending; `pack_quantity` in order units.
    """

    pack: int
    minimum: int
    pack_quantity: Decimal
    tiers: tuple[tuple[int, Decimal], ...]

    def price(self, packs: int) -> Decimal:
        """Unit price in order units at this many packs."""
        return max(tier for tier in self.tiers if tier[0] <= max(packs, self.minimum))[1]

    def amount(self, packs: int) -> Decimal:
        """Price of the order in the offer's currency, to the hundredth of a cent."""
        return (packs * self.pack_quantity * self.price(packs)).quantize(Decimal("0.0001"))


def lot(pack_quantity: Decimal, moq: Decimal, conversion: Fraction, tiers: Sequence[tuple[Decimal, Decimal]]) -> Lot:
    """The lot of an offer in `pack_quantity` and `moq` order units; `conversion` base units make one order unit.

    `tiers`: (minimum quantity in order units, unit price). Below the first tier there is no price, so it is a minimum
    as well. Raises InexactPack.
    """
    pack = Fraction(pack_quantity) * conversion * MICRO
    if pack.denominator != 1 or pack < 1:
        raise InexactPack(f"a pack of {pack_quantity} is not an exact number of base units")
    steps: dict[int, Decimal] = {}
    for quantity, price in sorted(tiers):
        steps[_ceil(Fraction(quantity) / Fraction(pack_quantity))] = price
    minimum = max(1, _ceil(Fraction(moq) / Fraction(pack_quantity)), min(steps))
    return Lot(int(pack), minimum, pack_quantity, tuple(sorted(steps.items())))


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def micro(quantity: np.ndarray) -> np.ndarray:
    """Float base units as int64 micro-units; below half a millionth is zero."""
    return np.rint(np.clip(np.asarray(quantity, dtype=float), -9e12, 9e12) * MICRO).astype(np.int64)


def exact(micro_units: int) -> Decimal:
    """Micro-units as the shortest exact Decimal.

    >>> exact(240_000_000), exact(1_500_000)
    (Decimal('240'), Decimal('1.5'))
    """
    number = Decimal(int(micro_units)).scaleb(-6).normalize()
    return number.quantize(Decimal(1)) if number == number.to_integral() else number


def neighbours(required: np.ndarray, pack: np.ndarray, minimum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orderable packs just below and just above `required` micro-units; both 0 where nothing is required."""
    required = np.maximum(required, 0)
    below = required // pack
    below = np.where(below < minimum, 0, below)
    above = np.where(required > 0, np.maximum(-(-required // pack), minimum), 0)
    return below, above


def up_to_breaks(
    packs: np.ndarray,
    break_packs: np.ndarray,
    break_prices: np.ndarray,
    pack: np.ndarray,
    holding: np.ndarray,
    daily_demand: np.ndarray,
    most: np.ndarray,
) -> np.ndarray:
    """Packs after buying up to the next price break as long as that lowers the cost.

    `packs` [rows]; `break_packs` [rows, k] ascending, the first tier included, padded with a number no order reaches;
    `break_prices` [rows, k] per base unit; `pack` base units; `holding` per base unit and day; `most` packs that can be
    sold in time. Going from c to b units pays when the price cut on b exceeds holding the extra units until they are
    used: b (p_c - p_b) > h (b² - c²) / (2 d). Only the next break is considered, then the next after it, so a larger
    requirement never ends in a smaller order.
    """
    packs = packs.copy()
    rows = np.arange(len(packs))
    for _ in range(break_packs.shape[1] - 1):
        tier = np.maximum((break_packs <= packs[:, None]).sum(axis=1) - 1, 0)
        following = np.minimum(tier + 1, break_packs.shape[1] - 1)
        target = break_packs[rows, following]
        saved = target * pack * (break_prices[rows, tier] - break_prices[rows, following])
        held = holding * ((target * pack) ** 2 - (packs * pack) ** 2) / (2 * np.maximum(daily_demand, 1e-6))
        pays = (packs > 0) & (target > packs) & (target <= most) & (saved > held)
        if not pays.any():
            break
        packs = np.where(pays, target, packs)
    return packs


@dataclass(frozen=True)
class OrderLine:
    """A line as the minimum order amount sees it: base units, base units per day; `most` packs sell in time; `rate` is
    the minimum's currency for one unit of the lot's."""

    lot: Lot
    packs: int
    position: float
    daily_demand: float
    most: int
    rate: Decimal = Decimal(1)


def converted(lot: Lot, packs: int, rate: Decimal) -> Decimal:
    """Price of `packs` at `rate`, to the hundredth of a cent."""
    amount = lot.amount(packs)
    return amount if rate == 1 else (amount * rate).quantize(Decimal("0.0001"))


def top_up(
    lines: Sequence[OrderLine], minimum_amount: Decimal, longest_days: int = 365
) -> tuple[list[int], int] | None:
    """Packs per line that bring an order to its supplier's minimum, and the days of cover each line then has.

    All lines are raised to the same days of cover, the least that suffices: the goods that run out first are brought
    forward first. None when `longest_days` do not suffice.
    """

    def at_cover(days: int) -> list[int]:
        packs = []
        for line in lines:
            wanted = line.daily_demand * days - line.position
            enough = -(-int(micro(np.array(wanted))) // line.lot.pack)
            packs.append(max(line.packs, min(enough, line.most)))
        return packs

    def amount(days: int) -> Decimal:
        return sum(
            (converted(line.lot, packs, line.rate) for line, packs in zip(lines, at_cover(days), strict=True)),
            start=Decimal(0),
        )

    if amount(longest_days) < minimum_amount:
        return None
    low, high = 0, longest_days
    while low < high:
        middle = (low + high) // 2
        if amount(middle) >= minimum_amount:
            high = middle
        else:
            low = middle + 1
    return at_cover(low), low
