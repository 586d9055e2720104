"""Every parameter of forecasting, validated, with defaults chosen by rolling origins and not for any one data set."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
"""Probability levels of the quantiles of every forecast."""

QUANTILE_COLUMNS = tuple("q" + f"{level:.3f}"[2:].removesuffix("0") for level in LEVELS)
"""q01 q025 q05 q10 q15 ... q90 q95 q975 q99, in the order of `LEVELS`."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BoostedConfig(_Section):
    """The global gradient-boosted trees (XGBoost)."""

    enabled: bool = Field(True, description="off: not trained and not blended")
    rounds: int = Field(300, ge=1, description="trees")
    depth: int = Field(6, ge=1, le=16, description="of each tree")
    learning_rate: float = Field(0.04, gt=0, le=1, description="what each tree adds counts so much")
    rows: int = Field(
        600_000,
        ge=100,
        description="days to learn from at most, drawn over series, origins and lead days; the LSTM learns from them too",
    )
    rows_per_series: int = Field(150, ge=1, description="more than so many rows of a series say little new")
    rows_least: int = Field(100_000, ge=100, description="what few series may use all the same")
    min_child_weight: float = Field(30.0, ge=0, description="least evidence behind a leaf")
    subsample: float = Field(0.5, gt=0, le=1, description="share of the rows each tree sees")
    columns: float = Field(0.4, gt=0, le=1, description="share of the features each tree sees")


class RecurrentConfig(_Section):
    """The global LSTM (neuralforecast)."""

    enabled: bool = Field(True, description="off: not trained and not blended")
    hidden: int = Field(64, ge=4, description="units of each layer")
    layers: int = Field(1, ge=1, le=4, description="of the network")
    steps: int = Field(400, ge=1, description="gradient steps; many more learn a short history by heart")
    batch: int = Field(256, ge=1, description="series per gradient step")
    window: int = Field(28, ge=7, description="days the network looks back")
    learning_rate: float = Field(5e-3, gt=0, description="highest, of a one-cycle schedule")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the decoder's units left out in each step")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where it runs; auto: on a GPU when there is one; cuda: training fails without one"
    )
    min_series: int = Field(20, ge=1, description="with fewer series there is nothing global to learn")


class AccuracyConfig(_Section):
    """What issued forecasts are scored on once their days have come, and when that makes an alert."""

    lead_days: tuple[int, ...] = Field(
        (1, 3, 7, 14, 21, 28), min_length=1, description="days ahead that are scored, 1 being the morning's own day"
    )
    keep_days: int = Field(63, ge=28, le=390, description="mornings so many days back stay scored")
    days: int = Field(14, ge=3, description="an alert judges the newest so many days that were scored")
    least_days: int = Field(5, ge=3, description="with fewer days nothing is judged")
    least_selling_days: int = Field(
        30,
        ge=0,
        description="with fewer days of a product at a location that sold, in stock all day, nothing is judged",
    )
    confidence: float = Field(0.99, gt=0.5, lt=1, description="one-sided, of Student's t with days as observations")
    wape_margin: float = Field(0.10, ge=0, description="WAPE may exceed that of training by this share of it")
    bias_margin: float = Field(0.10, ge=0, description="bias may move from that of training by so much")

    @field_validator("lead_days")
    @classmethod
    def _within_the_horizon(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= day <= 28 for day in days):
            raise ValueError("lead_days are between 1 and 28")
        return tuple(sorted(set(days)))


class ChallengeConfig(_Section):
    """When a newly trained model takes the place of the one in use, and when it has to give it back."""

    days: int = Field(7, ge=3, le=28, description="newest days that both are judged on, if neither was trained on them")
    least_days: int = Field(3, ge=1, description="with fewer such days the one in use stays")
    tolerance: float = Field(0.02, ge=0, description="the new one's pinball loss may be worse by this share of it")
    trial_days: int = Field(
        7, ge=0, description="so long after it came into use an alert may bring the former one back"
    )
    keep_models: int = Field(
        8, ge=3, description="newest models that are kept, beside the one in use and the former one"
    )


class FeaturesConfig(_Section):
    """What the daily cycle tells the models besides sales, discounts and opening days; a group of columns each."""

    calendar: bool = Field(
        True, description="holidays, the days around them, and weekends that are worked, by the place's country"
    )
    new_year: Literal["auto", "on", "off"] = Field(
        "auto",
        description="the weeks around the lunar new year. auto: where the place's country or one of"
        " `holiday_countries` celebrates it",
    )
    weather: bool = Field(
        True, description="temperature and precipitation as they were forecast, where weather is landed before its day"
    )
    observed_weather: bool = Field(False, description="temperature and precipitation of past days")
    price: bool = Field(False, description="the regular price against what it was in the last 90 days")
    index: bool = Field(True, description="outside indices by category, where some were imported")
    attributes: bool = Field(
        True, description="brand of the product, kind and country of the place; the category is always told"
    )


class ForecastConfig(_Section):
    """Parameters of `train` and `forecast`. What a run used is recorded with its result."""

    missing_days: Literal["auto", "zero", "unknown"] = Field(
        "auto",
        description="what a day without a row means: nothing sold, or not known. auto: not known where the file states"
        " zeros of its own, nothing sold where it states none",
    )
    min_days: int = Field(28, ge=1, description="observed days a series needs for the learned models")
    stale_days: int = Field(60, ge=1, description="a series without a row for so long is withheld")
    origins: int | None = Field(
        None,
        ge=1,
        le=12,
        description="held-out origins inside the history that blend and calibration see: so many, as far as the history"
        " goes. null: 4, and more where there are few series (`held_out_days`)",
    )
    origin_step: int = Field(7, ge=1, description="days between held-out origins")
    held_out_days: int = Field(
        20_000,
        ge=0,
        description="days of series that held-out origins should hold where `origins` is null; where 4 hold fewer there are up"
        " to 12, half a horizon apart",
    )
    history_days: int = Field(1100, ge=56, description="older days are left out")
    spike_factor: float = Field(20.0, gt=1, description="days above so many times the usual selling day are cut to it")
    phantom_stock: bool = Field(
        True, description="runs of days without a sale that are improbable with stock count as days without stock"
    )
    phantom_days: int = Field(
        28, ge=1, description="so many days of such a run at most; what still does not sell then is no longer wanted"
    )
    boosted: BoostedConfig = BoostedConfig()
    recurrent: RecurrentConfig = RecurrentConfig()
    accuracy: AccuracyConfig = AccuracyConfig()
    challenge: ChallengeConfig = ChallengeConfig()
    features: FeaturesConfig = FeaturesConfig()
