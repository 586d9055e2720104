"""A PostgreSQL as the operations tests have it, and a home with one of its own and nothing to pull."""

from __future__ import annotations

import pytest

from orchestration.application import Application
from orchestration.cli.project import prepare_project
from orchestration.settings import Settings
from tests.e2e.small_home import environment, temporary_folder


@pytest.fixture(scope="module")
def watched():
    """An open application on a new home, with the environment that names it."""
    prepare_project()
    with (
        temporary_folder() as folder,
        environment(STOCKFLOW_HOME=str(folder / "home")),
        Application(Settings.from_environment()) as app,
    ):
        app.set_up()
        yield app
