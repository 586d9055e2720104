"""A week in which forecasts are issued, scored and watched, and a new model is trained and compared."""

from __future__ import annotations

import datetime as dt

import duckdb
import pytest

from operations import alerts
from orchestration import health
from orchestration.planning import models, quality
from orchestration.planning.forecasting import read_forecast_config
from tests.e2e.small_home import MORNING, small_home

DAYS = 6


@pytest.mark.long
def test_a_week_of_issued_forecasts_is_scored_and_the_next_model_compared():
    with small_home() as home:
        settings = home.app.settings
        # Some weekly job runs today, whatever day the shop has: it sees what has been landed and built by then.
        for number in range(DAYS + 1):
            morning = MORNING + dt.timedelta(days=number)
            home.pass_days(morning)
            home.run(day=morning)
        first = models.champion(settings.models)
        assert first.since == MORNING
        with duckdb.connect(str(settings.published / "stockflow.duckdb"), read_only=True) as db:
            scored = dict(
                db.execute(
                    "SELECT business_date, count(DISTINCT lead_day) FROM marts.fct_forecast_accuracy GROUP BY ALL"
                ).fetchall()
            )
            wape, bias = db.execute(
                "SELECT wape, bias FROM marts.rpt_forecast_quality "
                "WHERE model = 'blend' AND category = 'all' AND horizon_week = 0"
            ).fetchone()
        assert scored == {MORNING + dt.timedelta(days=n): 1 if n < 2 else 2 for n in range(DAYS)}
        config = read_forecast_config(settings.home / "forecast.yaml")
        with home.app.warehouse.connect() as db:
            found = quality.assess(db, settings.models, morning, config)
        assert found.champion.days == DAYS
        assert found.champion.wape > 0
        assert 0 < wape < 2
        assert abs(bias) < 0.5
        home.run("weekly_training_job")
        noted = models.decisions(settings.models)
        assert noted[0]["action"] == "promote"
        assert len(noted) == 2
        assert len(noted[1]["figures"]) == 2
        assert len(models.listed(settings.models)) == 2
        (told,) = [row for row in alerts.find(home.app.engine) if row["alert_key"].startswith(models.ALERT)]
        assert told["message"] == noted[1]["message"]
        print(found.says, told["message"], sep="\n")
        worse = any(row["alert_key"] == quality.ALERT for row in alerts.find(home.app.engine))
        assert worse == found.is_worse
        assert worse or all(check.ok for check in health.examine())
