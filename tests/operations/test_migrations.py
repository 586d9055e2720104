"""Migrations lead to exactly the tables that the code declares, in one transaction, whoever runs them."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from operations import binaries, database
from operations.errors import Conflict
from operations.migrations import current_revision, head_revision, upgrade
from operations.schema import metadata


def description(url: sa.URL) -> str:
    """Everything pg_dump knows about the schema, but for the order of columns' owners and the version table."""
    whom = ("-h", url.host, "-p", str(url.port), "-U", url.username, url.database)
    done = binaries.run(
        "pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--schema=operations",
        "--exclude-table=operations.schema_version", *whom,
        environment={"PGPASSWORD": url.password},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("\\"))


@pytest.fixture
def empty(server):
    """An engine as owner of a provisioned database without tables."""
    name = f"{server.names.prefix}_empty"
    with database.connect(server.admin, autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{name}" OWNER "{server.names.role("owner")}" TEMPLATE template0')
    made = database.engine(server.url("owner", name))
    yield made
    made.dispose()
    with database.connect(server.admin, autocommit=True) as db:
        db.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_migrated_and_declared_databases_are_the_same(owner, empty):
    with empty.begin() as db:
        db.execute(sa.text("CREATE SCHEMA operations"))
        metadata.create_all(db)
    assert description(empty.url) == description(owner.url)


def test_processes_that_upgrade_at_once_do_it_once(empty, server):
    failures = []

    def run():
        mine = database.engine(empty.url)
        try:
            upgrade(mine, server.names.role("app"))
        except Exception as error:
            failures.append(error)
        finally:
            mine.dispose()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with empty.connect() as db:
        assert current_revision(db) == head_revision()
        assert db.execute(sa.text("SELECT count(*) FROM operations.movement_kind")).scalar() == 11


def test_a_failed_upgrade_leaves_nothing(empty, server):
    with pytest.raises(sa.exc.ProgrammingError, match="nosuch"):
        upgrade(empty, "nosuch")
    with empty.connect() as db:
        assert (
            db.execute(
                sa.text("SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text = 'operations'")
            ).scalar()
            == 0
        )
    upgrade(empty, server.names.role("app"))


def test_a_newer_database_is_refused(owner):
    with owner.begin() as db:
        db.execute(sa.text("UPDATE operations.schema_version SET version_num = '9999_future'"))
    with pytest.raises(Conflict, match="9999_future, which this release does not know"):
        upgrade(owner)


def test_our_own_company_currencies_and_movement_kinds_are_there(engine):
    with engine.connect() as db:
        assert db.execute(sa.text("SELECT party_id FROM operations.party WHERE kind = 'own'")).scalars().all() == [
            "pty_own"
        ]
        digits = dict(db.execute(sa.text("SELECT code, minor_digits FROM operations.currency")).all())
        assert (digits["EUR"], digits["JPY"], digits["KWD"], digits["CNY"]) == (2, 0, 3, 2)
        demand = db.execute(sa.text("SELECT code FROM operations.movement_kind WHERE is_demand")).scalars().all()
        assert demand == ["sale"]
