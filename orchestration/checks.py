"""Facts that must hold before the next step may go on, and one that is looked for every morning.

dbt's tests are checks of the marts already (`orchestration.assets.marts`), and block what comes after them. Belongs
here: what SQL over one build cannot know, such as which morning it is for. Each is named after the fact it states, and
says what to do where it does not hold. An error blocks; a warning is only shown.
"""

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from ml.wording import how_many
from orchestration.assets.marts import POOL, cycle_date
from orchestration.assets.planning import INPUTS, NOTHING_YET, PROPOSALS, QUANTILES
from orchestration.resources import StockflowResource
from orchestration.settings import Business

if TYPE_CHECKING:
    import duckdb

    from orchestration.planning.quality import Quality

DEMAND = dg.AssetKey(["fct_demand_daily"])
STOCK_COUNT = dg.AssetKey(["rpt_stock_count"])
PLANNED = dg.AssetCheckKey(PROPOSALS, "this_morning_is_planned")

GAP_DAYS = 7
"""Demand older than this is not the demand of a business that is running."""
REGULAR_DAYS = 28
MOST = 0.5


def quality_checks(business: Business) -> list[dg.AssetChecksDefinition]:
    timezone = business.timezone

    @dg.asset_check(
        asset=DEMAND,
        blocking=True,
        pool=POOL,
        description="The marts are built up to this morning, and demand goes up to the last day on which anybody was open.",
    )
    def demand_reaches_the_evening_before(
        context: dg.AssetCheckExecutionContext, stockflow: StockflowResource
    ) -> dg.AssetCheckResult:
        morning = cycle_date(context, timezone)
        with stockflow.app.warehouse.connect() as db:
            return demand_reaches(db, morning)

    @dg.asset_check(
        asset=DEMAND,
        blocking=True,
        pool=POOL,
        description="No location that sells every day sold nothing at all the day before: its sales have not arrived.",
    )
    def sales_arrived_from_every_location(
        context: dg.AssetCheckExecutionContext, stockflow: StockflowResource
    ) -> dg.AssetCheckResult:
        morning = cycle_date(context, timezone)
        with stockflow.app.warehouse.connect() as db:
            return sales_arrived(db, morning)

    @dg.asset_check(
        asset=STOCK_COUNT,
        pool=POOL,
        description="What the books have on the shelf still sells; what stopped as only an empty shelf does is to be counted.",
    )
    def stock_still_sells(stockflow: StockflowResource) -> dg.AssetCheckResult:
        from operations import alerts

        app = stockflow.app
        with app.warehouse.connect() as db:
            result = still_sells(db)
        with app.engine.begin() as db:
            if result.passed:
                alerts.resolve(db, "stock-count")
            else:
                alerts.raise_alert(db, "stock-count", result.description, severity="info")
        return result

    @dg.asset_check(
        asset=QUANTILES,
        blocking=True,
        description="Each series has a forecast for every day of the horizon, with quantiles in order.",
    )
    def forecasts_cover_every_day(
        context: dg.AssetCheckExecutionContext, stockflow: StockflowResource
    ) -> dg.AssetCheckResult:
        morning = cycle_date(context, timezone)
        return forecasts_cover(
            str(stockflow.app.settings.forecasts / morning.isoformat() / "quantiles.parquet"), morning
        )

    @dg.asset_check(
        asset=QUANTILES,
        description="Issued forecasts of the last days turned out as well as training promised (forecast.yaml: accuracy).",
    )
    def forecast_quality_holds(
        context: dg.AssetCheckExecutionContext, stockflow: StockflowResource
    ) -> dg.AssetCheckResult:
        from orchestration.planning import quality
        from orchestration.planning.forecasting import read_forecast_config

        app = stockflow.app
        config = read_forecast_config(app.settings.home / "forecast.yaml")
        with app.warehouse.connect() as db:
            found = quality.assess(db, app.settings.models, cycle_date(context, timezone), config)
        return quality_holds(found)

    @dg.asset_check(
        asset=INPUTS,
        blocking=True,
        description="Stock is known for most series that are forecast; blocks where it was known and no longer is.",
    )
    def stock_is_known_for_most_series(
        context: dg.AssetCheckExecutionContext, stockflow: StockflowResource
    ) -> dg.AssetCheckResult:
        from ml.replenishment.freezing import thaw
        from orchestration.planning.cycle import frozen_hash_of

        app = stockflow.app
        morning = cycle_date(context, timezone)
        marker = app.settings.forecasts / morning.isoformat() / "frozen"
        inputs = thaw(frozen_hash_of(app.engine, morning) or marker.read_text().strip(), str(app.settings.frozen))
        counted = set(zip(inputs.position["item"], inputs.position["location"], strict=True))
        series = set(zip(inputs.forecasts["sku"], inputs.forecasts["location"], strict=True))
        return stock_is_known(len(series & counted), len(series), _withheld_before(app.engine, morning))

    @dg.asset_check(
        asset=PROPOSALS,
        name=PLANNED.name,
        description="Two hours after planning begins, this morning's orders have been proposed.",
    )
    def this_morning_is_planned(stockflow: StockflowResource) -> dg.AssetCheckResult:
        from operations import alerts
        from orchestration.planning.cycle import frozen_hash_of

        app = stockflow.app
        engine = app.engine
        today = dt.datetime.now(ZoneInfo(timezone)).date()
        if not app.manifest.files(entity="order_line"):
            # A deployment that has not begun is not late.
            return dg.AssetCheckResult(
                passed=True, metadata={NOTHING_YET: "Nothing to plan from yet: pull or import orders."}
            )
        planned = frozen_hash_of(engine, today) is not None
        with engine.begin() as db:
            if planned:
                alerts.resolve(db, "cycle-late")
            else:
                message = f"Nothing is proposed for {today} yet: look at the runs of daily_planning_job in the web UI."
                alerts.raise_alert(db, "cycle-late", message)
        return dg.AssetCheckResult(passed=planned, metadata={"morning": today.isoformat()})

    return [
        demand_reaches_the_evening_before, sales_arrived_from_every_location, stock_still_sells, forecasts_cover_every_day,
        forecast_quality_holds, stock_is_known_for_most_series, this_morning_is_planned,
    ]  # fmt: skip


