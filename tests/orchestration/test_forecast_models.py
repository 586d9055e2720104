"""Which model is in use: a new one has to be as good on days that neither was trained on, and one that disappoints is
taken back; every decision is written down, told and audited."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import shutil
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from connectors.errors import PermanentError
from ml.forecast import (
    QUANTILE_COLUMNS,
    ArtefactError,
    BoostedConfig,
    ChallengeConfig,
    ForecastConfig,
    OtherVersionError,
    RecurrentConfig,
    load,
)
from operations import access, alerts, audit
from operations.errors import NotAllowed
from orchestration.checks import quality_holds
from orchestration.cli import models as cli
from orchestration.planning import forecasting, quality
from orchestration.planning import models as register
from orchestration.planning.forecasting import train_and_decide, train_model
from orchestration.planning.history import DemandData
from orchestration.settings import Business

START, DAYS = dt.date(2026, 1, 5), 112
GOOD = ForecastConfig(
    boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False),
    challenge=ChallengeConfig(keep_models=3),
)  # fmt: skip
# Takes every busy day for a mistake, and so forecasts far too little.
BAD = GOOD.model_copy(update={"spike_factor": 1.01})


def history(days: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    series = 30
    mean = rng.gamma(2, 4, series) + 2
    weekday = np.array([0.4, 0.5, 0.7, 1, 1.4, 2.2, 0.8])[np.arange(DAYS) % 7]
    frame = pd.MultiIndex.from_product(
        [[f"P{n:02d}" for n in range(series)], pd.date_range(START, periods=DAYS)], names=["sku", "date"]
    ).to_frame(index=False)
    frame = frame.assign(
        location="S1", quantity=rng.poisson(mean[:, None] * weekday).ravel().astype(float), in_stock_share=1.0,
        discount=0.0, is_open=1, category="C",
    )  # fmt: skip
    return frame[frame["date"] < pd.Timestamp(START) + pd.Timedelta(days=days)].reset_index(drop=True)


def morning(days: int) -> dt.date:
    return START + dt.timedelta(days=days)


def train(engine, folder, days: int, config: ForecastConfig = GOOD):
    data = DemandData(history(days), pd.DataFrame())
    return train_and_decide(engine, data, folder, morning(days), config)[1:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two good models a week apart and a bad one, by their ids; copied by the tests that need them."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        name: train_model(DemandData(history(days), pd.DataFrame()), folder, morning(days), config)[1]
        for name, days, config in (("old", 98, GOOD), ("bad", 105, BAD), ("new", 105, GOOD))
    }
    return folder, made


@pytest.fixture
def kept(trained, tmp_path):
    """The folder of models with the first in use, and the ids."""
    folder = tmp_path / "models"
    shutil.copytree(trained[0], folder)
    register._write(folder, register.Champion(trained[1]["old"], morning(98)))
    return folder, trained[1]


def test_a_challenger_as_good_comes_into_use_and_both_figures_are_written_down(engine, tmp_path):
    first, decision = train(engine, tmp_path, 98)
    assert (decision.action, register.champion(tmp_path)) == ("promote", register.Champion(first, morning(98)))
    assert alerts.find(engine) == []
    second, decision = train(engine, tmp_path, 105)
    assert (decision.action, decision.days) == ("promote", (morning(98).isoformat(), morning(104).isoformat()))
    assert register.champion(tmp_path) == register.Champion(second, morning(105), first)
    noted = register.decisions(tmp_path)[-1]
    assert set(noted["figures"]) == {first, second}
    assert all(0 < figures["pinball"] < figures["wape"] < 1 for figures in noted["figures"].values())
    assert [row["detail"]["message"] for row in audit.entries(engine, subject="model", subject_id=second)] == [
        decision.message
    ]
    (told,) = alerts.find(engine)
    assert (told["severity"], told["message"]) == ("info", decision.message)
    again, decision = train(engine, tmp_path, 105)
    assert (again, decision.action) == (second, "keep")


def test_a_worse_challenger_is_kept_but_not_used(engine, kept):
    folder, ids = kept
    challenger, decision = train(engine, folder, 105, BAD)
    assert (challenger, decision.action, decision.model_id) == (ids["bad"], "keep", ids["old"])
    assert decision.figures[challenger]["pinball"] > decision.figures[ids["old"]]["pinball"] * 1.1
    assert register.champion(folder).model_id == ids["old"]
    assert challenger in register.model_ids(folder)


def test_when_only_a_week_has_passed_the_stand_in_is_the_one_in_use_itself(engine, kept, monkeypatch):
    folder, ids = kept
    trained_on = []
    fit = forecasting._train
    monkeypatch.setattr(forecasting, "_train", lambda rows, *rest: trained_on.append(len(rows)) or fit(rows, *rest))
    _, decision = train(engine, folder, 105)
    assert trained_on == [len(history(105))]
    ours, theirs = decision.figures[ids["old"]], decision.figures[ids["new"]]
    assert ours["pinball"] == theirs["pinball"] != theirs["pinball_having_seen_them"]
    assert decision.action == "promote"
    train(engine, folder, 112, BAD)
    assert trained_on[1:] == [len(history(112)), len(history(105))]


def test_a_model_that_its_newest_days_have_spoilt_is_not_used(engine, kept, monkeypatch):
    folder, ids = kept
    monkeypatch.setattr(forecasting, "train_model", lambda *_: (load(folder / ids["bad"]), ids["bad"]))
    _, decision = train(engine, folder, 105)
    assert (decision.action, decision.model_id) == ("keep", ids["old"])
    assert "Having seen these days" in decision.message


def test_with_too_few_unseen_days_the_one_in_use_stays(engine, kept):
    folder, ids = kept
    challenger, decision = train(engine, folder, 100)
    assert (decision.action, decision.model_id, decision.figures) == ("keep", ids["old"], {})
    assert f"stockflow models use {challenger}" in decision.message


def test_a_model_in_use_that_was_altered_is_replaced(engine, kept):
    folder, ids = kept
    (folder / ids["old"] / "model.json").write_text("{}")
    challenger, decision = train(engine, folder, 105)
    assert (decision.action, register.champion(folder).model_id) == ("promote", challenger)
    assert decision.message.endswith(f"in place of {ids['old']}, whose files are not those that were saved.")


def saved_before_an_upgrade(folder, model_id: str) -> None:
    """Makes of a kept model one that an earlier version trained: in format 2, which knew nothing of new products."""
    path = folder / model_id / "model.json"
    content = json.loads(path.read_text())
    del content["newcomers"]
    path.write_text(json.dumps(content))
    manifest = json.loads((folder / model_id / "manifest.json").read_text())
    manifest["format"] = 2
    manifest["files"]["model.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / model_id / "manifest.json").write_text(json.dumps(manifest))


def test_the_first_morning_after_an_upgrade_trains_anew_says_so_and_forecasts(engine, kept):
    folder, ids = kept
    saved_before_an_upgrade(folder, ids["old"])
    # What it issued is judged by nothing, since what it promised cannot be read.
    with scored(ids["old"], 2.0, until=105) as db:
        found = quality.assess(db, folder, morning(105), GOOD)
    assert quality.watch(engine, found, folder, morning(105), history(105), GOOD) is None
    future = pd.DataFrame({"sku": [], "location": [], "date": pd.to_datetime([]), "is_open": []})
    data = DemandData(history(105), future)
    model, model_id, decision = forecasting.model_in_use(engine, data, folder, morning(105), GOOD)
    assert decision.message == (
        f"The model {model_id} comes into use in place of {ids['old']}, which another version of Stockflow trained."
    )
    assert register.champion(folder) == register.Champion(model_id, morning(105), ids["old"])
    (told,) = [row for row in alerts.find(engine) if row["alert_key"].startswith(register.ALERT)]
    assert (told["severity"], told["message"]) == ("info", decision.message)
    made = forecasting.forecast_cycle(data, model, model_id)
    assert made.frame["sku"].nunique() == 30
    # From then on all goes as ever, and what cannot be read is listed as such and not gone back to.
    assert forecasting.model_in_use(engine, data, folder, morning(105), GOOD)[1:] == (model_id, None)
    (problem,) = [row.problem for row in register.listed(folder) if row.problem]
    assert "another version of Stockflow (in format 2" in problem
    with pytest.raises(OtherVersionError, match="train it again"):
        register.use(engine, folder, ids["old"], morning(105), actor="user:ann")
    with scored(model_id, 2.0, days=6, until=111) as db:
        found = quality.assess(db, folder, morning(111), GOOD)
    assert found.champion.is_worse
    assert quality.watch(engine, found, folder, morning(111), history(111), GOOD) is None
    assert register.champion(folder).model_id == model_id


def test_nothing_is_forecast_of_a_day_on_which_the_place_is_closed(kept):
    """Its history holds no row of a closed day, so no model knows what one is."""
    folder, ids = kept
    past = history(105)
    days = pd.date_range(past["date"].max() + pd.Timedelta(days=1), periods=28).as_unit("us")
    future = past[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days}), how="cross")
    future = future.assign(is_open=(future["date"].dt.dayofweek < 6).astype(int), discount=0.0)
    data, model = DemandData(past, future), load(folder / ids["old"])
    frame = forecasting.forecast_cycle(data, model, ids["old"]).frame
    is_sunday = frame["date"].dt.dayofweek == 6
    assert is_sunday.sum() * 7 == len(frame)
    assert (frame.loc[is_sunday, ["mean", *QUANTILE_COLUMNS]] == 0).all(axis=None)
    assert (frame.loc[~is_sunday & (frame["model"] == "blend"), "mean"] > 0).all()
    series = frame.loc[0, "sku"], frame.loc[0, "location"]
    blend = frame[(frame["model"] == "blend") & (frame["sku"] == series[0]) & (frame["location"] == series[1])]
    parts = forecasting.explain_cycle(data, model, series).groupby("date")["contribution"].sum()
    assert parts.to_numpy() == pytest.approx(blend.sort_values("date")["mean"].to_numpy(), rel=1e-4, abs=1e-4)


def test_weekly_training_replaces_a_model_of_before_an_upgrade_too_but_an_altered_one_stops_the_morning(engine, kept):
    folder, ids = kept
    saved_before_an_upgrade(folder, ids["old"])
    challenger, decision = train(engine, folder, 105)
    assert (decision.action, decision.model_id, decision.other) == ("promote", challenger, ids["old"])
    (folder / challenger / "model.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"not the one that was saved; .* `stockflow run weekly_training_job` does"):
        forecasting.model_in_use(engine, DemandData(history(106), pd.DataFrame()), folder, morning(106), GOOD)


def with_holidays(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(holiday=(rows["date"].dt.day == 1).astype(int))


def test_a_model_whose_columns_are_gone_is_replaced_and_neither_compared_nor_gone_back_to(engine, kept):
    folder = kept[0]
    config = GOOD.model_copy(update={"challenge": ChallengeConfig(keep_models=8)})
    told = DemandData(with_holidays(history(98)), pd.DataFrame())
    older = train_model(told, folder, morning(98), config)[1]
    register._write(folder, register.Champion(older, morning(98)))
    assert forecasting.model_in_use(engine, told, folder, morning(98), config)[1:] == (older, None)
    without = DemandData(history(105), pd.DataFrame())
    model, model_id, decision = forecasting.model_in_use(engine, without, folder, morning(105), config)
    assert (decision.action, decision.model_id, decision.other) == ("promote", model_id, older)
    assert "trained with holiday, which there is no more" in decision.message
    assert model.columns.known_future == ()
    assert register.champion(folder) == register.Champion(model_id, morning(105), older)
    with scored(model_id, 2.0, days=6, until=111) as db:
        found = quality.assess(db, folder, morning(111), config)
    assert found.champion.is_worse
    assert quality.watch(engine, found, folder, morning(111), history(111), config) is None


def test_a_column_that_has_come_makes_the_stand_in_another_model(engine, kept, monkeypatch):
    folder, ids = kept
    trained_on = []
    fit = forecasting._train
    monkeypatch.setattr(forecasting, "_train", lambda rows, *rest: trained_on.append(len(rows)) or fit(rows, *rest))
    data = DemandData(with_holidays(history(105)), pd.DataFrame())
    challenger, decision = train_and_decide(engine, data, folder, morning(105), GOOD)[1:]
    assert trained_on == [len(history(105)), len(history(98))]
    assert set(decision.figures) == {challenger, ids["old"]}


# -- Issued forecasts --------------------------------------------------------------------------------------------------


def scored(model_id: str, wape: float, days: int = 14, until: int = 112) -> duckdb.DuckDBPyConnection:
    """A warehouse in which the model's forecasts for tomorrow had this WAPE."""
    db = duckdb.connect()
    db.execute("CREATE SCHEMA marts")
    db.execute(
        f"""
        CREATE TABLE marts.fct_forecast_accuracy AS
        SELECT DATE '{morning(until)}' - day::INT AS business_date, '{model_id}' AS model_id, 1 AS lead_day,
               'blend' AS model, item::VARCHAR AS item_key, 'L' AS location_key, 30.0::DECIMAL(18, 6) AS sales,
               0.3 AS error, false AS ran_out, 30 * {wape} * (1 + 0.05 * (day % 3 - 1)) AS absolute_error
        FROM range(1, {days + 1}) AS t(day), range(10) AS i(item)
        """
    )
    return db


