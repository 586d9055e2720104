"""kill -9 at any point of a cycle, and what else fails: the next run finishes the work, and nothing is lost or doubled.

Commands run as processes, as people and schedulers start them; the shop they buy for answers in this one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import duckdb
import psutil
import pytest
import sqlalchemy as sa

from connectors.sandbox.platform import serve
from orchestration import dagster_home, dead_runs
from orchestration.application import HASH_KEY_BYTES, Application
from orchestration.cli.project import prepare_project
from orchestration.execution import execute, failures
from orchestration.settings import CHECKOUT, Settings
from orchestration.warehouse.store import Warehouse
from tests.e2e.small_home import HEADERS, MORNING, SHOP, environment, temporary_folder, write_settings

MAIN = "from orchestration.cli import main; main()"

# Enough to be sold, bought and forecast; each cycle runs in a process of its own.
SMALL = dataclasses.replace(SHOP, start=dt.date(2026, 8, 20), items=20, suppliers=3)


class Deployment:
    """A home that only processes of its own work on."""

    def __init__(self, home: Path, url: str):
        self.home, self.url = home, url

    def start(self, *arguments: str, limit_file_bytes: int | None = None, **environment: str) -> subprocess.Popen:
        def limit() -> None:
            if limit_file_bytes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_bytes, limit_file_bytes))

        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments],
            cwd=CHECKOUT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "STOCKFLOW_HOME": str(self.home), **environment},
            preexec_fn=limit if limit_file_bytes else None,
        )  # fmt: skip

    def plan(self, day: dt.date = MORNING, **options) -> subprocess.Popen:
        return self.start("run", "daily_planning_job", "--cycle-date", day.isoformat(), **options)

    def ends(self, process: subprocess.Popen) -> tuple[int, str, str]:
        """Exit code, standard output and error."""
        output, errors = process.communicate(timeout=400)
        return process.returncode, output, errors

    def succeeds(self, process: subprocess.Popen) -> None:
        code, output, errors = self.ends(process)
        assert code == 0, output + errors

    def move_clock(self, day: dt.date) -> None:
        import requests

        answer = requests.post(f"{self.url}/_clock", json={"as_of": day.isoformat()}, headers=HEADERS, timeout=60)
        answer.raise_for_status()

    @contextlib.contextmanager
    def application(self) -> Iterator[Application]:
        with environment(STOCKFLOW_HOME=str(self.home)), Application(Settings.from_environment()) as app:
            yield app

    def content(self) -> dict[str, object]:
        """Everything that must be the same however often it was tried: landed records, marts, proposals."""
        with self.application() as app, app.engine.connect() as db:
            files = app.manifest.files()
            landed = [app.landing.duckdb_path(f["path"]) for f in files if f["path"]]
            rows = db.execute(
                sa.text(
                    "SELECT proposal_id, cycle_date, kind, item_key, location_key, quantity, amount, status, reason "
                    "FROM operations.proposal ORDER BY proposal_id"
                )
            )
            proposals = [tuple(row) for row in rows]
            missing = [path for path in landed if not Path(path).exists()]
        with duckdb.connect(str(self.home / "published" / "stockflow.duckdb"), read_only=True) as db:
            records = Counter()
            for path in landed:
                # A version of a record is landed once.
                records.update(
                    db.execute("SELECT source, record_id, content_hash FROM read_parquet(?)", [path]).fetchall()
                )
            names = db.execute(
                "SELECT table_name FROM duckdb_tables() WHERE table_name NOT LIKE 'snapshot%'"
            ).fetchall()
            marts = {
                name: db.execute(f"SELECT count(*), sum(CAST(hash(t) AS HUGEINT)) FROM marts.{name} AS t").fetchone()
                for (name,) in names
            }
        return {"missing": missing, "records": records, "marts": marts, "proposals": proposals}

    def processes(self) -> list[psutil.Process]:
        """Everything alive that works for this home: by its arguments, its environment or its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and (
                    process.environ().get("STOCKFLOW_HOME") == str(self.home)
                    or any(str(self.home) in argument for argument in process.cmdline())
                ):
                    found.append(process)
        return found

    def postmaster(self) -> psutil.Process | None:
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            return psutil.Process(int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))
        return None


@contextlib.contextmanager
def deployment() -> Iterator[Deployment]:
    prepare_project()
    with temporary_folder() as folder, serve(folder / "shop", MORNING, SMALL) as url:
        made = Deployment(folder / "home", url)
        write_settings(made.home, url)
        # One key for all homes, or the same customer is another in each.
        (made.home / "hash.key").write_bytes(bytes(range(HASH_KEY_BYTES)))
        yield made
        for process in made.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


# -- Killed ------------------------------------------------------------------------------------------------------------


