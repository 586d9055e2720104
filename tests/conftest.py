"""Fixtures that several folders share.

One PostgreSQL for the whole run, a fresh migrated database for each test that asks for one. The server is embedded, in
a folder of its own; STOCKFLOW_TEST_DATABASE_URL (a role that may create roles and databases) runs the same tests on
another one.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from operations import database
from operations.database import ExternalPostgres
from operations.migrations import upgrade
from operations.postgres import EmbeddedPostgres
from tests.operations.shop import Shop, found

# xdist tells its workers a width, which would stand above the one that a test gives to a command.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)


def require(condition: bool, what: str) -> None:
    """Skips for want of `what`; in CI (STOCKFLOW_REQUIRE_ALL=1) a test that cannot run fails instead."""
    if condition:
        return
    if os.environ.get("STOCKFLOW_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}, and STOCKFLOW_REQUIRE_ALL=1 forbids leaving tests out")
    pytest.skip(what)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder with the public data sets named in the README."""
    folder = os.environ.get("STOCKFLOW_TEST_DATA", "")
    require(bool(folder) and pathlib.Path(folder).is_dir(), "STOCKFLOW_TEST_DATA does not name a folder")
    return pathlib.Path(folder)


_numbers = itertools.count()


def _clear_leftovers() -> None:
    """Stops servers of former runs that were killed before they could."""
    for home in Path(tempfile.gettempdir()).glob("stockflow-test-*"):
        data = home / "postgres" / "data"
        if data.exists() and time.time() - data.stat().st_mtime > 600 and EmbeddedPostgres(home).stop():
            shutil.rmtree(home)


@pytest.fixture(scope="session")
def server():
    """A provisioned server whose main database is migrated, and a template made from it for fresh ones."""
    _clear_leftovers()
    # Not below pytest's own temporary folder, whose mode pytest resets while our server needs to pass through it.
    home = Path(tempfile.mkdtemp(prefix="stockflow-test-"))
    external = os.environ.get("STOCKFLOW_TEST_DATABASE_URL")
    if external:
        url = sa.make_url(external).set(database=f"stockflow_test_{uuid.uuid4().hex[:8]}")
        postgres = ExternalPostgres(url, home)
        admin = url.set(drivername="postgresql+psycopg", database="postgres")
    else:
        postgres = EmbeddedPostgres(home, settings={"fsync": "off", "synchronous_commit": "off"})
        admin = None
    postgres.start()
    owner = database.engine(postgres.url("owner"))
    upgrade(owner, postgres.names.role("app"))
    owner.dispose()
    postgres.admin = admin or postgres.url("postgres", "postgres")
    postgres.template, postgres.shop = (f"{postgres.names.prefix}_{name}" for name in ("template", "shop"))
    with database.connect(postgres.admin, autocommit=True) as db:
        for name in (postgres.template, postgres.shop):
            db.execute(f'CREATE DATABASE "{name}" TEMPLATE "{postgres.names.prefix}" STRATEGY FILE_COPY')
    app = database.engine(postgres.url("app", postgres.shop))
    found(app)
    app.dispose()
    yield postgres
    if external:
        with database.connect(postgres.admin, autocommit=True) as db:
            for name in (postgres.template, postgres.shop):
                db.execute(f'DROP DATABASE "{name}"')
            for role in ("owner", "dagster"):
                db.execute(f'DROP DATABASE "{postgres.names.database(role)}" WITH (FORCE)')
            for role in database.ROLES:
                db.execute(f'DROP ROLE "{postgres.names.role(role)}"')
    postgres.stop()
    shutil.rmtree(home)


@pytest.fixture
def fresh_database(server, request):
    """The name of a new database, as after `stockflow setup`; with the small company where a test asks for it."""
    template = server.shop if "shop" in request.fixturenames else server.template
    name = f"{server.names.prefix}_t{os.getpid()}_{next(_numbers)}"
    with database.connect(server.admin, autocommit=True) as db:
        db.execute(
            f'CREATE DATABASE "{name}" OWNER "{server.names.role("owner")}" TEMPLATE "{template}" STRATEGY FILE_COPY'
        )
    yield name
    with database.connect(server.admin, autocommit=True) as db:
        db.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(server, fresh_database):
    """An engine as the application's role."""
    made = database.engine(server.url("app", fresh_database))
    yield made
    made.dispose()


@pytest.fixture
def owner(server, fresh_database):
    """An engine as the owner's role."""
    made = database.engine(server.url("owner", fresh_database))
    yield made
    made.dispose()


@pytest.fixture
def shop(engine):
    """A small company in a database of its own."""
    return Shop(engine)
