"""What must hold for the next cycle to succeed, each said in one sentence."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from connectors.errors import StockflowError
from ml.wording import how_many
from operations.errors import OperationsError
from orchestration.application import Application
from orchestration.settings import DBT_PROJECT, Settings

LEAST_FREE_GB = 2


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    says: str


def examine() -> list[Check]:
    """All checks, in the order in which one depends on another; those that need what failed are left out."""
    try:
        settings = Settings.from_environment()
    except StockflowError as error:
        return [Check("configuration", False, str(error))]
    found = [
        Check("configuration", True, str(settings.home)),
        _python(),
        _disk(settings),
        Check(
            "dbt project",
            (DBT_PROJECT / "target" / "manifest.json").exists(),
            "parsed" if (DBT_PROJECT / "target" / "manifest.json").exists() else "not parsed: run `stockflow setup`.",
        ),
    ]
    app = Application(settings)
    try:
        with app:
            found.append(Check("PostgreSQL", True, f"answers, schema up to date ({_server(settings)})"))
            found += [_run(name, check, app) for name, check in CHECKS]
    except (StockflowError, OperationsError) as error:
        found.append(Check("PostgreSQL", False, str(error)))
    return found


def _server(settings: Settings) -> str:
    return "external" if settings.database_url else "embedded"


def _run(name: str, check: Callable[[Application], tuple[bool, str]], app: Application) -> Check:
    try:
        ok, says = check(app)
    except (StockflowError, OperationsError, OSError) as error:
        ok, says = False, str(error)
    return Check(name, ok, says)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version)


def _disk(settings: Settings) -> Check:
    existing = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    ok = free >= LEAST_FREE_GB
    return Check(
        "disk", ok, f"{free:.0f} GB free" + ("" if ok else f": free at least {LEAST_FREE_GB} GB below {existing}.")
    )


def _landing(app: Application) -> tuple[bool, str]:
    files = app.manifest.files()
    missing = [f["path"] for f in files if f["path"] and not app.landing.exists(f["path"])]
    if missing:
        return (
            False,
            f"{how_many(len(missing), 'landed file is', 'landed files are')} gone, such as {missing[0]}: restore from a backup.",
        )
    return True, f"{how_many(len(files), 'batch', 'batches')}, all there"


def _sources(app: Application) -> tuple[bool, str]:
    names = [source.name for source in app.sources()]
    return True, ", ".join(names) if names else "none configured; `stockflow import` takes files"


def _warehouse(app: Application) -> tuple[bool, str]:
    from orchestration.warehouse.load import build_state, newest_load, prepare

    if not app.settings.warehouse.exists():
        return True, "not built yet: the first cycle builds it"
    with app.warehouse.connect(wait_seconds=30) as db:
        prepare(db)
        state, load_id = build_state(db), newest_load(db)
    behind = " and some loads are not in the marts yet" if load_id > state.load_id else ""
    return True, f"marts up to the morning of {state.cycle_date}{behind}"


def _model(app: Application) -> tuple[bool, str]:
    """The parameters of forecasting and the model in use, as the next cycle reads them."""
    from ml.forecast import ForecastError, OtherVersionError
    from orchestration.planning.forecasting import read_forecast_config
    from orchestration.planning.models import load_champion

    read_forecast_config(app.settings.home / "forecast.yaml")
    try:
        in_use = load_champion(app.settings.models)
    except OtherVersionError as error:
        return True, f"{error} The next cycle does."
    except ForecastError as error:
        return False, str(error)
    if in_use is None:
        return True, "none yet: the first cycle trains one"
    return True, f"{in_use[1]}, trained until {in_use[0].trained_until}"


def _calendar(app: Application) -> tuple[bool, str]:
    """What the calendar does not know is nothing that stops a cycle."""
    from ml.forecast.calendar import calendar_of, known_countries

    if not app.settings.warehouse.exists():
        return True, "nothing to look up yet"
    with app.warehouse.connect(wait_seconds=30) as db:
        there = db.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'operations' AND table_name = 'holiday'"
        )
        if not there.fetchone()[0]:
            return True, "nothing to look up yet"
        countries = {row[0] for row in db.execute("SELECT DISTINCT country FROM operations.holiday").fetchall()}
    year = dt.datetime.now(dt.UTC).year
    calendars = [calendar_of(country, year, year + 1) for country in sorted(countries & known_countries())]
    notes = [f"{note}." for calendar in calendars for note in calendar.notes]
    return True, " ".join(notes) or f"{', '.join(sorted(countries)) or 'no country'}, known for {year} and {year + 1}"


def _published(app: Application) -> tuple[bool, str]:
    from operations import publications

    current = publications.current(app.engine)
    if not current:
        return True, "nothing yet: the first cycle publishes"
    ids = {row["snapshot_id"] for row in current.values()}
    if len(ids) > 1:
        told = ", ".join(f"{target} {row['snapshot_id']}" for target, row in sorted(current.items()))
        return False, f"targets show different snapshots ({told}): run a cycle again."
    return True, f"snapshot {ids.pop()} in {', '.join(sorted(current))}"


def _outbox(app: Application) -> tuple[bool, str]:
    from operations import outbox

    failed = outbox.find(app.engine, status="failed")
    if failed:
        return (
            False,
            f"{how_many(len(failed), 'document was', 'documents were')} refused, such as {failed[0]['document_key']}: {failed[0]['reason']}",
        )
    return True, f"{len(outbox.find(app.engine, status='pending'))} waiting, none refused"


def _alerts(app: Application) -> tuple[bool, str]:
    from operations import alerts

    waiting = alerts.find(app.engine)
    troubles = [row for row in waiting if row["severity"] != "info"]
    if troubles:
        return False, f"{len(troubles)} open, such as: {troubles[0]['message']}"
    return True, f"none open; for your information: {waiting[0]['message']}" if waiting else "none open"


CHECKS: list[tuple[str, Callable[[Application], tuple[bool, str]]]] = [
    ("sources", _sources),
    ("landing", _landing),
    ("warehouse", _warehouse),
    ("model", _model),
    ("calendar", _calendar),
    ("published", _published),
    ("outbox", _outbox),
    ("alerts", _alerts),
]