def die(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def until(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
def test_the_next_run_finishes_what_was_killed_at_fifty_points():
    """Ten mornings, five deaths in each: of the run itself or of PostgreSQL's server."""
    mornings = [MORNING + dt.timedelta(days=n) for n in range(10)]
    dice = random.Random(20)
    deaths = Counter()
    with deployment() as undisturbed, deployment() as disturbed:
        seconds = 0.0
        for day in mornings:
            for home in (undisturbed, disturbed):
                home.move_clock(day)
            began = time.monotonic()
            undisturbed.succeeds(undisturbed.plan(day))
            seconds = time.monotonic() - began
            for _ in range(5):
                process = disturbed.plan(day)
                time.sleep(dice.uniform(1, seconds * 0.9))
                victim = dice.choices(["run", "postgres"], [7, 3])[0]
                server = disturbed.postmaster()
                if victim == "postgres" and server is not None:
                    server.kill()
                else:
                    victim = "run"
                    die(process)
                code, output, errors = disturbed.ends(process) if victim != "run" else (-9, "", "")
                deaths[victim] += 1
                assert "Traceback" not in output + errors, output + errors
                assert code != 0 or victim == "postgres"  # a server that dies before it is used is started again
            disturbed.succeeds(disturbed.plan(day))
        expected, found = undisturbed.content(), disturbed.content()
        for part in expected:
            assert found[part] == expected[part], part
        for home in (undisturbed, disturbed):
            assert [" ".join(p.cmdline())[:200] for p in home.processes()] == []
    assert sum(deaths.values()) == 50
    assert min(deaths.values()) > 2, deaths
    print(f"\n50 deaths {dict(deaths)}; {sum(found['records'].values())} records, {len(found['proposals'])} proposals and "
          f"{len(found['marts'])} marts as without any; an undisturbed cycle takes {seconds:.0f} s")  # fmt: skip


@pytest.mark.long
def test_a_cycle_killed_while_dbt_runs_is_finished_by_the_next_run():
    with deployment() as home:
        process = home.plan()
        until((home.home / "warehouse" / "dbt_target" / "run").exists, process)
        time.sleep(1)
        die(process)
        home.succeeds(home.plan())
        found = home.content()
        assert found["missing"] == []
        assert max(found["records"].values()) == 1
        assert found["marts"]["fct_order_line"][0] > 1000
        assert len(found["proposals"]) > 3
        assert [" ".join(p.cmdline())[:200] for p in home.processes()] == []


# -- Failing -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop():
    """A deployment on which nothing has run yet."""
    with deployment() as made:
        yield made


def one_sentence(shop: Deployment, process: subprocess.Popen, *words: str) -> None:
    """It failed, and said why in a sentence for each step that did."""
    code, output, errors = shop.ends(process)
    assert code == 1, output + errors
    assert "Traceback" not in output + errors
    told = errors.strip()
    assert len(told.splitlines()) <= 4, told
    assert "dagster." not in told
    assert all(word in told for word in words), told


def test_postgres_that_does_not_answer(shop):
    nowhere = "postgresql://stockflow:secret-word@127.0.0.1:1/stockflow"
    process = shop.plan(STOCKFLOW_DATABASE_URL=nowhere)
    one_sentence(shop, process, "127.0.0.1:1")
    assert "secret-word" not in (process.args[-1])


def test_a_variable_that_config_yaml_needs_and_nobody_set(shop):
    config = shop.home / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("token: sandbox-token", "token: ${SHOP_TOKEN_NOT_SET}"))
    try:
        one_sentence(shop, shop.plan(), "SHOP_TOKEN_NOT_SET", "set it")
    finally:
        config.write_text(before)


@pytest.mark.long
def test_a_disk_too_full_to_land_what_is_pulled_keeps_nothing_of_it(shop):
    with shop.application() as app:  # the server, which writes for itself, is started without the limit
        app.set_up()
        process = shop.start("run", "ingest_job", limit_file_bytes=9_000)
        one_sentence(shop, process, "Cannot write to the landing location", "run the pull again")
        before = app.manifest.files()
        assert all(app.landing.exists(f["path"]) for f in before if f["path"])
        result = execute(app, "ingest_job")
        assert result.success, failures(result)
        after = app.manifest.files()
        assert after[: len(before)] == before
        assert sum(f["accepted"] for f in after) > sum(f["accepted"] for f in before) + 1000


def test_a_run_that_lost_postgres_does_not_keep_its_place_for_ever(shop):
    """It ends in order, but cannot say so: what it held is given back by the next run, which would wait for it else."""
    script = (
        "import os, signal, sys\n"
        "import dagster as dg\n"
        "from orchestration import dagster_home, dead_runs\n"
        "from orchestration.application import Application\n"
        "from orchestration.settings import Settings\n"
        "with Application(Settings.from_environment()) as app:\n"
        "    dagster_home.prepare(app)\n"
        "    with dg.DagsterInstance.get() as instance:\n"
        "        with dead_runs.alive(app.settings.dagster_home / 'running', instance, 'lost'):\n"
        "            instance.event_log_storage.set_concurrency_slots('warehouse', 1)\n"
        "            assert instance.event_log_storage.claim_concurrency_slot('warehouse', 'lost', 'step').is_claimed\n"
        "            os.kill(int(sys.argv[1]), signal.SIGKILL)\n"
    )
    with shop.application() as app:
        done = subprocess.run(
            [sys.executable, "-c", script, str(shop.postmaster().pid)], cwd=CHECKOUT, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "STOCKFLOW_HOME": str(shop.home)}, timeout=120, check=False,
        )  # fmt: skip
        assert "AssertionError" not in done.stderr, done.stderr
        app.postgres.start()
        dagster_home.prepare(app)
        with dg.DagsterInstance.get() as instance:
            assert instance.event_log_storage.get_concurrency_info("warehouse").active_run_ids == {"lost"}
            with dead_runs.alive(app.settings.dagster_home / "running", instance, "next"):
                assert instance.event_log_storage.get_concurrency_info("warehouse").active_run_ids == set()


def test_a_second_writer_waits_and_is_told_who_is_in_the_way(tmp_path):
    first = Warehouse(tmp_path / "warehouse" / "stockflow.duckdb")
    with first.connect(5) as db:
        db.execute("CREATE TABLE kept AS SELECT 1 AS n")
    hold = f"import duckdb, time; db = duckdb.connect({str(first.path)!r}); print('open', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(Exception, match=r"another program|Another process|Close other programs"), first.connect(1):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with first.connect(5) as db:
        assert db.execute("SELECT n FROM kept").fetchone() == (1,)
