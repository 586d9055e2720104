"""The command `stockflow`. Each module holds a group of thin commands; libraries do the work."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from connectors.errors import StockflowError

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

    register.commands(app)
    try:
        app()
    except StockflowError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        sys.exit(1)
