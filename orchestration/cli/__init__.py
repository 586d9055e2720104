"""The command `stockflow`. Each module holds a group of thin commands; libraries do the work."""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console

OUR_PACKAGES = ("connectors", "ml", "operations", "orchestration")

app = typer.Typer(
    name="stockflow",
    help="Purchasing, sales and stock in one scheduled loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Runs a command; what goes wrong is one sentence on standard error and a non-zero exit."""
    from orchestration.cli import register

    # Idle worker threads that spin take the cores that the others need: training on a busy machine is several times
    # slower with the default. Read by xgboost and torch when they are first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    register.commands(app)
    try:
        app()
    except Exception as error:
        # Every error that our own packages define is a sentence for the user; anything else is a fault of ours.
        if type(error).__module__.partition(".")[0] not in OUR_PACKAGES:
            raise
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        sys.exit(1)
