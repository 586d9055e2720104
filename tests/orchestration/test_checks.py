"""The checks on data that is right, and on data that is wrong in the way each of them is there for."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import duckdb
import pytest

from ml.forecast.config import QUANTILE_COLUMNS
from orchestration.checks import demand_reaches, forecasts_cover, sales_arrived, still_sells, stock_is_known
from orchestration.execution import failures
from orchestration.planning.history import HORIZON_DAYS

MORNING = dt.date(2026, 3, 2)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def outcome(result: dg.AssetCheckResult) -> str | dg.AssetCheckSeverity:
    assert result.passed == (result.description is None)
    return "passed" if result.passed else result.severity


@pytest.fixture
def db():
    """Two locations that sold each day up to the evening before."""
    with duckdb.connect() as made:
        made.execute("CREATE SCHEMA marts; CREATE SCHEMA landing; CREATE SCHEMA operations")
        made.execute("CREATE TABLE landing.build AS SELECT ?::DATE AS cycle_date", [MORNING])
        made.execute(
            """
            CREATE TABLE marts.fct_demand_daily AS
            SELECT place AS location_key, day::DATE AS business_date, 3 AS lines, true AS is_open
            FROM (SELECT unnest(['S1', 'S2']) AS place)
            CROSS JOIN (SELECT unnest(generate_series(DATE '2026-01-01', DATE '2026-03-01', INTERVAL 1 DAY)) AS day)
            """
        )
        made.execute("CREATE TABLE marts.dim_location AS SELECT unnest(['S1', 'S2']) AS location_key, 'Shop' AS name")
        made.execute(
            "CREATE TABLE landing.opening_day (source TEXT, location_code TEXT, date_on DATE, is_open BOOL, superseded_load INT)"
        )
        made.execute(
            "CREATE TABLE operations.xref AS SELECT 'location' AS kind, 'erp' AS source, unnest(['1', '2']) AS source_id, "
            "unnest(['S1', 'S2']) AS key"
        )
        yield made


def test_demand_up_to_the_evening_before_passes(db):
    assert outcome(demand_reaches(db, MORNING)) == "passed"


def test_demand_that_ends_early_warns_and_then_blocks(db):
    db.execute("DELETE FROM marts.fct_demand_daily WHERE business_date > '2026-02-25'")
    result = demand_reaches(db, MORNING)
    assert outcome(result) == WARN
    assert "4 open days before 2026-03-02" in result.description
    assert "--cycle-date 2026-02-26" in result.description
    db.execute("DELETE FROM marts.fct_demand_daily WHERE business_date > '2026-02-15'")
    assert outcome(demand_reaches(db, MORNING)) == ERROR


def test_days_on_which_everybody_was_closed_are_not_missed(db):
    db.execute("DELETE FROM marts.fct_demand_daily WHERE business_date >= '2026-02-28'")
    for code in "12":
        db.execute("INSERT INTO landing.opening_day VALUES ('erp', ?, '2026-02-28', false, NULL)", [code])
        db.execute("INSERT INTO landing.opening_day VALUES ('erp', ?, '2026-03-01', false, NULL)", [code])
    assert outcome(demand_reaches(db, MORNING)) == "passed"
    db.execute("UPDATE landing.opening_day SET superseded_load = 1 WHERE location_code = '2'")
    assert outcome(demand_reaches(db, MORNING)) == WARN


def test_marts_of_a_morning_before_block(db):
    db.execute("UPDATE landing.build SET cycle_date = '2026-03-01'")
    assert outcome(demand_reaches(db, MORNING)) == ERROR


def test_no_demand_at_all_only_warns(db):
    db.execute("DELETE FROM marts.fct_demand_daily")
    assert outcome(demand_reaches(db, MORNING)) == WARN


def test_a_silent_location_warns_and_most_of_them_block(db):
    assert outcome(sales_arrived(db, MORNING)) == "passed"
    db.execute("UPDATE marts.fct_demand_daily SET lines = 0 WHERE business_date = '2026-03-01' AND location_key = 'S2'")
    result = sales_arrived(db, MORNING)
    assert outcome(result) == WARN
    assert "1 of 2 locations" in result.description
    db.execute("UPDATE marts.fct_demand_daily SET lines = 0 WHERE business_date = '2026-03-01'")
    assert outcome(sales_arrived(db, MORNING)) == ERROR
    # Closed that day, or one that does not sell every day anyway: no reason to be missed.
    db.execute("DELETE FROM marts.fct_demand_daily WHERE business_date = '2026-03-01' AND location_key = 'S1'")
    db.execute("UPDATE marts.fct_demand_daily SET lines = 0 WHERE location_key = 'S2' AND day(business_date) % 5 = 0")
    assert outcome(sales_arrived(db, MORNING)) == "passed"


def forecasts(path, *, days: int = HORIZON_DAYS, q50: float = 5.0, first: dt.date = MORNING) -> str:
    quantiles = ", ".join(f"{q50 if q == 'q50' else float(i)} AS {q}" for i, q in enumerate(QUANTILE_COLUMNS))
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT sku, 'S1' AS location, 'blend' AS model, DATE '{first}' + day::INT AS date, 3.0 AS mean, "
            f"{quantiles} FROM (SELECT unnest(['A', 'B']) AS sku) CROSS JOIN range({days}) AS r(day)) "
            f"TO '{path}' (FORMAT parquet)"
        )
    return str(path)


def test_forecasts_must_cover_the_horizon_in_order(tmp_path):
    middle = float(QUANTILE_COLUMNS.index("q50"))
    path = tmp_path / "quantiles.parquet"
    assert outcome(forecasts_cover(forecasts(path, q50=middle), MORNING)) == "passed"
    assert outcome(forecasts_cover(forecasts(path, q50=middle, days=27), MORNING)) == ERROR
    assert outcome(forecasts_cover(forecasts(path, q50=99.0), MORNING)) == ERROR
    late = forecasts(path, q50=middle, first=MORNING + dt.timedelta(days=1))
    assert outcome(forecasts_cover(late, MORNING)) == ERROR


def test_stock_that_was_known_must_still_be_known():
    assert outcome(stock_is_known(100, 100, None)) == "passed"
    assert outcome(stock_is_known(0, 0, None)) == "passed"
    assert outcome(stock_is_known(10, 100, None)) == WARN, "nobody ever counted"
    assert outcome(stock_is_known(10, 100, 95)) == WARN, "nor the day before"
    assert outcome(stock_is_known(10, 100, 3)) == ERROR, "the feed broke over night"


def test_a_check_that_blocks_stops_what_comes_next_and_says_why():
    """In a job as ours are run: the sentence of the check is the reason that people are given."""

    @dg.asset
    def demand():
        return 1

    @dg.asset_check(asset=demand, blocking=True)
    def demand_is_there():
        return stock_is_known(0, 10, 0)

    @dg.asset(deps=[demand])
    def planned():
        raise AssertionError("must not be planned")

    job = dg.Definitions(
        [demand, planned], asset_checks=[demand_is_there], jobs=[dg.define_asset_job("job")]
    ).resolve_job_def("job")  # fmt: skip
    result = job.execute_in_process(raise_on_error=False)
    assert not result.success
    (reason,) = failures(result)
    assert reason.startswith("demand_is_there: Stock is known for 0 of 10 series")


def test_stock_to_count_is_told_with_the_best_sellers_first(db):
    db.execute(
        "CREATE TABLE marts.rpt_stock_count (item_key TEXT, location_key TEXT, on_hand DECIMAL(18, 6), "
        "days_without_sale BIGINT, sold_per_day DECIMAL(18, 6))"
    )
    db.execute(
        "CREATE TABLE marts.dim_item AS SELECT * FROM (VALUES ('i1', 'A', 'Tea'), ('i2', NULL, 'Milk')) t(item_key, item_code, name)"
    )
    assert outcome(still_sells(db)) == "passed"
    db.execute("INSERT INTO marts.rpt_stock_count VALUES ('i1', 'S1', 12, 9, 1.5), ('i2', 'S2', 3, 6, 4)")
    found = still_sells(db)
    assert outcome(found) == WARN
    assert found.description.startswith("Count the stock of 2 items that the books have")
    assert found.metadata["first"].value.splitlines()[2:] == [
        "| i2 Milk | Shop | 3 | 6 | 4.00 |", "| A Tea | Shop | 12 | 9 | 1.50 |",
    ]  # fmt: skip