def test_forecasts_worse_than_promised_make_one_alert_that_goes_when_they_recover(engine, kept):
    folder, ids = kept
    seen = []
    for wape in (0.2, 0.9, 0.9, 0.2):
        with scored(ids["old"], wape) as db:
            found = quality.assess(db, folder, morning(112), GOOD)
            assert len(quality.by_day(db, morning(112))) == 14
        # Its first week is over: nothing is taken back.
        assert quality.watch(engine, found, folder, morning(112), history(112), GOOD) is None
        seen.append([(row["alert_key"], row["severity"], row["count"]) for row in alerts.find(engine)])
        assert quality_holds(found).passed == (wape == 0.2)
    assert seen == [[], [(quality.ALERT, "warning", 1)], [(quality.ALERT, "warning", 2)], []]


def test_without_scores_nothing_is_said(engine, kept):
    with scored(kept[1]["old"], 3.0, days=3) as db:
        found = quality.assess(db, kept[0], morning(112), GOOD)
    assert not found.is_worse
    assert quality_holds(found).passed
    assert quality.watch(engine, found, kept[0], morning(112), history(112), GOOD) is None
    assert alerts.find(engine) == []


def disappointed(engine, folder, ids, chosen: str, until: int):
    """A model comes into use on the morning of day 105, and is found worse `until - 105` days later."""
    register.decide(engine, folder, register.Decision("promote", ids[chosen], morning(105), "New.", other=ids["old"]))
    with scored(ids[chosen], 2.0, days=until - 105, until=until) as db:
        found = quality.assess(db, folder, morning(until), GOOD)
    assert found.champion.is_worse
    return quality.watch(engine, found, folder, morning(until), history(until), GOOD)


