"""`stockflow forecast` on files, as a user runs it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from ml.forecast.config import QUANTILE_COLUMNS
from orchestration.cli.forecast import forecast

CONFIG = "boosted: {rounds: 20, rows: 20000, depth: 4}\nrecurrent: {enabled: false}\n"


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(forecast)
    return app


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(2)
    days = pd.date_range("2025-01-01", periods=104)
    frame = pd.DataFrame({"sku": [f"{i:04d}" for i in range(25)]}).merge(pd.DataFrame({"date": days}), how="cross")
    frame = frame.assign(location="S1", discount=(rng.random(len(frame)) < 0.2) * 0.2, in_stock_share=1.0, category="x")
    frame["quantity"] = rng.poisson(np.where(frame["date"].dt.dayofweek > 4, 9, 4) * (1 + 2 * frame["discount"]))
    past = frame["date"] < days[90]
    frame[past].to_csv(tmp_path / "history.csv", index=False)
    frame[~past].drop(columns=["quantity", "in_stock_share"]).to_parquet(tmp_path / "future.parquet", index=False)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def test_csv_in_parquet_out_with_the_quality_table(app, files):
    out, why = files / "FORECASTS.parquet", files / "WHY.csv"
    told = CliRunner().invoke(
        app,
        [str(files / "history.csv"), "--future", str(files / "future.parquet"), "--horizon", "14", "--known-future", "discount",
         "--static", "category", "--availability", "in_stock_share", "--out", str(out), "--explain", str(why),
         "--config", str(files / "config.yaml")],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "seasonal_naive" in told.output
    assert str(out) in told.output
    written = pd.read_parquet(out)
    assert list(written.columns) == [
        "sku",
        "location",
        "date",
        "model",
        "mean",
        *QUANTILE_COLUMNS,
        "similar",
        "shared",
        "whole",
    ]
    assert {"blend", "xgboost", "seasonal_naive"} <= set(written["model"])
    parts = pd.read_csv(why, dtype={"sku": str})
    assert {"level", "season", "discount"} <= set(parts["driver"])
    total = parts.groupby(["sku", "location", "date"])["contribution"].sum().to_numpy()
    assert total == pytest.approx(written.loc[written["model"] == "blend", "mean"].to_numpy(), rel=1e-4)
    blend = written[written["model"] == "blend"]
    assert len(blend) == 25 * 14
    assert blend["sku"].iloc[0] == "0000"  # codes keep their zeros


def test_a_file_in_tonnes_is_forecast_as_one_in_grams(app, files):
    history = pd.read_csv(files / "history.csv", dtype={"sku": str})
    told = []
    for name, unit in (("tonnes", 2.0**-20), ("grams", 1.0)):
        out = files / f"{name}.csv"
        history.assign(quantity=history["quantity"] * 100.25 * unit).to_csv(files / "weighed.csv", index=False)
        said = CliRunner().invoke(
            app,
            [str(files / "weighed.csv"), "--horizon", "14", "--out", str(out), "--config", str(files / "config.yaml")],
        )
        assert said.exit_code == 0, said.output
        told.append(pd.read_csv(out)[["mean", *QUANTILE_COLUMNS]].to_numpy() / unit)
    assert told[0] == pytest.approx(told[1], rel=1e-3, abs=1e-2)


def test_hours_tell_how_much_of_a_day_was_on_the_shelf_and_sales_are_forecast_beside_demand(app, files):
    days = pd.read_csv(files / "history.csv", dtype={"sku": str})
    rng = np.random.default_rng(5)
    hours = rng.multinomial(days["quantity"], [0.1, 0.4, 0.4, 0.1])
    out = np.zeros(hours.shape, int)
    out[rng.random(len(out)) < 0.5, 2:] = 1
    hours[out == 1] = 0
    days = days.assign(quantity=hours.sum(1), sold=list(hours), empty=list(out)).drop(columns="in_stock_share")
    days.to_parquet(files / "hours.parquet", index=False)
    result = files / "out.parquet"
    arguments = [
        str(files / "hours.parquet"),
        "--hourly",
        "sold,empty",
        "--out",
        str(result),
        "--config",
        str(files / "config.yaml"),
    ]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    mean = pd.read_parquet(result).groupby("model")["mean"].mean()
    recorded = days["quantity"].mean()
    assert mean["sales"] == pytest.approx(recorded, rel=0.1)
    assert mean["blend"] == pytest.approx(recorded / 0.75, rel=0.1)  # half of the days lack the hours that sell half
    wrong = CliRunner().invoke(app, [*arguments, "--availability", "empty"])
    assert wrong.exit_code == 1
    assert "in place of --availability" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "does not exist"),
        (["history.csv", "--known-future", "discount"], "need a future table"),
        (["history.csv", "--static", "colour"], "lacks the column colour"),
        (["config.yaml"], "must be CSV or Parquet"),
        (["broken.parquet"], "cannot be read as PARQUET"),
        (["empty.csv"], "is empty"),
        (["names.csv"], "has no rows below its column names"),
        (["history.csv", "--out", "forecast.txt"], "must end in .parquet or .csv"),
        (["history.csv", "--out", "nowhere/forecast.csv"], "does not exist; create it"),
        (["history.csv", "--config", "wrong.yaml"], "boosted.rounds is 'many', but should be a valid integer"),
        (["history.csv", "--horizon", "0"], "horizon must be"),
        (["history.csv", "--hourly", "quantity,discount"], "must hold lists"),
        (["history.csv", "--hourly", "quantity"], "takes two columns"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(app, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    (files / "broken.parquet").write_bytes(b"PAR1 nonsense")
    (files / "empty.csv").write_text("")
    (files / "names.csv").write_text("sku,location,date,quantity\n")
    (files / "wrong.yaml").write_text("boosted: {rounds: many}")
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 1
    assert message in told.output
    assert "Traceback" not in told.output
    assert len([line for line in told.output.splitlines() if line.startswith("Error")]) == 1


@pytest.mark.parametrize(
    ("separator", "encoding", "decimal"), [(";", "utf-8-sig", ","), ("\t", "utf-16", "."), ("|", "gb18030", ",")]
)
def test_a_table_as_spreadsheets_write_it_is_read(app, files, separator, encoding, decimal):
    history = pd.read_csv(files / "history.csv", dtype={"sku": str}).assign(location="上海一店")
    history = history.rename(columns={"sku": "SKU", "location": " Location", "date": "Date", "quantity": "Quantity "})
    history["Quantity "] *= 0.75
    history.to_csv(files / "sheet.csv", index=False, sep=separator, encoding=encoding, decimal=decimal)
    out = files / "out.parquet"
    told = CliRunner().invoke(
        app, [str(files / "sheet.csv"), "--config", str(files / "config.yaml"), "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    written = pd.read_parquet(out)
    assert written["sku"].iloc[0] == "0000"
    assert set(written["location"]) == {"上海一店"}
    assert written["mean"].mean() == pytest.approx(history["Quantity "].mean(), rel=0.1)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["12,50", "12.50"], "The column quantity of the history must hold numbers such as 1234.5 and has '12,50' in row 2"),
        (["3", "1,250"], "has '1,250' in row 3 (A at S)"),
        (["12,50", "1.500"], "has '12,50' in row 2 (A at S)"),
        (["12,50", "1.234,5", "a few"], "has 'a few' in row 4 (A at S)"),
    ],
)  # fmt: skip
def test_numbers_that_could_be_two_are_refused_with_their_row(app, files, rows, says):
    lines = [f"A;S;2025-01-0{day};{quantity}" for day, quantity in enumerate(rows, 1)]
    (files / "sheet.csv").write_text("\n".join(["sku;location;date;quantity", *lines]))
    told = CliRunner().invoke(app, [str(files / "sheet.csv"), "--out", str(files / "out.csv")])
    assert told.exit_code == 1
    assert says in told.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--known-future", "discount", "--future", "plan.csv"], "has '10%' in row 2 (0000 at S1)"),
        (["--known-future", "discount", "--tune", "0.2"], "need a future table"),
        (["--newcomers", "new.csv"], "The column first_day of the newcomers has 'soon' in row 3 (N2 at S1)"),
        (["--artefacts", "config.yaml"], "No model can be saved in config.yaml (File exists)"),
        (["--artefacts", "."], "is not empty"),
    ],
)
def test_what_cannot_be_used_in_the_end_is_said_before_training(app, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    plan = pd.read_parquet("future.parquet").assign(discount="10%")
    plan.to_csv("plan.csv", index=False)
    (files / "new.csv").write_text("sku,location,first_day\nN1,S1,2025-05-01\nN2,S1,soon\n")
    told = CliRunner().invoke(app, ["history.csv", "--config", "config.yaml", "--out", "out.csv", *arguments])
    assert told.exit_code == 1
    assert message in told.output
    assert "read:" not in told.output  # the first step of training


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("boosted: {roundz: 30}", "there is no field boosted.roundz, was boosted.rounds meant?"),
        ("nonsense: 1", "there is no field nonsense. Correct it"),
        ("spike_factor: 0.5\nboosted: {depth: 40}",
         "spike_factor is 0.5, but should be greater than 1; boosted.depth is 40, but should be less than or equal to 16."),
        ("accuracy: {lead_days: [1, 40]}", "accuracy.lead_days is [1, 40], but lead_days are between 1 and 28."),
        ("accuracy: {least_sales: 100}", "accuracy.least_sales is no more; there is accuracy.least_selling_days, which"),
        ("boosted: 3", "boosted is 3, but should be"),
        ("boosted:\n\trounds: 3", "is not YAML from line 2 on."),
        ("- 1", "does not hold fields such as `min_days: 28`."),
    ],
)  # fmt: skip
def test_all_that_is_wrong_in_a_configuration_is_said_at_once(app, files, text, message):
    (files / "wrong.yaml").write_text(text)
    told = CliRunner().invoke(app, [str(files / "history.csv"), "--config", str(files / "wrong.yaml")])
    assert told.exit_code == 1
    assert message in told.output
    assert "docs/forecasting.md lists every field" in told.output


@pytest.mark.parametrize(("quantity", "says"), [(0, "Nothing was sold on the held-out days"), (7, "blend")])
def test_where_there_is_nothing_to_compare_with_nothing_is_made_up(app, files, quantity, says):
    pd.read_csv(files / "history.csv", dtype=str).assign(quantity=quantity).to_csv(files / "flat.csv", index=False)
    given = [str(files / "flat.csv"), "--config", str(files / "config.yaml"), "--out", str(files / "out.parquet")]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert says in told.output
    assert "nan" not in told.output


def test_every_series_that_is_withheld_can_be_had_with_its_reason(app, files):
    history = pd.read_csv(files / "history.csv", dtype=str)
    gone = (history["sku"] < "0012") & (history["date"] > "2025-01-20")
    history[~gone].to_csv(files / "gone.csv", index=False)
    given = [str(files / "gone.csv"), "--config", str(files / "config.yaml"), "--out", str(files / "out.parquet")]
    told = CliRunner().invoke(app, given)
    assert "  and 2 more: --withheld FILE writes them all" in told.output
    told = CliRunner().invoke(app, [*given, "--withheld", str(files / "withheld.csv")])
    assert f"  and 2 more: {files / 'withheld.csv'}" in told.output
    written = pd.read_csv(files / "withheld.csv", dtype=str)
    assert list(written["sku"]) == [f"{number:04d}" for number in range(12)]
    assert set(written["reason"]) == {"no row since 2025-01-20, 70 days before the end (stale_days = 60)"}


def test_a_country_tells_holidays_that_nobody_wrote_down(app, tmp_path):
    """Sales double on public holidays: known ahead from the calendar alone, without a future file."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    days = pd.date_range("2024-01-01", "2025-04-29")
    off = {"2024-05-01", "2024-10-03", "2024-12-25", "2024-12-26", "2025-01-01", "2025-04-18", "2025-04-21", "2024-05-09",
           "2024-05-20", "2024-01-01", "2024-03-29", "2024-04-01"}  # fmt: skip
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"sku": [f"P{n}" for n in range(30)]}).merge(pd.DataFrame({"date": days}), how="cross")
    rate = np.where(frame["date"].dt.strftime("%Y-%m-%d").isin(off), 60, 15)
    frame.assign(location="S1", quantity=rng.poisson(rate)).to_csv(tmp_path / "history.csv", index=False)
    out = tmp_path / "out.parquet"
    told = CliRunner().invoke(
        app,
        [str(tmp_path / "history.csv"), "--country", "de", "--horizon", "7", "--out", str(out), "--config",
         str(tmp_path / "config.yaml")],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    mean = pd.read_parquet(out).query("model == 'blend'").groupby("date")["mean"].mean()
    assert mean.loc["2025-05-01"] > 1.8 * mean.drop("2025-05-01").max()


def test_what_a_future_table_and_the_calendar_say_twice_or_to_nobody_is_told(app, files):
    given = [str(files / "history.csv"), "--future", str(files / "future.parquet"), "--out", str(files / "out.parquet"),
             "--config", str(files / "config.yaml")]  # fmt: skip
    told = CliRunner().invoke(app, [*given, "--country", "DE"])
    assert told.exit_code == 0, told.output
    assert "Note: the future table is not used: name its columns with --known-future." in told.output
    told = CliRunner().invoke(app, [*given, "--country", "DE", "--known-future", "discount,holiday"])
    assert told.exit_code == 1
    assert "The column holiday comes with --country; leave it out of --known-future." in told.output


@pytest.mark.parametrize(
    ("country", "columns", "says"),
    [("XX", {}, "There is no calendar of the country 'XX'"), ("DE", {"holiday": 0}, "has a column holiday already"),
     ("DE", {"date": "soon"}, "not a date")],
)  # fmt: skip
def test_a_calendar_that_cannot_be_told_is_refused(app, files, country, columns, says):
    history = pd.read_csv(files / "history.csv", dtype=str).assign(**columns)
    history.to_csv(files / "other.csv", index=False)
    told = CliRunner().invoke(
        app, [str(files / "other.csv"), "--country", country, "--out", str(files / "out.parquet")]
    )
    assert told.exit_code == 1
    assert says in told.output


def test_years_that_the_calendar_does_not_know_are_told(app, files):
    history = pd.read_csv(files / "history.csv", dtype=str)
    history["date"] = (pd.to_datetime(history["date"]) + pd.Timedelta(days=366 * 40)).dt.strftime("%Y-%m-%d")
    history.to_csv(files / "later.csv", index=False)
    told = CliRunner().invoke(
        app,
        [str(files / "later.csv"), "--country", "CN", "--out", str(files / "out.parquet"), "--config",
         str(files / "config.yaml")],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "Note: chinesecalendar does not know China's days off" in told.output
