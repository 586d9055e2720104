"""Random effects: what estimates of differing certainty say together, and how far each of them is to be believed.

Belongs here: pooling estimates whose truths vary, drawing them to 0 as far as their evidence is thin, and the crossed effects
of groups on the log of a level. Does not belong here: which series are grouped by what, and what is made of the effects
(`ml.forecast.launch`, whose equation (1) is fitted here).

Crossed effects and their variances are found by variational expectation-maximisation; each effect is a mean over its series,
drawn towards 0 as far as its own evidence is thin (empirical Bayes: Robinson 1991, That BLUP is a Good Thing; Gelman & Hill
2007, chapter 13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDS = 40
# The variance of log-levels where there are no two to tell it by.
_UNHEARD = 4.0


def variance_between(estimate: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The variance tau^2 [...] of the truths behind estimates [..., n] with error variances `noise`, by the method of moments:

        tau^2 = max(sum w (x - m)^2 - (n - 1), 0) / (sum w - sum w^2 / sum w),   w = 1 / noise,   m = sum w x / sum w

    (DerSimonian & Laird 1986). An estimate with infinite noise says nothing; of fewer than two others tau^2 is 0.
    """
    weight = 1 / noise
    total = np.maximum(weight.sum(-1), 1e-12)
    mean = (weight * estimate).sum(-1) / total
    count = (weight > 0).sum(-1)
    excess = (weight * (estimate - mean[..., None]) ** 2).sum(-1) - (count - 1)
    between = np.maximum(excess, 0.0) / np.maximum(total - (weight**2).sum(-1) / total, 1e-12)
    return np.where(count > 1, between, 0.0)


def pooled(estimate: np.ndarray, noise: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and error variance [...] of estimates [..., n] with error variances `noise` of truths that vary by `between` [...];
    0 and infinite where no estimate says anything."""
    weight = 1 / (noise + between[..., None])
    total = weight.sum(-1)
    some = total > 0
    safe = np.where(some, total, 1.0)
    return (weight * estimate).sum(-1) / safe, np.where(some, 1 / safe, np.inf)


def shrunk(estimate: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`estimate` of deviations from 0 with error variances `noise`, drawn to 0 by tau^2 / (tau^2 + noise).

    tau^2, the variance of the true deviations, is the precision-weighted mean of estimate^2 - noise (Morris 1983). Infinite
    noise gives 0.
    """
    weight = 1 / np.maximum(noise, 1e-12)
    if not np.isfinite(noise).any() or weight.sum() <= 0:
        return np.zeros_like(estimate)
    # Nothing weighs more than ten times the usual, or one cell would speak for all.
    weight = np.minimum(weight, 10 * np.median(weight[weight > 0]))
    error = np.where(np.isfinite(noise), noise, 0.0)
    tau = max(float(np.average(np.where(weight > 0, estimate**2 - error, 0.0), weights=weight)), 0.0)
    return np.where(np.isfinite(noise), estimate * tau / (tau + error + 1e-12), 0.0)


@dataclass(frozen=True)
class Effects:
    """Equation (1) of `ml.forecast.launch` fitted: `mu`; for each group `u` and `v`, its effects and their variances [K_g], `tau` and the `rest`."""

    mu: float
    u: tuple[np.ndarray, ...]
    v: tuple[np.ndarray, ...]
    tau: np.ndarray
    rest: float
    others: tuple[tuple[np.ndarray, np.ndarray], ...]
    """For each group, effect and variance [N] of each series' own group as its other members alone say."""

    def without_own(self, unknown: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance [N] of the log-level of each series as the others say; `unknown` [G] effects count as not known."""
        unknown = np.zeros(len(self.tau), bool) if unknown is None else unknown
        mean, variance = self.mu, self.rest
        for group, (u, v) in enumerate(self.others):
            mean, variance = (mean, variance + self.tau[group]) if unknown[group] else (mean + u, variance + v)
        return mean, variance

    def of(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance [n] of the log-level of series that are not among these; `codes` [G, n], -1 not known."""
        mean, variance = np.full(codes.shape[1], self.mu), np.full(codes.shape[1], self.rest)
        for group, code in enumerate(codes):
            known = code >= 0
            mean[known] += self.u[group][code[known]]
            variance += np.where(
                known, self.v[group][np.maximum(code, 0)] if len(self.v[group]) else 0, self.tau[group]
            )
        return mean, variance


def fit_effects(value: np.ndarray, noise: np.ndarray, codes: np.ndarray, sizes: list[int]) -> Effects:
    """Fit equation (1) of `ml.forecast.launch` to log-levels `value` [N] with error variances `noise` [N] (infinite: says nothing) and `codes` [G, N]."""
    use = np.isfinite(noise)
    weight = np.where(use, 1.0, 0.0)
    start = float(np.var(value[use])) if use.sum() > 1 else _UNHEARD
    groups = len(codes)
    tau, rest = np.full(groups, max(start, 1e-3) / (groups + 1)), max(start, 1e-3) / (groups + 1)
    safe = [np.where(code >= 0, code, size) for code, size in zip(codes, sizes, strict=True)]
    u = [np.zeros(size + 1) for size in sizes]
    v = [np.zeros(size + 1) for size in sizes]
    error = np.where(use, noise, 1.0)
    value = np.where(use, value, 0.0)
    mu = float(np.average(value, weights=weight)) if use.any() else 0.0
    total = np.zeros(len(value))
    sums = [(np.zeros(1), np.zeros(1))] * groups
    for _ in range(_ROUNDS):
        weight = np.where(use, 1 / (error + rest), 0.0)
        if not use.any():
            break
        mu = float(np.average(value - total, weights=weight))
        for group in range(groups):
            code, size = safe[group], sizes[group]
            total = total - u[group][code]
            top = np.bincount(code, weight * (value - mu - total), size + 1)
            low = np.bincount(code, weight, size + 1)
            seen = (low[:size] > 0).sum()
            u[group], v[group] = top / (low + 1 / tau[group]), 1 / (low + 1 / tau[group])
            u[group][size] = 0.0
            tau[group] = max(float((u[group][:size] ** 2 + v[group][:size])[low[:size] > 0].sum()) / max(seen, 1), 1e-6)
            total = total + u[group][code]
            sums[group] = (top, low)
        squared = (value - mu - total) ** 2 + sum(v[group][safe[group]] for group in range(groups))
        gain = rest / (rest + error)
        rest = max(float((gain**2 * squared + gain * error)[use].mean()), 1e-6)
    others = []
    for group in range(groups):
        code, known = safe[group], codes[group] >= 0
        top = np.bincount(code, weight * (value - mu - total + u[group][code]), sizes[group] + 1)
        low = np.bincount(code, weight, sizes[group] + 1)
        top = top[code] - weight * (value - mu - total + u[group][code])
        low = np.maximum(low[code] - weight, 0.0)
        precision = low + 1 / tau[group]
        others.append((np.where(known, top / precision, 0.0), np.where(known, 1 / precision, tau[group])))
    return Effects(
        mu, tuple(part[:-1] for part in u), tuple(part[:-1] for part in v), tau, rest, tuple(others)
    )  # fmt: skip
