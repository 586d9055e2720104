"""Commands about trained models: which there are, which is in use, and putting another one into use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from operations import access
from orchestration.cli.approvals import Token, TokenFactory

if TYPE_CHECKING:
    from orchestration.application import Application


def register(
    app: typer.Typer, application: Callable[[], AbstractContextManager[Application]], default_token: TokenFactory
) -> None:
    """Adds `models` and its commands to the root application."""
    say = Console(highlight=False)
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

    @models.command("use")
    def use(model: str, token: Token = None) -> None:
        """Puts a model into use; the next cycle forecasts with it. Needs the role planner."""
        from orchestration.planning import models as kept

        with application() as running:
            who = access.authenticate(running.engine, token or default_token())
            who.need("planner")
            today = dt.datetime.now(ZoneInfo(running.settings.business.timezone)).date()
            decision = kept.use(running.engine, running.settings.models, model, today, actor=who.actor)
            say.print(decision.message, markup=False, soft_wrap=True)
