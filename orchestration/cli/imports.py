"""`stockflow import`: a user's file into landing.

Only options and printing; what an import does is `connectors.files.importer`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from connectors.errors import StockflowError
from connectors.landing import Landing


def import_command(landing_factory: Callable[[], Landing], hash_key: Callable[[], bytes]) -> Callable[..., None]:
    """The command, wired: `landing_factory` opens landing and `hash_key` gives the key customer ids are hashed with.

    Both are called only when a file is imported, so that `--help` needs neither a database nor a key.
    """

    def import_(
        kind: Annotated[
            Literal["orders", "stock", "catalog", "suppliers", "promotions"],
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
        """Import a file of orders, stock, products, suppliers or promotions."""
        from connectors.files.importer import import_file
        from connectors.files.mapping import load_mapping
        from connectors.files.rejected import write_rejected

        try:
            chosen = load_mapping(mapping)
            chosen.kind(kind)
            landing = landing_factory()
            report = import_file(landing, kind, file, chosen, hash_key=hash_key(), allow_drop=allow_drop)
            for line in report.lines():
                typer.echo(line)
            if rejects is not None:
                typer.echo(f"{write_rejected(landing, report, rejects)} quarantined rows written to {rejects}")
        except StockflowError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error

    return import_