def test_a_new_model_that_disappoints_is_taken_back(engine, kept):
    folder, ids = kept
    decision = disappointed(engine, folder, ids, "bad", 111)
    assert (decision.action, decision.days) == ("roll_back", (morning(105).isoformat(), morning(110).isoformat()))
    assert decision.figures[ids["bad"]]["pinball"] > decision.figures[ids["old"]]["pinball"]
    # It is not gone back from again.
    assert register.champion(folder) == register.Champion(ids["old"], morning(111), None)
    told = {row["alert_key"].split(":")[0]: row["severity"] for row in alerts.find(engine)}
    assert told == {"forecast-model": "warning", "forecast-quality": "warning"}
    assert audit.entries(engine, subject="model")[0]["action"] == "roll_back"


@pytest.mark.parametrize(("chosen", "until"), [("new", 111), ("bad", 112)])
def test_it_stays_where_the_former_was_no_better_or_after_its_first_week(engine, kept, chosen, until):
    folder, ids = kept
    rules = GOOD.model_copy(update={"challenge": ChallengeConfig(trial_days=6)})
    register.decide(engine, folder, register.Decision("promote", ids[chosen], morning(105), "New.", other=ids["old"]))
    if chosen == "new":
        # The same model under another name cannot have done better.
        shutil.rmtree(folder / ids["old"])
        shutil.copytree(folder / ids["new"], folder / ids["old"])
    with scored(ids[chosen], 2.0, days=until - 105, until=until) as db:
        found = quality.assess(db, folder, morning(until), rules)
    assert found.champion.is_worse
    assert quality.watch(engine, found, folder, morning(until), history(until), rules) is None
    assert register.champion(folder).model_id == ids[chosen]


