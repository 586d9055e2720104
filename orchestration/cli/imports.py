"""`stockflow import`: a user's file into landing.

Only options and printing; what an import does is `connectors.files.importer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer

from connectors.errors import StockflowError
from connectors.landing import Landing
from ml.wording import how_many


class Opened(Protocol):
    """What an import needs of the application: where records land, and the key that customer ids are hashed with."""

    landing: Landing
    hash_key: bytes


Note = Callable[[Any, str, str, Sequence[str]], None]
"""Takes the opened application, the kind, the file's path and the lines of the report, once everything has landed."""


def import_command(application: Callable[[], AbstractContextManager[Opened]], note: Note) -> Callable[..., None]:
    """The command, wired: `application` is opened only when a file is imported, so that `--help` needs no database."""

    def import_(
        kind: Annotated[
            Literal["orders", "stock", "catalog", "suppliers", "promotions", "index"],
            typer.Argument(help="What the file holds."),
        ],
        file: Annotated[Path, typer.Argument(help="A CSV, XLSX or Parquet file.", metavar="FILE")],
        mapping: Annotated[
            str,
            typer.Option(help="A mapping file, or the name of a ready one: online_retail_ii, freshretailnet."),
        ],
        allow_drop: Annotated[
            bool,
            typer.Option("--allow-drop", help="Take a file that has less than a fifth of the rows of the last one."),
        ] = False,
        rejects: Annotated[
            Path | None, typer.Option(help="Write the quarantined rows to this CSV file.", metavar="CSV")
        ] = None,
    ) -> None:
        """Import a file of orders, stock, products, suppliers, promotions or indices of categories."""
        from connectors.files.importer import import_file
        from connectors.files.mapping import load_mapping
        from connectors.files.rejected import write_rejected

        try:
            chosen = load_mapping(mapping)
            chosen.kind(kind)
            with application() as app:
                report = import_file(app.landing, kind, file, chosen, hash_key=app.hash_key, allow_drop=allow_drop)
                for line in report.lines():
                    typer.echo(line)
                note(app, kind, str(file), report.lines())
                if rejects is not None:
                    written = write_rejected(app.landing, report, rejects)
                    typer.echo(f"{how_many(written, 'quarantined row')} written to {rejects}")
        except StockflowError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error

    return import_
