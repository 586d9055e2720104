"""Whether the forecasts that were issued turned out as training promised, and what is done when they did not.

Belongs here: reading scores, raising and settling the alert, going back to the former model. Does not belong here: the
rule itself (`ml.forecast.watching`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from sqlalchemy import Engine

from operations import alerts
from orchestration.planning import models as register
from orchestration.planning.models import Decision

if TYPE_CHECKING:
    import pandas as pd

    from ml.forecast.config import ForecastConfig
    from ml.forecast.watching import Verdict

ALERT = "forecast-quality"

# Twice the days that are judged: what was scored before is no news.
_SCORED = """
    SELECT business_date, model_id, least((lead_day - 1) // 7 + 1, 4) AS week,
           CAST(sum(sales) AS DOUBLE) AS sales, sum(error) AS error,
           CAST(coalesce(sum(sales) FILTER (NOT ran_out), 0) AS DOUBLE) AS sales_in_stock,
           coalesce(sum(absolute_error) FILTER (NOT ran_out), 0) AS absolute_error,
           count(DISTINCT (item_key, location_key)) FILTER (sales > 0 AND NOT ran_out) AS selling
    FROM marts.fct_forecast_accuracy
    WHERE model = 'blend' AND business_date < $morning AND business_date >= $morning::DATE - 2 * $days
    GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Quality:
    """`lately`: all forecasts of the days judged; `champion`: only those of the model in use. A new model must not hide
    behind the good days of the one before it, nor long leads behind short ones while it is young."""

    lately: Verdict
    champion: Verdict

    @property
    def is_worse(self) -> bool:
        return self.lately.is_worse or self.champion.is_worse

    @property
    def is_well(self) -> bool:
        """Told apart from not known: both that can be judged are well, and one can be."""
        known = [verdict for verdict in (self.lately, self.champion) if verdict.wape == verdict.wape]
        return bool(known) and all(verdict.is_well for verdict in known)

    @property
    def says(self) -> str:
        if self.champion.is_worse or self.champion == self.lately:
            return f"The model in use: {self.champion.says}"
        return f"All forecasts: {self.lately.says} The model in use: {self.champion.says}"


def assess(db: duckdb.DuckDBPyConnection, models: Path, morning: dt.date, config: ForecastConfig) -> Quality:
    """The verdict that the days before `morning` allow; changes nothing."""
    from ml.forecast import ArtefactError
    from ml.forecast.artefacts import read_scores
    from ml.forecast.watching import judge, trained_quality

    scored = db.execute(_SCORED, {"morning": morning, "days": config.accuracy.days}).df()
    trained = {}
    for model_id in scored["model_id"].unique():
        try:
            trained[model_id] = trained_quality(read_scores(models / model_id)) if model_id else {}
        except ArtefactError:
            continue  # deleted since: what it promised is not known any more
    in_use = register.champion(models)
    own = scored[scored["model_id"] == (in_use.model_id if in_use else "")]
    return Quality(judge(scored, trained, config.accuracy), judge(own, trained, config.accuracy))


def by_day(db: duckdb.DuckDBPyConnection, morning: dt.date, days: int = 56) -> pd.DataFrame:
    """business_date, model, wape: of blend and seasonal naive on days in stock, for the last `days` before `morning`."""
    query = """
        SELECT business_date, model, sum(absolute_error) / nullif(CAST(sum(sales) AS DOUBLE), 0) AS wape
        FROM marts.fct_forecast_accuracy
        WHERE model IN ('blend', 'seasonal_naive') AND NOT ran_out
            AND business_date < $morning AND business_date >= $morning::DATE - $days
        GROUP BY ALL ORDER BY ALL
    """
    return db.execute(query, {"morning": morning, "days": days}).df()


def watch(
    engine: Engine, quality: Quality, models: Path, morning: dt.date, history: pd.DataFrame, config: ForecastConfig
) -> Decision | None:
    """Raises or settles the alert; where the model in use is young and worse, goes back to the one before it if that
    would have done better on the days since. Returns that decision, if it was taken."""
    with engine.begin() as db:
        if quality.is_worse:
            message = f"Forecasts are worse than their training promised. {quality.says} See rpt_forecast_quality."
            detail = {"lately": _plain(quality.lately), "champion": _plain(quality.champion)}
            alerts.raise_alert(db, ALERT, message, severity="warning", detail=detail)
        elif quality.is_well:
            alerts.resolve(db, ALERT)
    decision = _going_back(models, morning, history, config) if quality.champion.is_worse else None
    if decision is not None:
        register.decide(engine, models, decision)
    return decision


def _going_back(models: Path, morning: dt.date, history: pd.DataFrame, config: ForecastConfig) -> Decision | None:
    """The decision to use the former model again, None where it is too late, gone or would have been no better."""
    from ml.forecast import ArtefactError, load
    from ml.forecast.contest import hold_contest
    from orchestration.planning.covariates import lacking
    from orchestration.planning.forecasting import unseen_days

    in_use = register.champion(models)
    if in_use is None or in_use.previous is None or in_use.since is None:
        return None
    if (morning - in_use.since).days > config.challenge.trial_days:
        return None
    try:
        champion, former = load(models / in_use.model_id), load(models / in_use.previous)
    except ArtefactError:
        return None
    if lacking(champion, history) or lacking(former, history):
        return None
    days = min(unseen_days(champion, history), unseen_days(former, history))
    if days < config.challenge.least_days:
        return None
    contest = hold_contest(champion, former, history, days)
    if not contest.challenger.pinball < contest.champion.pinball:
        return None
    message = (
        f"Forecasts went back from the model {in_use.model_id} to {in_use.previous}: from {contest.first} to "
        f"{contest.last} pinball loss {contest.champion.pinball:.4f} and WAPE {contest.champion.wape:.3f}, where "
        f"{in_use.previous} has {contest.challenger.pinball:.4f} and {contest.challenger.wape:.3f}."
    )
    figures = {in_use.model_id: asdict(contest.champion), in_use.previous: asdict(contest.challenger)}
    return Decision("roll_back", in_use.previous, morning, message, "system:planner", in_use.model_id,
                    (contest.first, contest.last), figures)  # fmt: skip


def _plain(verdict: Verdict) -> dict[str, object]:
    """For JSON, which knows no NaN."""
    return {name: None if value != value else value for name, value in asdict(verdict).items()}