# -- By hand -----------------------------------------------------------------------------------------------------------


def test_a_person_puts_a_model_into_use(shop, kept):
    folder, ids = kept
    running = SimpleNamespace(
        engine=shop.engine, settings=SimpleNamespace(models=folder, business=Business(timezone="UTC"))
    )
    app = typer.Typer()
    cli.register(app, lambda: contextlib.nullcontext(running), lambda: None)
    tokens = {
        name: access.issue_token(shop.engine, name, label="t", actor="system:test")[1]
        for name in ("root", "eve")
    }  # fmt: skip

    def stockflow(*words: str, by: str | None = None):
        environment = {"STOCKFLOW_TOKEN": tokens.get(by), "COLUMNS": "200", "NO_COLOR": "1"}
        return CliRunner().invoke(app, words, env=environment)

    listed = stockflow("models").output
    assert listed == stockflow("models", "list").output
    lines = {model_id: line for line in listed.splitlines() for model_id in ids.values() if model_id in line}
    assert set(lines) == set(ids.values())
    assert [str(morning(98)) in lines[ids[name]] for name in ("old", "bad", "new")] == [True, False, False]
    assert str(morning(97)) in lines[ids["old"]]
    refused = stockflow("models", "use", ids["new"], by="eve")
    assert isinstance(refused.exception, NotAllowed)
    assert register.champion(folder).model_id == ids["old"]
    done = stockflow("models", "use", ids["new"], by="root")
    assert done.exit_code == 0, done.output
    assert (register.champion(folder).model_id, register.champion(folder).previous) == (ids["new"], ids["old"])
    assert audit.entries(shop.engine, subject="model")[0]["actor"] == "user:root"
    assert isinstance(stockflow("models", "use", "20200101-000000000000", by="root").exception, PermanentError)


