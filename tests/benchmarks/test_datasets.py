import numpy as np

from benchmarks.datasets import in_stock
from ml.forecast import scoring


def test_the_right_forecast_is_found_too_high_over_all_hours_in_stock_and_hardly_over_mornings():
    """Who sells much today runs dry today: sales then have fewer hours in stock to be compared in."""
    rng = np.random.default_rng(0)
    days = 60_000
    mean = rng.lognormal(1.5, 0.7, days)
    profile = np.where((np.arange(24) >= 8) & (np.arange(24) < 22), 1 / 14, 0.0)
    demand = rng.poisson((mean * rng.gamma(5, 1 / 5, days))[:, None] * profile)
    stock = np.ceil(1.3 * mean * rng.lognormal(0, 0.3, days))
    before = np.cumsum(demand, axis=1) - demand
    sold, out = np.clip(stock[:, None] - before, 0, demand), before >= stock[:, None]
    full = ~out.any(1)
    assert 0.25 < 1 - full.mean() < 0.35
    judged = in_stock(sold.astype(float), out, full)
    over_all, mornings = (
        scoring.bias(judged[f"sold_in_stock{part}"], mean * judged[f"usual_part{part}"]) for part in ("", "_morning")
    )
    assert over_all > 0.04
    assert abs(mornings) < 0.005
