"""Small shops for replenishment tests: tables with sensible values, of which a test changes what it is about."""

from __future__ import annotations

import datetime as dt
import hashlib

import numpy as np
import pandas as pd

from ml.replenishment import FrozenInputs, Parameters, propose
from ml.replenishment.inputs import QUANTILE_COLUMNS, QUANTILES

MONDAY = dt.date(2026, 3, 2)


def sample(forecasts: pd.DataFrame, n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Independent days, by inverse transform between the quantiles; every series has a stream of its own."""
    rows = forecasts.sort_values(["sku", "location", "date"])
    keys, paths = [], []
    for (sku, location), own in rows.groupby(["sku", "location"], sort=True):
        digest = hashlib.sha256(f"{seed}/{sku}/{location}".encode()).digest()
        chance = np.random.default_rng(int.from_bytes(digest[:8], "big")).random((n, len(own)))
        values = own[list(QUANTILE_COLUMNS)].to_numpy()
        paths.append(np.stack([np.interp(chance[:, d], QUANTILES, values[d]) for d in range(len(own))], axis=1))
        keys.append((sku, location))
    return pd.DataFrame(keys, columns=["sku", "location"]), np.stack(paths)


def forecast(sku, location="S1", mean=10.0, sd=0.0, days=28, model="blend", start=MONDAY):
    """Normal demand per day, cut at zero; `mean` may be one number or one per day."""
    from statistics import NormalDist

    means = np.broadcast_to(np.asarray(mean, dtype=float), days)
    normal = [NormalDist().inv_cdf(q) for q in QUANTILES]
    rows = [
        {"sku": sku, "location": location, "date": start + dt.timedelta(days=day), "model": model, "mean": means[day]}
        | {name: max(0.0, means[day] + sd * z) for name, z in zip(QUANTILE_COLUMNS, normal, strict=True)}
        for day in range(days)
    ]
    return pd.DataFrame(rows)


def stock(item="A", location="S1", on_hand=0, **more):
    return {"item": item, "location": location, "on_hand": on_hand, "unit": "each", **more}


def offer(supplier="Nordmilk", item="A", price=6, **more):
    return {"supplier": supplier, "item": item, "unit_price": price, "currency": "EUR", "unit": "each", **more}


def supplier(name="Nordmilk", lead=2.0, sd=0.0, **more):
    values = {"supplier": name, "currency": "EUR", "lead_time_days": lead, "lead_time_sd_days": sd}
    return {**values, **more}


def product(item="A", price=10, **more):
    return {"item": item, "base_unit": "each", "price": price, **more}


def coming(item="A", location="S1", quantity=0, expected_on=MONDAY, **more):
    values = {"item": item, "location": location, "document": "PO1", "supplier": "Nordmilk", "unit": "each"}
    return {**values, "quantity": quantity, "expected_on": expected_on, **more}


def shop(
    position=None, offers=None, suppliers=None, items=None, forecasts=None, parameters=None, **tables
) -> FrozenInputs:
    """One store S1, one item A that sells 10 a day for 10 EUR and is bought at 6 from Nordmilk, 2 days, any day.

    Goods are on sale on the day they arrive, service target 95 %, unless `parameters` say otherwise.
    """
    settings = {"receiving_days": 0, "policy": {"service_target": 0.95}, **(parameters or {})}
    return FrozenInputs(
        position=pd.DataFrame(position or [stock()]),
        offers=pd.DataFrame(offers or [offer()]),
        suppliers=pd.DataFrame(suppliers or [supplier()]),
        items=pd.DataFrame(items or [product()]),
        forecasts=forecast("A") if forecasts is None else forecasts,
        parameters=Parameters.model_validate(settings),
        **{name: rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows)) for name, rows in tables.items()},
    )


def decide(inputs: FrozenInputs, day: dt.date = MONDAY, seed: int = 1):
    return propose(inputs, "f" * 64, day, sample, seed)


def quantity(inputs: FrozenInputs, item="A", location="S1", kind="buy", day: dt.date = MONDAY) -> float:
    """Quantity proposed for one series, 0 when nothing is."""
    rows = decide(inputs, day).proposals
    rows = rows[(rows["item"] == item) & (rows["location"] == location) & (rows["kind"] == kind)]
    return float(rows["quantity"].iat[0]) if len(rows) else 0.0