def test_an_altered_model_is_listed_as_such_and_cannot_be_used(engine, kept):
    folder, ids = kept
    path = folder / ids["new"] / "model.json"
    path.write_text(path.read_text().replace("0.", "1.", 1))
    assert [row.model_id for row in register.listed(folder) if row.problem] == [ids["new"]]
    with pytest.raises(Exception, match="not the one that was saved"):
        register.use(engine, folder, ids["new"], morning(105), actor="user:ann")
    assert register.champion(folder).model_id == ids["old"]
    # Of the other files too, which the table shows nothing of.
    manifest = folder / ids["bad"] / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"files": content["files"] | {"booster.ubj": "0"}}))
    problems = {row.model_id: row.problem for row in register.listed(folder) if row.problem}
    assert set(problems) == {ids["new"], ids["bad"]}
    assert "lacks its file booster.ubj" in problems[ids["bad"]]


def test_old_models_go_but_not_the_one_in_use_nor_the_one_before_it(kept):
    folder, ids = kept
    register._write(folder, register.Champion(ids["bad"], morning(105), ids["old"]))
    for number in range(4):
        (folder / f"2027010{number}-x").mkdir()
    register.prune(folder, 3)
    assert set(register.model_ids(folder)) == {ids["bad"], ids["old"], *(f"2027010{number}-x" for number in (1, 2, 3))}
