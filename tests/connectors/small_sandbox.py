"""A small generated shop and its first morning, for tests: quick to build, with every kind of item in it."""

from __future__ import annotations

import datetime as dt

from connectors.sandbox.catalogue import ShopConfig

CONFIG = ShopConfig(seed=3, start=dt.date(2024, 11, 1), items=40, suppliers=5, web_customers=300)
AS_OF = dt.date(2025, 1, 30)
"""90 days on: Christmas and a Chinese New Year's Day are behind."""
KEY = b"a key that only this test knows"
