"""A copy of the operational database in one file, and the way back.

Belongs here: dumping and restoring the schema `operations`, where everything is that nothing else can rebuild. Does not
belong here: landing (files of their own), the warehouse and the marts (rebuilt from landing).

The client programs come with the wheel and work with any server up to their own version.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from operations import binaries, database
from operations.errors import DatabaseUnavailable, Invalid
from operations.migrations import upgrade


def dump(owner: URL, path: Path | str) -> Path:
    """Writes the operational database as it is at one instant to `path`, whole or not at all. Others work on meanwhile.

    Raises DatabaseUnavailable when the server cannot be used, Invalid when the file cannot be written.
    """
    path = Path(path).expanduser().resolve()
    database.connect(owner).close()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Created here, so that nobody else can ever read it.
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        done = _run("pg_dump", owner, "--format=custom", "--schema=operations", "--no-owner", "--no-privileges",
                    f"--file={unfinished}")  # fmt: skip
        if done.returncode:
            raise DatabaseUnavailable(f"The backup was not made: {_last(done.stderr)}")
        with open(unfinished, "rb") as whole:
            os.fsync(whole.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise Invalid(
            f"Cannot write the backup {path} ({error.strerror or error}): choose another place or free space."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return path


def restore(owner: URL, path: Path | str, *, app_role: str = "stockflow_app") -> None:
    """Replaces the operational database by the copy in `path`, in one transaction, then brings it up to this release.

    Whatever is in the database now is lost. Until the end others see the former state; a restore that fails or is
    killed leaves it. Raises Invalid when the file is no backup, Conflict when it comes from a newer release.
    """
    path = Path(path).expanduser().resolve()
    if not path.exists():
        raise Invalid(f"There is no backup {path}.")
    database.connect(owner).close()
    with tempfile.TemporaryDirectory(prefix="stockflow-restore-") as folder:
        script = Path(folder) / "operations.sql"
        read = binaries.run("pg_restore", "--no-owner", "--no-privileges", f"--file={script}", path, timeout=None)
        if read.returncode:
            raise Invalid(f"{path} is not a backup made by Stockflow, or is damaged: {_last(read.stderr)}")
        done = _run(
            "psql", owner, "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=on",
            "--command=SET lock_timeout = '60s'", "--command=DROP SCHEMA IF EXISTS operations CASCADE",
            f"--file={script}",
        )  # fmt: skip
    if done.returncode:
        raise DatabaseUnavailable(f"The backup was not restored, nothing was changed: {_last(done.stderr)}")
    engine = database.engine(owner)
    try:
        upgrade(engine, app_role)
    finally:
        engine.dispose()


def landed_files(path: Path | str) -> list[dict[str, Any]]:
    """The landing manifest as it is in a dump: source, batch_id, path (None where nothing was accepted), quarantined.

    Raises Invalid when the file is no backup.
    """
    read = binaries.run(
        "pg_restore", "--data-only", "--schema=operations", "--table=landing_manifest", "--file=-", path, timeout=None
    )
    if read.returncode:
        raise Invalid(f"{path} is not a backup made by Stockflow, or is damaged: {_last(read.stderr)}")
    rows: list[dict[str, Any]] = []
    columns: list[str] | None = None
    for line in read.stdout.splitlines():
        if columns is None:
            if line.startswith("COPY operations.landing_manifest ("):
                columns = [name.strip(' "') for name in line[line.index("(") + 1 : line.index(")")].split(",")]
        elif line == "\\.":
            columns = None
        else:
            row = dict(zip(columns, line.split("\t"), strict=True))
            rows.append(
                {
                    "source": row["source"], "batch_id": row["batch_id"], "quarantined": int(row["quarantined"]),
                    "path": None if row["path"] == "\\N" else row["path"],
                }
            )  # fmt: skip
    return rows


def _run(program: str, url: URL, *arguments: str) -> subprocess.CompletedProcess[str]:
    whom = (
        f"--host={url.host}",
        f"--port={url.port or 5432}",
        f"--username={url.username}",
        f"--dbname={url.database}",
    )
    return binaries.run(program, *whom, *arguments, environment={"PGPASSWORD": url.password or ""}, timeout=None)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
