"""Alembic's entry point: runs the migrations on the connection it is given, inside that connection's transaction."""

from alembic import context

from operations.migrations import VERSION_TABLE
from operations.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=False,
    **VERSION_TABLE,
)
context.run_migrations()
