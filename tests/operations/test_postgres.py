"""The embedded server: started by whoever needs it, stopped by the last, whatever died in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from operations import database
from operations.errors import DatabaseUnavailable
from operations.postgres import EmbeddedPostgres

FAST = {"fsync": "off"}

HOLDER = """
import sys, time
from operations.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(sys.argv[1], settings={"fsync": "off"})
postgres.start()
print("holding", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def temporary_home():
    folder = Path(tempfile.mkdtemp(prefix="stockflow-test-"))
    try:
        yield folder
    finally:
        EmbeddedPostgres(folder).stop()
        shutil.rmtree(folder)


@pytest.fixture
def new_home():
    """A home in which nothing has been made yet."""
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def home():
    """A home that several tests start and stop a server in; each leaves it stopped."""
    with temporary_home() as folder:
        with EmbeddedPostgres(folder, settings=FAST):
            pass
        yield folder


def hold(home: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holding\n"
    return process


def servers(home: Path) -> list[int]:
    """Pids of every process that works in the data folder."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.cwd() == str(home / "postgres" / "data"):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_it_starts_once_serves_several_and_leaves_with_the_last(home):
    first, second = EmbeddedPostgres(home), EmbeddedPostgres(home)
    first.start()
    second.start()
    other = hold(home)
    assert len(first.holders()) == 3
    assert first.port == second.port
    assert not first.stop()
    assert not second.stop()
    with database.connect(second.url("app")) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
    other.kill()
    other.wait()
    assert second.stop()
    assert servers(home) == []
    assert second.stop()
    with first:
        assert first.is_running()
    assert servers(home) == []


def test_a_second_start_keeps_port_passwords_and_data(home):
    with EmbeddedPostgres(home) as postgres:
        port, url = postgres.port, postgres.url("owner")
        with database.connect(url) as db:
            db.execute("CREATE TABLE operations.kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(home) as postgres:
        assert postgres.port == port
        assert postgres.url("owner") == url
        with database.connect(url) as db:
            assert db.execute("SELECT answer FROM operations.kept").fetchone() == (42,)


def test_another_port_is_chosen_when_the_kept_one_is_taken(home):
    with EmbeddedPostgres(home) as postgres:
        port = postgres.port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with EmbeddedPostgres(home) as postgres:
            assert postgres.port != port
            with database.connect(postgres.url("app")) as db:
                assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_server_comes_back_with_what_was_committed(home):
    postgres = EmbeddedPostgres(home)
    postgres.start()
    with database.connect(postgres.url("owner")) as db:
        db.execute("CREATE TABLE operations.survived AS SELECT 42 AS answer")
    engine = database.engine(postgres.url("app"))
    os.kill(int((postgres.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while postgres.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(DatabaseUnavailable, match=r"does not answer .* nothing of this step was kept"):
        engine.connect()
    postgres.start()
    with database.connect(postgres.url("owner")) as db:
        assert db.execute("SELECT answer FROM operations.survived").fetchone() == (42,)
    assert postgres.stop()


def test_a_stale_lock_file_with_the_pid_of_another_program_is_no_obstacle(home):
    with EmbeddedPostgres(home) as postgres:
        lines = (postgres.data / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getpid())
    (postgres.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert not postgres.is_running()
    with postgres:
        assert postgres.is_running()


def test_a_setup_killed_halfway_is_done_again(new_home):
    half = new_home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(new_home, settings=FAST) as postgres, database.connect(postgres.url("app")) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_processes_that_start_at_once_share_one_server(new_home):
    home = new_home
    starting = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.stdout.readline() for process in starting] == ["holding\n"] * 3
    assert len(EmbeddedPostgres(home).holders()) == 3
    for process in starting:
        process.kill()
        process.wait()
    assert EmbeddedPostgres(home).stop()


def test_it_listens_on_loopback_only_and_trusts_nobody(home):
    with EmbeddedPostgres(home) as postgres:
        pid = int((postgres.data / "postmaster.pid").read_text().splitlines()[0])
        listening = [c for c in psutil.Process(pid).net_connections(kind="all") if c.status == "LISTEN"]
        assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
        for role in (*database.ROLES, "postgres"):
            wrong = postgres.url(role).set(password="guess")
            with pytest.raises(DatabaseUnavailable, match=f"refuses the password of {wrong.username}"):
                database.connect(wrong)
        assert stat.S_IMODE((home / "postgres" / "secrets.json").stat().st_mode) == 0o600
        log = (postgres.data / "server.log").read_text()
        assert not [role for role in database.ROLES if postgres.secrets[role] in log]


def test_a_home_that_cannot_be_used_is_told_in_one_sentence(new_home):
    (new_home / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="set STOCKFLOW_HOME to another place"):
        EmbeddedPostgres(new_home / "file").start()
    with pytest.raises(DatabaseUnavailable, match="cannot be started from a folder with"):
        EmbeddedPostgres(new_home / "$HOME").start()
    with EmbeddedPostgres(new_home / "Größe und 大小", settings=FAST) as postgres:
        assert postgres.is_running()


def test_a_disk_without_space_is_told_in_one_sentence(new_home):
    """A quota-like limit on file sizes stands in for the full disk: initdb fails the same way."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from operations.postgres import EmbeddedPostgres\n"
        "from operations.errors import DatabaseUnavailable\n"
        "try: EmbeddedPostgres(sys.argv[1]).start()\n"
        "except DatabaseUnavailable as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(new_home)], capture_output=True, text=True)
    assert done.stdout.startswith("The embedded PostgreSQL could not be set up ("), done
    assert servers(new_home) == []
    with EmbeddedPostgres(new_home, settings=FAST) as postgres:
        assert postgres.is_running()


class TestRoles:
    """Over TCP, as a BI tool connects."""

    @pytest.fixture(scope="class")
    def marts(self, server):
        """A mart in the main database: that of a copy would have lost who may connect."""
        with database.connect(server.url("owner")) as db:
            db.execute("CREATE TABLE marts.fct_order_line AS SELECT 1 AS quantity")
        yield
        with database.connect(server.url("owner")) as db:
            db.execute("DROP TABLE marts.fct_order_line")

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM operations.proposal",
            "SELECT * FROM operations.api_token",
            "INSERT INTO marts.fct_order_line VALUES (2)",
            "DELETE FROM marts.fct_order_line",
            "CREATE TABLE marts.mine (a int)",
            "CREATE TABLE public.mine (a int)",
            "CREATE TABLE operations.mine (a int)",
            "CREATE SCHEMA mine",
            "CREATE TEMP TABLE mine (a int)",
            "DROP TABLE marts.fct_order_line",
            "SET ROLE stockflow_owner",
            "COPY marts.fct_order_line TO PROGRAM 'id'",
            "SELECT pg_read_file('postgresql.conf')",
        ],
    )
    def test_bi_reads_marts_and_is_refused_everything_else(self, server, marts, statement):
        statement = statement.replace("stockflow_owner", server.names.role("owner"))
        with database.connect(server.url("bi"), autocommit=True) as db:
            assert db.execute("SELECT quantity FROM fct_order_line").fetchone() == (1,)
            # Read-only is a default that a client can undo; the refusal must not rest on it.
            db.execute("SET default_transaction_read_only = off")
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)):
                db.execute(statement)

    @pytest.mark.parametrize("role", ["bi", "app"])
    def test_others_are_kept_out_of_dagsters_database(self, server, role):
        url = server.url(role, server.names.database("dagster"))
        with pytest.raises(DatabaseUnavailable, match="permission denied for database"):
            database.connect(url)

    def test_dagster_works_in_its_own_database_only(self, server):
        with database.connect(server.url("dagster"), autocommit=True) as db:
            db.execute("CREATE TABLE runs (a int)")
            db.execute("DROP TABLE runs")
        with pytest.raises(DatabaseUnavailable, match="permission denied for database"):
            database.connect(server.url("dagster", server.names.database("app")))

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE operations.mine (a int)",
            "ALTER TABLE operations.item ADD COLUMN mine int",
            "DROP TABLE operations.item",
            "CREATE TABLE public.mine (a int)",
            "CREATE TABLE marts.mine (a int)",
            "TRUNCATE operations.audit_log",
            "UPDATE operations.audit_log SET actor = 'nobody'",
            "DELETE FROM operations.audit_log",
            "DELETE FROM operations.decision",
            "UPDATE operations.schema_version SET version_num = 'x'",
        ],
    )
    def test_app_changes_rows_and_never_tables_nor_the_audit_log(self, server, marts, statement):
        with database.connect(server.url("app")) as db:
            db.execute("INSERT INTO operations.setting (name, value, updated_by) VALUES ('a', '1', 'me')")
            db.execute("UPDATE operations.setting SET value = '2'")
            db.execute(
                "INSERT INTO operations.audit_log (actor, action, subject, subject_id) VALUES ('a', 'b', 'c', 'd')"
            )
            assert db.execute("SELECT quantity FROM marts.fct_order_line").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(statement)
            db.rollback()


