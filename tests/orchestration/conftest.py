"""A PostgreSQL as the operations tests have it: one server, a fresh migrated database for each test that asks."""

from tests.operations.conftest import fresh_database, server  # noqa: F401
