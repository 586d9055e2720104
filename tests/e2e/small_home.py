"""A whole deployment on a small generated shop: 30 items, 120 days, forecasts without the LSTM.

The shop answers in this process; everything else is as in production: embedded PostgreSQL, landing, DuckDB, dbt, jobs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import requests

from connectors.sandbox.catalogue import ShopConfig
from connectors.sandbox.platform import TOKEN, serve
from orchestration.application import Application
from orchestration.cli.project import prepare_project
from orchestration.execution import execute, failures
from orchestration.settings import Settings

MORNING = dt.date(2026, 11, 2)
SHOP = ShopConfig(seed=5, start=dt.date(2026, 7, 5), items=30, suppliers=4, web_customers=120)

CONFIG = """\
timezone: Europe/Berlin
reporting_currency: EUR
sources:
  - connector: sandbox
    url: {url}
    token: {token}
"""

FORECAST = """\
origins: 1
recurrent: {enabled: false}
boosted: {rounds: 30, depth: 4}
"""


class Home:
    """An open application on `path`, and the shop it buys for."""

    def __init__(self, app: Application, url: str):
        self.app, self.url = app, url

    @property
    def path(self) -> Path:
        return self.app.settings.home

    def run(self, job: str = "daily_planning_job", day: dt.date = MORNING) -> dg.ExecuteInProcessResult:
        """A job to its end; fails the test with the job's own reasons."""
        result = execute(self.app, job, day)
        assert result.success, failures(result)
        return result

    def pass_days(self, until: dt.date) -> None:
        self.post("/_clock", {"as_of": until.isoformat()})

    def get(self, path: str, **query: str) -> dict:
        answer = requests.get(self.url + path, params=query, headers=HEADERS, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict) -> None:
        requests.post(self.url + path, json=body, headers=HEADERS, timeout=60).raise_for_status()


HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def write_settings(path: Path, url: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(CONFIG.format(url=url, token=TOKEN))
    (path / "forecast.yaml").write_text(FORECAST)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Not below pytest's own, whose mode keeps PostgreSQL's account out."""
    folder = Path(tempfile.mkdtemp(prefix="stockflow-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def small_home(shop: ShopConfig = SHOP, morning: dt.date = MORNING) -> Iterator[Home]:
    """A new home, set up, with its shop on the given morning; nothing has been run yet."""
    prepare_project()
    with temporary_folder() as folder, serve(folder / "shop", morning, shop) as url:
        write_settings(folder / "home", url)
        with environment(STOCKFLOW_HOME=str(folder / "home")), Application(Settings.from_environment()) as app:
            app.set_up()
            yield Home(app, url)
