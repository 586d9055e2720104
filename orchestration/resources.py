"""Dagster resources: typed wiring that hands assets the same plain objects that the API and the command line use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from orchestration import dagster_home, dead_runs
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.application import Application


class StockflowResource(dg.ConfigurableResource):
    """`stockflow.app` is the `Application`, open while the run lasts. Settings come from the environment of the process
    that runs, so that a run launched on another machine finds its own paths."""

    _app: Application | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[StockflowResource]:
        from orchestration.application import Application

        settings = Settings.from_environment()
        dagster_home.hold_connections(context.instance)
        with (
            Application(settings) as app,
            dead_runs.alive(settings.dagster_home / "running", context.instance, context.run_id),
        ):
            self._app = app
            yield self
        self._app = None

    @property
    def app(self) -> Application:
        assert self._app is not None, "used outside a run"
        return self._app
