"""Published marts: only what changed is written, every reader sees one whole snapshot, and `bi` reads nothing else."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time

import duckdb
import psycopg
import pytest

from operations import database
from orchestration.publish.parts import Snapshot
from orchestration.publish.run import publish
from tests.orchestration import generations
from tests.orchestration.generations import CYCLE, TARGETS, Torn, publish_generation, read, warehouse, whole


class Place:
    """Where one test publishes: `owner` and `bi` are libpq URLs."""

    def __init__(self, folder, server, name):
        self.folder = folder
        self.owner, self.bi = (
            server.url(role, name).set(drivername="postgresql").render_as_string(hide_password=False)
            for role in ("owner", "bi")
        )
        self.server, self.database = server, name

    def publish(self, k: int) -> dict[str, int]:
        """Rows written by target."""
        return {done.target: done.rows for done in publish_generation(self.folder, self.owner, k)}

    def change(self, *statements: str) -> None:
        """Publishes the warehouse as it is after these statements."""
        with warehouse(self.folder).connect() as db:
            for statement in statements:
                db.execute(statement)
            publish(db, generations.targets(self.folder, self.owner), Snapshot(99, CYCLE, generations.now()))

    def held(self) -> dict[str, int]:
        """The generation each target holds; raises Torn for one that holds parts of several."""
        return {target: read(self.folder, self.bi, target) for target in TARGETS}

    def tables(self, query: str) -> dict[str, list]:
        """What the query on schema marts gives in each target."""
        found = {}
        with psycopg.connect(self.bi) as db:
            found["postgres"] = db.execute(query).fetchall()
        with duckdb.connect(str(self.folder / "published" / "stockflow.duckdb"), read_only=True) as db:
            found["duckdb"] = db.execute(query).fetchall()
        folder = self.folder / "published" / "parquet"
        with duckdb.connect() as db:
            db.execute("CREATE SCHEMA marts")
            for name, files in json.loads((folder / "current.json").read_text())["tables"].items():
                paths = [str(folder / file) for file in files]
                db.execute(f"CREATE VIEW marts.{name} AS FROM read_parquet({paths})")
            found["parquet"] = db.execute(query).fetchall()
        return found

    def process(self, action: str, url: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.orchestration.generations", action, str(self.folder), url]
        return subprocess.Popen(
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def everywhere(rows: list) -> dict[str, list]:
    return dict.fromkeys(TARGETS, rows)


@pytest.fixture
def place(tmp_path, server, fresh_database) -> Place:
    return Place(tmp_path, server, fresh_database)


# -- What is written ---------------------------------------------------------------------------------------------------


def test_only_changed_parts_are_written(place):
    assert place.publish(1) == {"postgres": 22, "duckdb": 22, "parquet": 22}
    assert place.held() == dict.fromkeys(TARGETS, 1)
    # The next generation changes one row of dim_item, one day of four order lines, and the plan of two rows. Parquet
    # files hold a month of a fact.
    assert place.publish(2) == {"postgres": 7, "duckdb": 7, "parquet": 23}
    assert place.held() == dict.fromkeys(TARGETS, 2)
    assert place.publish(2) == {"postgres": 0, "duckdb": 0, "parquet": 0}


def test_emptied_tables_and_days_become_empty(place):
    place.publish(2)
    place.change("DELETE FROM marts.rpt_purchase_plan", "DELETE FROM marts.fct_order_line WHERE day(business_date) = 3")
    counts = "SELECT (SELECT count(*) FROM marts.rpt_purchase_plan), (SELECT count(*) FROM marts.fct_order_line)"
    assert place.tables(counts) == everywhere([(0, 16)])
    place.change("DELETE FROM marts.fct_order_line")
    assert place.tables(counts) == everywhere([(0, 0)])


def test_changed_columns_arrive_with_grants_and_without_disturbing_a_running_report(place):
    place.publish(4)
    with psycopg.connect(place.bi) as report:
        report.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        before = [report.execute(query).fetchone()[0] for query in generations.QUERIES[:1]]
        place.change(
            "ALTER TABLE marts.dim_item ADD COLUMN name VARCHAR DEFAULT 'Tea, \"green\"'",
            "DELETE FROM marts.fct_order_line WHERE quantity = 0",
            "ALTER TABLE marts.fct_order_line ALTER quantity TYPE DOUBLE",
            "ALTER TABLE marts.rpt_purchase_plan DROP COLUMN is_open",
        )
        # The report goes on in its own snapshot, also in tables that it had not opened yet.
        after = [report.execute(query).fetchone()[0] for query in (generations.QUERIES[1], generations.QUERIES[3])]
    assert whole(before[0], after[0], 4, after[1]) == 4
    assert place.tables("SELECT item_key, name FROM marts.dim_item") == everywhere([("A", 'Tea, "green"')])
    assert place.tables("SELECT sum(quantity) FROM marts.fct_order_line") == everywhere([(4.0,)])
    assert place.tables("SELECT * FROM marts.rpt_purchase_plan") == everywhere([(0,)])


def test_a_mart_that_is_no_more_is_no_longer_published(place):
    place.publish(1)
    place.change("DROP TABLE marts.rpt_purchase_plan")
    with pytest.raises(psycopg.errors.UndefinedTable), psycopg.connect(place.bi) as db:
        db.execute("SELECT * FROM marts.rpt_purchase_plan")
    with duckdb.connect(str(place.folder / "published" / "stockflow.duckdb"), read_only=True) as db:
        assert db.execute("SELECT * FROM duckdb_tables() WHERE table_name = 'rpt_purchase_plan'").fetchall() == []


def test_text_null_and_numbers_arrive_as_they_are(place):
    place.change(
        "CREATE SCHEMA marts",
        """CREATE TABLE marts.dim_odd AS SELECT * FROM (VALUES
           (1, '', 1.25::DECIMAL(18, 4), true, TIMESTAMPTZ '2026-03-01 12:00:00+00'),
           (2, NULL, NULL, NULL, NULL), (3, 'a,"b"' || chr(10) || '\\N', -0.0001, false, '2026-03-01 12:00:00.5+00')
           ) AS t(n, words, price, is_open, moment)""",
    )
    rows = place.tables("SELECT n, words, price, is_open, extract(epoch FROM moment) FROM marts.dim_odd ORDER BY n")
    assert rows["postgres"] == rows["duckdb"] == rows["parquet"]
    assert rows["postgres"][1] == (2, None, None, None, None)


# -- Who reads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM operations.item", "SELECT * FROM operations.api_token", "SELECT * FROM pg_authid",
        "INSERT INTO marts.dim_item VALUES ('B', 1)", "UPDATE marts.dim_item SET generation = 0",
        "DELETE FROM marts.snapshot", "TRUNCATE marts.dim_item", "DROP TABLE marts.dim_item",
        "CREATE TABLE marts.mine (n int)", "CREATE TABLE public.mine (n int)", "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine (n int)", "SET ROLE {owner}", "SELECT pg_read_file('/etc/passwd')",
        "COPY marts.dim_item TO PROGRAM 'true'", "ALTER ROLE {bi} SUPERUSER",
    ],
)  # fmt: skip
def test_the_bi_role_is_refused_everything_but_reading_marts(published_once, statement):
    names = published_once.server.names
    with psycopg.connect(published_once.bi, autocommit=True) as db:
        assert db.execute("SELECT generation FROM marts.dim_item").fetchone() == (1,)
        db.execute("SET default_transaction_read_only = off")  # what it may lift itself protects nothing
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
            db.execute(statement.format(owner=names.role("owner"), bi=names.role("bi")))


@pytest.fixture(scope="module")
def published_once(tmp_path_factory, server) -> Place:
    place = Place(tmp_path_factory.mktemp("bi"), server, server.names.database("owner"))
    place.publish(1)
    return place


def test_the_bi_role_is_refused_other_databases_and_wrong_passwords(published_once):
    server = published_once.server
    for name in (server.names.database("dagster"), "postgres"):
        with pytest.raises(database.DatabaseUnavailable, match=r"refuse|permission|denied"):
            database.connect(server.url("bi", name))
    with pytest.raises(database.DatabaseUnavailable):
        database.connect(server.url("bi").set(password="guessed"))


def test_a_report_in_one_transaction_sees_one_snapshot(place):
    place.publish(1)
    with psycopg.connect(place.bi) as report:
        report.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        answers = []
        for k, query in enumerate(generations.QUERIES):
            answers.append(report.execute(query).fetchone()[0])
            place.publish(k + 2)
    assert whole(*answers) == 1
    assert place.held() == dict.fromkeys(TARGETS, len(generations.QUERIES) + 1)


# -- Who is killed -----------------------------------------------------------------------------------------------------


def test_a_torn_read_would_be_noticed(place):
    place.publish(3)
    with psycopg.connect(place.owner) as db:
        db.execute("UPDATE marts.dim_item SET generation = 4")
    with pytest.raises(Torn):
        place.held()


def killed_before(place: Place, k: int, line: int) -> bool:
    """Publishes generation k in a process that dies before a line of it; False when it had fewer lines."""
    process = place.process("publish", place.owner, k, k, line)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def kill_at(place: Place, lines: list[int]) -> int:
    """How often a publication died; after each death every target is whole, and the next publication completes it."""
    place.publish(1)
    k = deaths = 1
    for line in lines:
        k += 1
        deaths += killed_before(place, k, line)
        held = place.held()
        assert set(held.values()) <= {k - 1, k}
        k += 1
        place.publish(k)
        assert place.held() == dict.fromkeys(TARGETS, k)
        left = [p.name for p in (place.folder / "published").rglob("*") if p.suffix in (".tmp", ".next", ".wal")]
        assert left == []
    return deaths - 1


LINES = 430
"""About so many lines run in one publication."""


def test_a_publisher_killed_at_some_lines_leaves_whole_snapshots(place):
    assert kill_at(place, [90, 240, 330]) == 3


@pytest.mark.long
def test_a_publisher_killed_at_any_line_leaves_whole_snapshots(place):
    lines = list(range(3, LINES + 60, 7))
    assert kill_at(place, lines) >= len(lines) * 0.75


def read_while_publishing(
    place: Place, reads: int, generations: int, publishes: int, kills: int
) -> dict[str, dict[str, int]]:
    """Readers in processes of their own, each of which reads so often and sees so many generations at least, while another
    publishes and is killed at random; what each reader told."""
    place.publish(1)
    readers = {target: place.process("read", place.bi, target, reads, generations) for target in TARGETS}
    dice = random.Random(11)
    last, killed = 1, 0
    while last < publishes + 1 or any(reader.poll() is None for reader in readers.values()):
        publisher = place.process("publish", place.owner, last + 1, max(publishes + 1, last + 20))
        if killed < kills:
            first = publisher.stdout.readline()
            bound = threading.Timer(dice.uniform(0.01, 0.4), publisher.kill)
            bound.start()
        told, errors = publisher.communicate(timeout=600)
        assert publisher.returncode in (0, -signal.SIGKILL), errors
        if killed < kills:
            bound.cancel()
            killed += publisher.returncode != 0
            told = first + told
        # The generation that was under way when it was killed may be in some targets: it is made again as the next.
        last = max([last, *map(int, told.split())]) + (publisher.returncode != 0)
        time.sleep(0.01)
    assert killed == kills
    found = {}
    for target, reader in readers.items():
        told, errors = reader.communicate(timeout=600)
        assert reader.returncode == 0, errors
        found[target] = json.loads(told)
    assert len(set(place.held().values())) == 1
    return found


def test_no_reader_sees_a_torn_snapshot_quickly(place):
    for target, told in read_while_publishing(place, reads=30, generations=3, publishes=8, kills=1).items():
        assert told["reads"] >= 30, target
        assert told["generations"] >= 3, target


@pytest.mark.long
def test_no_reader_sees_a_torn_snapshot(place):
    for target, told in read_while_publishing(place, reads=1000, generations=20, publishes=100, kills=20).items():
        assert told["reads"] >= 1000, target
        assert told["generations"] >= 20, target