def test_provisioning_again_changes_nothing(server):
    def state():
        with database.connect(server.admin) as db:
            return db.execute(
                "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolconfig FROM pg_roles "
                "WHERE rolname LIKE %s ORDER BY 1",
                [f"{server.names.prefix}%"],
            ).fetchall(), db.execute("SELECT datname, datacl::text FROM pg_database ORDER BY 1").fetchall()

    before = state()
    database.provision(server.admin, server.names, server.secrets, whole_server=isinstance(server, EmbeddedPostgres))
    assert state() == before


def test_an_external_server_needs_nothing_but_a_url_and_is_never_stopped(server, tmp_path):
    with database.connect(server.admin, autocommit=True) as db:
        db.execute("CREATE ROLE it_department LOGIN CREATEROLE CREATEDB PASSWORD 'of their own'")
        db.execute("GRANT CONNECT ON DATABASE postgres TO it_department")
    url = server.admin.set(username="it_department", password="of their own", database="shop2")
    external = database.ExternalPostgres(url, tmp_path)
    try:
        for _ in range(2):
            external.start()
        with database.connect(external.url("owner")) as db:
            db.execute("CREATE TABLE marts.t AS SELECT 1 AS a")
        with database.connect(external.url("bi")) as db:
            assert db.execute("SELECT a FROM t").fetchone() == (1,)
        assert external.url("dagster").database == "shop2_dagster"
        assert external.stop() is False
        assert database.connect(external.url("app")).execute("SELECT 1").fetchone() == (1,)
    finally:
        with database.connect(server.admin, autocommit=True) as db:
            for name in ("shop2", "shop2_dagster"):
                db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            for role in database.ROLES:
                db.execute(f"DROP ROLE IF EXISTS shop2_{role}")
            db.execute("REVOKE CONNECT ON DATABASE postgres FROM it_department")
            db.execute("DROP ROLE it_department")


def test_failures_of_an_engine_read_as_one_sentence_without_the_password(server):
    nowhere = server.url("app").set(port=1, password="very secret")
    with pytest.raises(DatabaseUnavailable, match=r"127.0.0.1:1 does not answer") as caught:
        database.engine(nowhere).connect()
    assert "very secret" not in str(caught.value)
    with pytest.raises(DatabaseUnavailable, match="refuses the password"):
        database.engine(server.url("app").set(password="wrong")).connect()
    with pytest.raises(DatabaseUnavailable, match=r"has no database nosuch"):
        database.engine(server.url("postgres" if hasattr(server, "data") else "app", "nosuch")).connect()
