"""`doctor`: every check says what is wrong and what to do, in one sentence."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from connectors.extract import Collector
from connectors.records import Product
from ml.forecast import ForecastConfig, train
from ml.forecast.artefacts import FORMAT
from operations import alerts, publications
from orchestration.health import examine
from orchestration.planning import models as register


def told(name: str) -> tuple[bool, str]:
    (check,) = [check for check in examine() if check.name == name]
    return check.ok, check.says


def test_a_new_home_is_well(watched):
    checks = examine()
    assert [check.name for check in checks] == [
        "configuration", "Python", "disk", "dbt project", "PostgreSQL", "sources", "landing", "warehouse", "model", "calendar",
        "published", "outbox", "alerts",
    ]  # fmt: skip
    assert all(check.ok for check in checks), checks


def test_a_landed_file_that_is_gone_is_named(watched):
    collector = Collector()
    collector.add(Product, {"item_code": "A", "name": "A"}, payload={}, position="1")
    landed = watched.landing.land("test", collector.extract("all"), cursor_before=None)
    assert told("landing") == (True, "1 batch, all there")
    path = watched.settings.home / "landing" / landed.files[0].path
    moved = path.rename(path.with_suffix(".gone"))
    ok, says = told("landing")
    assert not ok
    assert landed.files[0].path in says
    moved.rename(path)
    assert told("landing")[0]


def test_a_wrong_parameter_and_an_altered_model_are_told_before_a_cycle_fails_for_them(watched):
    assert told("model") == (True, "none yet: the first cycle trains one")
    config = watched.settings.home / "forecast.yaml"
    config.write_text("origin: 3")
    ok, says = told("model")
    config.unlink()
    assert not ok
    assert "there is no field origin, was origins meant?" in says
    days = pd.date_range("2026-01-01", periods=30)
    history = pd.DataFrame({"sku": "A", "location": "L", "date": days, "quantity": 1})
    trained = train(history, horizon=7, config=ForecastConfig(boosted={"enabled": False}, recurrent={"enabled": False}))
    trained.save(watched.settings.models / "m1")
    register.decide(
        watched.engine, watched.settings.models, register.Decision("promote", "m1", days[-1].date(), "First.")
    )
    try:
        assert told("model") == (True, "m1, trained until 2026-01-30")
        (watched.settings.models / "m1" / "model.json").write_text("{}")
        ok, says = told("model")
        assert not ok
        assert says.endswith("train it again. `stockflow run weekly_training_job` does.")
        manifest = watched.settings.models / "m1" / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1}))
        ok, says = told("model")
        assert ok  # nobody has to do anything
        assert f"another version of Stockflow (in format 1, and this one reads {FORMAT})" in says
        assert says.endswith("train it again. The next cycle does.")
    finally:
        shutil.rmtree(watched.settings.models)


def test_targets_that_show_different_snapshots_are_told(watched):
    publications.record(watched.engine, "postgres", "20260302-1")
    publications.record(watched.engine, "duckdb", "20260302-1")
    assert told("published") == (True, "snapshot 20260302-1 in duckdb, postgres")
    publications.record(watched.engine, "duckdb", "20260303-2")
    ok, says = told("published")
    assert not ok
    assert "run a cycle again" in says


def test_open_alerts_are_told(watched):
    with watched.engine.begin() as db:
        alerts.raise_alert(db, "cycle-late", "Nothing is proposed yet.")
    assert told("alerts") == (False, "1 open, such as: Nothing is proposed yet.")
    with watched.engine.begin() as db:
        alerts.resolve(db, "cycle-late")
        alerts.raise_alert(db, "forecast-model:x", "Another model.", severity="info")
    assert told("alerts") == (True, "none open; for your information: Another model.")
    with watched.engine.begin() as db:
        alerts.resolve(db, "forecast-model:x")
    assert told("alerts") == (True, "none open")


def test_without_a_database_the_rest_is_still_told(watched, monkeypatch):
    monkeypatch.setenv("STOCKFLOW_DATABASE_URL", "postgresql://u:p@127.0.0.1:1/nosuch")
    checks = {check.name: check for check in examine()}
    assert checks["disk"].ok
    assert not checks["PostgreSQL"].ok
    assert checks["PostgreSQL"].says
    assert "landing" not in checks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timezone: Mars/Olympus\n", "no time zone"),
        ("timezone: [\n", "cannot be read as YAML"),
        ("slack: {token: '${NOT_SET_ANYWHERE}', signing_secret: x, channel: y}\n", "NOT_SET_ANYWHERE"),
    ],
)
def test_a_wrong_configuration_is_the_only_thing_told(watched, text, says):
    config = watched.settings.home / "config.yaml"
    config.write_text(text)
    try:
        (check,) = examine()
    finally:
        config.unlink()
    assert not check.ok
    assert says in check.says
