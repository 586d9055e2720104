"""Every feature belongs to a group, and a group that is left out is never seen."""

from __future__ import annotations

import numpy as np

from benchmarks import ablation
from ml.forecast.sample import Sample

NAMES = (
    "lead", "weekday", "log_level", "mean_7", "trend", "age", "zero_share", "spread", "highest", "days_since_sale",
    "weekday_mean_4", "profile", "in_stock_7", "in_stock_weekday", "location_in_stock", "demand_7", "demand_weekday_1",
    "sku_trend", "all_profile", "discount", "discount_before", "discount_response", "holiday_flag_change", "precpt_last",
    "avg_temperature_mean_7", "static_city",
)  # fmt: skip


def test_only_the_lead_belongs_to_no_group():
    grouped = np.any([ablation.members(group, NAMES) for group in ablation.GROUPS], axis=0)
    assert [name for name, mine in zip(NAMES, grouped, strict=True) if not mine] == ["lead"]


def test_leaving_out_a_group_drops_its_columns_from_the_training_rows():
    values = np.arange(2.0 * len(NAMES)).reshape(1, 2, -1)
    sample = Sample(np.zeros(1, int), np.zeros(1, int), values, np.ones((1, 2)), np.ones((1, 2)), NAMES, 0.5)
    group = "each product's own response to discount, promotion, holiday"
    fewer = ablation.without(sample, ablation.members(group, NAMES))
    assert set(NAMES) - set(fewer.names) == {"discount_response"}
    assert fewer.values.shape == (1, 2, len(NAMES) - 1)
    assert fewer.values[0, 0, -1] == sample.values[0, 0, -1]
    assert fewer.damping == 0.5
