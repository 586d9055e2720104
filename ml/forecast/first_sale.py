"""What a first day tells that was picked for having a sale: how much a product sells at a time, and how often such a one sells.

Belongs here: what the days with a sale of other series say of both. Does not belong here: which days are first ones, and
the level that they are evidence of (`ml.forecast.launch`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ml.forecast.effects import shrunk

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class _Sizes:
    """How much days [N, D] with a sale sell: `mean` log [N] of each series, `selling` such days [N]; over the series with two or
    more, the `usual` mean log and the variances `between` series and `within` one, from day to day."""

    mean: np.ndarray
    selling: np.ndarray
    usual: float
    between: float
    within: float

    @property
    def lasting(self) -> float:
        """The part of what one day differs by from the usual that stays with the series."""
        return self.between / (self.between + self.within) if self.within > 0 else 1.0


def _sizes(sold: np.ndarray, exposure: np.ndarray) -> _Sizes | None:
    """None where fewer than two series tell."""
    selling = (sold > 0) & (exposure > 0)
    days = selling.sum(1)
    heard = days >= 2
    if heard.sum() < 2:
        return None
    size = np.log(np.where(selling, sold, 1.0))
    mean = size.sum(1) / np.maximum(days, 1)
    within = float(((size - mean[:, None]) ** 2 * selling)[heard].sum() / (days[heard] - 1).sum())
    between = max(float(np.var(mean[heard])) - within * float((1 / days[heard]).mean()), 0.0)
    return _Sizes(mean, days, float(mean[heard].mean()), between, within)


def chance_of_sale(first: np.ndarray, sold: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """The share [N] of days [N, D] in stock on which each series sells, as its own days and those of the others say: a Beta
    distribution, by its moments.

    What sells much at a time mostly sells often, too. So the mean of that distribution goes by the log x of how much the
    `first` [N] day sold, 0 where there is none,

        E[share | x] = mean + b (x - usual),    b = cov(share, mean log) / (between + within)                          (1)

    with the variance of a single day below the line, since x is one; b is drawn to 0 as far as its error is large.
    """
    days, selling = (exposure > 0).sum(1), ((sold > 0) & (exposure > 0)).sum(1)
    # Of what did not sell at all, nothing says whether it is on sale.
    told = (days >= 7) & (selling > 0)
    if not told.any():
        return np.ones(len(sold))
    share = selling[told] / days[told]
    mean, sizes = float(share.mean()), _sizes(sold, exposure)
    fitted, expected = mean, np.full(len(sold), mean)
    if sizes is not None:
        usual, one = float(sizes.mean[told].mean()), max(sizes.between + sizes.within, _TINY)
        size = sizes.mean[told] - usual
        slope = float((size * (share - mean)).mean()) / one
        error = float(np.var(share - slope * size)) / (len(share) * one)
        slope = float(shrunk(np.array([slope]), np.array([error]))[0])
        least = float(share.min())
        fitted = np.clip(mean + slope * size, least, 1.0)
        of_first = mean + slope * (np.log(np.where(first > 0, first, 1.0)) - usual)
        expected = np.where(first > 0, np.clip(of_first, least, 1.0), mean)
    between = float(((share - fitted) ** 2).mean()) - float((share * (1 - share) / days[told]).mean())
    # As many days as all series together count for in each.
    weight = np.clip(expected * (1 - expected) / max(between, 1e-9) - 1, 0.5, 1e6)
    return (selling + weight * expected) / (days + weight)


def size_of_sale(
    first: np.ndarray, sold: np.ndarray, exposure: np.ndarray, improbable: float, other_order: float
) -> np.ndarray:
    """What a selling day of each series sells in the mean, as its `first` [N] and the days [N, D] of the others say, that vary
    log-normally between series and from day to day. A first day that is improbably high, with a probability below `improbable`
    and `other_order` times the usual, is taken for one that is not, and one that is improbably low is no day like those of the
    others, and heard as it is."""
    sizes = _sizes(sold, exposure)
    if sizes is None:
        return first
    most = max(ndtri(1 - improbable) * np.sqrt(sizes.between + sizes.within), np.log(other_order))

    def drawn(value: np.ndarray) -> np.ndarray:
        distance = np.log(value) - sizes.usual
        return np.where(distance < -most, value, np.exp(sizes.usual + sizes.lasting * np.minimum(distance, most)))

    known = sold[sizes.selling >= 2]
    known = known[known > 0]
    smear = float(known.sum()) / float(drawn(known).sum())
    return np.where(first > 0, smear * drawn(np.where(first > 0, first, 1.0)), 0.0)