def demand_reaches(db: "duckdb.DuckDBPyConnection", morning: dt.date) -> dg.AssetCheckResult:
    """Closed days need no demand; an old end of it (an import of a former year, a dead feed) is an error."""
    built_to = db.execute("SELECT max(cycle_date) FROM landing.build").fetchone()[0]
    newest = db.execute("SELECT max(business_date) FROM marts.fct_demand_daily WHERE business_date < ?", [morning])
    newest = newest.fetchone()[0]
    metadata = {"built up to the morning of": str(built_to), "newest demand": str(newest)}
    if newest is None:
        return _result(False, "There is no demand before this morning: pull or import orders.", metadata, warn=True)
    open_days = db.execute(
        """
        WITH day AS (SELECT unnest(generate_series($newest::DATE + 1, $morning::DATE - 1, INTERVAL 1 DAY))::DATE AS date_on),
        place AS (
            SELECT DISTINCT location_key FROM marts.fct_demand_daily
            WHERE business_date BETWEEN $newest::DATE - 28 AND $newest
        ),
        closed AS (
            SELECT x.key AS location_key, o.date_on FROM landing.opening_day AS o
            JOIN operations.xref AS x ON x.kind = 'location' AND x.source = o.source AND x.source_id = o.location_code
            WHERE o.superseded_load IS NULL AND NOT o.is_open
        )
        SELECT count(DISTINCT day.date_on) FROM day CROSS JOIN place ANTI JOIN closed USING (location_key, date_on)
        """,
        {"newest": newest, "morning": morning},
    ).fetchone()[0]
    metadata["open days without demand"] = open_days
    if built_to is None or built_to < morning:
        return _result(False, f"The marts are built up to {built_to}: build them for {morning} first.", metadata)
    if open_days == 0:
        return _result(True, "", metadata)
    return _result(
        False,
        f"The newest demand is of {newest}, {how_many(open_days, 'open day')} before {morning}: pull or import what came since, or "
        f"plan the morning after it (--cycle-date {newest + dt.timedelta(days=1)}).",
        metadata,
        warn=open_days <= GAP_DAYS,
    )


def sales_arrived(db: "duckdb.DuckDBPyConnection", morning: dt.date) -> dg.AssetCheckResult:
    """A location is regular when it sold on all but at most one of its last open days, and silent when regular but
    without any sale on the evening before, though open. Most of them silent is an error: their demand would count as
    none."""
    regular, silent = db.execute(
        """
        WITH day AS (
            SELECT location_key, business_date, sum(lines) AS lines FROM marts.fct_demand_daily
            WHERE is_open AND business_date >= $morning::DATE - 1 - $days AND business_date < $morning
            GROUP BY ALL
        ),
        place AS (
            SELECT location_key,
                   count(*) FILTER (business_date < $morning::DATE - 1) AS days,
                   count(*) FILTER (business_date < $morning::DATE - 1 AND lines > 0) AS sold,
                   max(business_date) = $morning::DATE - 1 AS was_open,
                   coalesce(sum(lines) FILTER (business_date = $morning::DATE - 1), 0) AS lines
            FROM day GROUP BY ALL
        )
        SELECT count(*), coalesce(list(coalesce(l.name, location_key) ORDER BY location_key) FILTER (lines = 0), [])
        FROM place LEFT JOIN marts.dim_location AS l USING (location_key)
        WHERE was_open AND days >= 14 AND sold >= days - 1
        """,
        {"morning": morning, "days": REGULAR_DAYS},
    ).fetchone()
    metadata = {"locations that sell every day": regular, "silent the day before": ", ".join(silent) or "none"}
    if not silent:
        return _result(True, "", metadata)
    return _result(
        False,
        f"{len(silent)} of {regular} locations that sell every day sold nothing the day before ({', '.join(silent[:5])}): "
        "see whether their sales arrived, pull again, or state that they were closed.",
        metadata,
        warn=len(silent) <= MOST * regular,
    )


