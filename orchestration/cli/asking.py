"""Asking questions: why a number, and whether all is well."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from connectors.errors import PermanentError
from orchestration.settings import Settings

console = Console(soft_wrap=True, highlight=False)


def explain(
    proposal: Annotated[str, typer.Argument(help="A proposal's id, as `stockflow proposals` shows it")],
) -> None:
    """Why this quantity: recomputed from the inputs that its cycle froze."""
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        told = app.explain(proposal)
    for line in told["lines"]:
        console.print(line, markup=False)
    if not told["matches"]:
        raise PermanentError(
            f"The stored proposal differs from what its inputs give, in: {', '.join(told['differs'])}."
        )


def doctor() -> None:
    """Checks everything that must hold for the next cycle to succeed, and says what to do where it does not."""
    from orchestration import health

    found = health.examine()
    for check in found:
        mark = "[green]ok[/]  " if check.ok else "[red]FAIL[/]"
        console.print(f"{mark} {check.name}: ", end="")
        console.print(check.says, markup=False)
    if not all(check.ok for check in found):
        raise typer.Exit(1)
