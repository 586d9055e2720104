"""From any earlier release's database to this one's, in one transaction.

Belongs here: one module per change below `versions/`, and running them. Does not belong here: what the tables are for
(`operations.schema`), roles and databases (`operations.database`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from operations.errors import Conflict
from operations.schema import APPEND_ONLY

VERSION_TABLE = {"version_table": "schema_version", "version_table_schema": "operations"}


def upgrade(owner: Engine, app_role: str = "stockflow_app", revision: str = "head") -> None:
    """Brings the database that `owner` connects to up to `revision`, as the role that owns its schemas.

    Processes that upgrade at once do it one after the other; a killed upgrade leaves the database as it was. Raises
    Conflict when the database was made by a newer release.
    """
    with owner.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.migrate', 0))"))
        current = current_revision(connection)
        config = _config(connection)
        if current is not None and current not in {
            s.revision for s in ScriptDirectory.from_config(config).walk_revisions()
        }:
            raise Conflict(
                f"The database is at version {current}, which this release does not know: install the release that "
                "upgraded it, or restore a backup made before that."
            )
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS operations"))
        command.upgrade(config, revision)
        _grant(connection, app_role)


def current_revision(connection: Connection) -> str | None:
    """The revision the database is at, None before the first upgrade."""
    return MigrationContext.configure(connection, opts=VERSION_TABLE).get_current_revision()


def head_revision() -> str:
    """The revision that this release needs."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", "operations:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _grant(connection: Connection, app_role: str) -> None:
    """What the application may do: read and write every table, add to the append-only ones, define nothing."""
    role = connection.dialect.identifier_preparer.quote(app_role)
    kept = ", ".join(str(table) for table in APPEND_ONLY)
    for statement in (
        f"GRANT USAGE ON SCHEMA operations TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA operations TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA operations TO {role}",
        f"REVOKE UPDATE, DELETE ON {kept} FROM {role}",
        f"REVOKE INSERT, UPDATE, DELETE ON operations.schema_version FROM {role}",
    ):
        connection.execute(sa.text(statement))