def still_sells(db: "duckdb.DuckDBPyConnection", shown: int = 10) -> dg.AssetCheckResult:
    """The first `shown` to count, by what a day without them loses."""
    (count,) = db.execute("SELECT count(*) FROM marts.rpt_stock_count").fetchone()
    worst = db.execute(
        """
        SELECT coalesce(i.item_code, i.item_key), i.name, l.name, c.on_hand, c.days_without_sale, c.sold_per_day
        FROM marts.rpt_stock_count AS c JOIN marts.dim_item AS i USING (item_key)
        JOIN marts.dim_location AS l USING (location_key) ORDER BY c.sold_per_day DESC, i.item_key, l.location_key LIMIT $shown
        """,
        {"shown": shown},
    ).fetchall()
    rows = [
        f"| {code} {name} | {place} | {float(on_hand):g} | {days} | {per_day:.2f} |"
        for code, name, place, on_hand, days, per_day in worst
    ]
    head = ["| item | where | on hand | days without a sale | sold a day before |", "| --- | --- | --- | --- | --- |"]
    metadata: dict = {"to count": count}
    if rows:
        metadata["first"] = dg.MetadataValue.md("\n".join(head + rows))
    says = f"Count the stock of {how_many(count, 'item')} that the books have and that stopped selling as only an empty shelf does. "
    says += "See rpt_stock_count for which, where and since when."
    return _result(not count, says, metadata, warn=True)


def forecasts_cover(path: str, morning: dt.date) -> dg.AssetCheckResult:
    import duckdb

    from orchestration.planning.history import HORIZON_DAYS

    with duckdb.connect() as db:
        series, short, disordered = db.execute(
            """
            WITH series AS (
                SELECT sku, location, model, count(DISTINCT date) AS days, min(date)::DATE AS first, max(date)::DATE AS last,
                       count(*) FILTER (NOT coalesce(mean >= 0 AND isfinite(mean) AND q01 <= q10 AND q10 <= q50
                                                     AND q50 <= q90 AND q90 <= q99, false)) AS disordered
                FROM read_parquet($path) GROUP BY ALL
            )
            SELECT count(DISTINCT (sku, location)),
                   count(*) FILTER (days <> $horizon OR first <> $morning OR last <> $morning::DATE + $horizon - 1),
                   count(*) FILTER (disordered > 0)
            FROM series
            """,
            {"path": path, "morning": morning, "horizon": HORIZON_DAYS},
        ).fetchone()
    metadata = {"series": series, "with days missing": short, "with quantiles out of order": disordered}
    says = f"Forecasts that lack days: {short}, with quantiles out of order: {disordered}. Train again (weekly_training_job)."
    return _result(not short and not disordered, says, metadata)


def quality_holds(found: "Quality") -> dg.AssetCheckResult:
    metadata = {"all forecasts": found.lately.says, "the model in use": found.champion.says}
    says = f"{found.says} See rpt_forecast_quality for where; `stockflow models` for which models there are."
    return _result(not found.is_worse, says, metadata, warn=True)


def stock_is_known(known: int, series: int, uncounted_before: int | None) -> dg.AssetCheckResult:
    """Who counts no stock yet is only warned; stock that was known in the cycle before and is not now is an error."""
    metadata = {"series": series, "with known stock": known}
    if series == 0 or known >= MOST * series:
        return _result(True, "", metadata)
    says = f"Stock is known for {known} of {series} series: see whether the stock feed arrived, or import stock levels."
    was_known = uncounted_before is not None and uncounted_before < MOST * series
    return _result(False, says, metadata, warn=not was_known)


def _withheld_before(engine, morning: dt.date) -> int | None:
    """Series withheld in the newest cycle before for want of a stock count; None before the first."""
    from operations import proposals

    earlier = [row["cycle_date"] for row in proposals.cycles(engine, 400) if row["cycle_date"] < morning]
    if not earlier:
        return None
    return sum(row["reason"] == "no_stock_count" for row in proposals.find_withheld(engine, max(earlier)))


def _result(passed: bool, says: str, metadata: dict, *, warn: bool = False) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        passed=bool(passed), severity=severity, metadata=metadata, description=None if passed else says
    )
