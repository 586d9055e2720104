"""Commands about trained models: which there are, which is in use, why it says what it says, and using another one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from connectors.errors import PermanentError
from operations import access
from orchestration.cli.approvals import Token, TokenFactory
from orchestration.cli.tables import table_console
from orchestration.planning.history import HORIZON_DAYS

if TYPE_CHECKING:
    import duckdb

    from orchestration.application import Application
    from orchestration.planning.history import DemandData


def register(
    app: typer.Typer, application: Callable[[], AbstractContextManager[Application]], default_token: TokenFactory
) -> None:
    """Adds `models` and its commands to the root application."""
    say = table_console()
    models = typer.Typer(help="Trained models: which there are, which is in use.", invoke_without_command=True)
    app.add_typer(models, name="models")

    @models.callback()
    def bare(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            list_models()

    @models.command("list")
    def list_models() -> None:
        """Lists the trained models that are kept, newest first, and the last decisions; `models` alone does too."""
        from orchestration.planning import models as kept

        with application() as running:
            folder = running.settings.models
            rows = kept.listed(folder)
            table = Table("model", "trained until", "data", "held-out WAPE", "in use since", title=None if rows else
                          "No model has been trained yet: the first cycle does.")  # fmt: skip
            for row in rows:
                since = "" if not row.is_champion else str(row.champion_since or "before this was noted")
                wape = "" if row.wape is None else f"{row.wape:.3f}"
                table.add_row(row.model_id, row.trained_until, row.data_sha256[:12], wape, since)
            say.print(table)
            for row in rows:
                if row.problem:
                    say.print(row.problem, markup=False, soft_wrap=True)
            for decision in kept.decisions(folder)[-5:]:
                say.print(f"{decision['morning']}: {decision['message']}", markup=False, soft_wrap=True)

    @models.command("explain")
    def explain_forecast(
        item: Annotated[str, typer.Argument(help="The item's code, name or key")],
        location: Annotated[str, typer.Argument(help="Name or key of the place it is stocked at")],
        days: Annotated[int, typer.Option(min=1, max=HORIZON_DAYS, help="Days ahead")] = 7,
    ) -> None:
        """Why the model in use forecasts what it does for an item at a place: what each driver contributes, day by day."""
        from ml.forecast import ForecastError, OtherVersionError, sentence
        from orchestration.planning import models as kept
        from orchestration.planning.covariates import lacking
        from orchestration.planning.forecasting import explain_cycle
        from orchestration.planning.history import find_series

        with application() as running:
            try:
                in_use = kept.load_champion(running.settings.models)
                if in_use is None:
                    raise PermanentError("No model has been trained yet; run `stockflow run daily_planning_job` first.")
                with running.warehouse.connect() as db:
                    data = _newest_demand(running, db)
                    series = find_series(db, item, location)
                if reason := lacking(in_use[0], data.history):
                    raise PermanentError(
                        f"The model {in_use[1]} cannot be explained: {reason}. The next cycle trains another one."
                    )
                parts = explain_cycle(data, in_use[0], series)
            except OtherVersionError as error:
                raise PermanentError(f"{error} The next cycle does.") from error
            except ForecastError as error:
                raise PermanentError(str(error)) from error
            say.print(f"{item} at {location} by the model {in_use[1]}:", markup=False, soft_wrap=True)
            for date, day in islice(parts.groupby("date"), days):
                say.print(f"  {date:%a %Y-%m-%d}  {sentence(day)}", markup=False, soft_wrap=True)

    @models.command("tune")
    def tune_models(
        minutes: Annotated[float, typer.Option(min=0.1, help="Time to take; half of it is the trees'")] = 20,
    ) -> None:
        """Looks for better parameters of the models on days held out of the history, and says what to put into forecast.yaml."""
        from orchestration.planning.forecasting import read_forecast_config, tune_models

        with application() as running:
            with running.warehouse.connect() as db:
                data = _newest_demand(running, db)
            path = running.settings.home / "forecast.yaml"
            tuned = tune_models(
                data.history, read_forecast_config(path), 60 * minutes,
                lambda step: say.print(f"  {step}", markup=False, soft_wrap=True),
            )  # fmt: skip
            for choice in tuned.choices:
                say.print(choice.says(), markup=False, soft_wrap=True)
            if tuned.changed:
                say.print(f"Put this into {path}; the next training uses it, and its model has to earn its place:\n")
                say.print(tuned.as_yaml(), markup=False, soft_wrap=True)

    @models.command("use")
    def use(model: str, token: Token = None) -> None:
        """Puts a model into use; the next cycle forecasts with it. Needs the role planner."""
        from orchestration.planning import models as kept

        with application() as running:
            who = access.authenticate(running.engine, token or default_token())
            who.need("planner")
            decision = kept.use(running.engine, running.settings.models, model, _today(running), actor=who.actor)
            say.print(decision.message, markup=False, soft_wrap=True)


def _today(running: Application) -> dt.date:
    return dt.datetime.now(ZoneInfo(running.settings.business.timezone)).date()


def _newest_demand(running: Application, db: duckdb.DuckDBPyConnection) -> DemandData:
    """What the next morning would forecast from."""
    from orchestration.planning.forecasting import read_forecast_config
    from orchestration.planning.history import next_morning, read_demand

    features = read_forecast_config(running.settings.home / "forecast.yaml").features
    morning = next_morning(db, _today(running))
    data = read_demand(db, morning, features) if morning else None
    if data is None:
        raise PermanentError("There is no demand to forecast yet; run `stockflow run daily_planning_job`.")
    return data
