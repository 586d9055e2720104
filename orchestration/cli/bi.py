"""`stockflow bi`: where a BI tool finds the marts."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.settings import Settings


def bi(
    url: Annotated[
        bool, typer.Option("--url", help="Print only the connection URL, password included; treat it as a secret.")
    ] = False,
) -> None:
    """Where BI tools read the marts: PostgreSQL as the role that reads nothing else, a DuckDB file, Parquet files."""
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        address = app.postgres.url("bi").set(drivername="postgresql")
        published = app.settings.published
        embedded = app.settings.database_url is None
    if url:
        typer.echo(address.render_as_string(hide_password=False))
        return
    typer.echo(f"PostgreSQL  host {address.host}, port {address.port or 5432}, database {address.database}, ", nl=False)
    typer.echo(f"schema marts, user {address.username}; `stockflow bi --url` prints the password too")
    if embedded:
        typer.echo("            The embedded server runs while `stockflow ui` or another command uses it.")
    typer.echo(f"DuckDB      {published / 'stockflow.duckdb'} (open it read-only)")
    typer.echo(f"Parquet     {published / 'parquet'} (current.json names the files of the newest snapshot)")
