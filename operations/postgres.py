"""PostgreSQL embedded: one server below STOCKFLOW_HOME, started by whoever needs it first.

Belongs here: making the data folder, starting and stopping the server, and knowing who still uses it. Roles, databases
and connections are the same for an external server and live in `operations.database`.

It listens on TCP at 127.0.0.1 only, every connection authenticates with scram-sha-256, and its passwords are random.

Layout below `home/postgres`
    data/           PostgreSQL's own; made whole under another name, then renamed
    secrets.json    passwords of the roles, mode 0600
    port            the port it listens on, kept from start to start
    holders/        one locked file per process that uses the server. The operating system unlocks it when the process
                    ends, however it ends, so a killed process never keeps the server alive and no pid is ever trusted.
    lock            held while somebody starts or stops the server
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock, Timeout
from sqlalchemy import URL

from operations import binaries
from operations.database import Names, Secrets, provision
from operations.errors import DatabaseUnavailable

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "150",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # Statements may carry what people typed; the log needs none of them.
    "log_min_error_statement": "panic",
    "idle_in_transaction_session_timeout": "10min",
}
_LOG_LIMIT = 10_000_000
_SPECIAL = frozenset('$`"\\')
"""pg_ctl starts the server through a shell, inside double quotes."""


class EmbeddedPostgres:
    """A server of our own. Use `start` and `stop`, or a `with` block; both may be repeated.

    `settings` are added to the server's configuration when the data folder is made.
    """

    names = Names()

    def __init__(self, home: Path | str, settings: Mapping[str, str] | None = None):
        self.folder = Path(home).expanduser().resolve() / "postgres"
        self.data = self.folder / "data"
        self.secrets = Secrets(self.folder / "secrets.json")
        self._settings = {**SETTINGS, **(settings or {})}
        self._lock = FileLock(self.folder / "lock")
        self._hold: FileLock | None = None

    # -- Use -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Makes sure that the server runs and that this process is known to use it."""
        if self._hold is not None and self.is_running():
            return
        if set(str(self.folder)) & _SPECIAL:
            raise DatabaseUnavailable(
                f"PostgreSQL cannot be started from a folder with {' '.join(sorted(_SPECIAL))} in its name: set "
                f"STOCKFLOW_HOME to another place than {self.folder.parent}."
            )
        try:
            self._start()
        except OSError as error:
            raise DatabaseUnavailable(
                f"Cannot use {error.filename or self.folder} ({error.strerror or error}): free space, or give this "
                "user the folder, or set STOCKFLOW_HOME to another place."
            ) from error

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            hold = self._hold or self._take_hold()
            try:
                if not self.is_running():
                    self._initialise()
                    self._launch()
                provision(self.url("postgres", "postgres"), self.names, self.secrets, whole_server=True)
            except BaseException:
                self._hold = None
                _drop(hold)
                raise
            self._hold = hold

    def stop(self) -> bool:
        """Gives the server up, and shuts it down unless another process still uses it. True when it is down."""
        if not self.folder.exists():
            return True
        with self._locked():
            if self._hold is not None:
                _drop(self._hold)
                self._hold = None
            if self.holders():
                return False
            if self.is_running():
                self._pg_ctl("stop", "-m", "fast", "-w", "-t", "120")
            return not self.is_running()

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, role: str = "app", database: str | None = None) -> URL:
        """Where and as whom to connect: role owner, app, bi, dagster (or postgres, the superuser)."""
        return URL.create(
            "postgresql+psycopg",
            username=self.names.role(role),
            password=self.secrets[role],
            host="127.0.0.1",
            port=self.port,
            database=database or self.names.database(role),
        )

    @property
    def port(self) -> int:
        return int((self.folder / "port").read_text())

    def is_running(self) -> bool:
        """Whether a server of this data folder is up and accepts connections."""
        pid, port, status = self._postmaster()
        if pid is None or status != "ready" or not self._is_ours(pid):
            return False
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def holders(self) -> list[int]:
        """Process ids that use the server now, as their files tell; files of ended processes are removed."""
        alive = []
        for path in sorted((self.folder / "holders").glob("*")):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                alive.append(int(path.name.split("-")[0]))
            else:
                _drop(lock)
        return alive

    # -- How -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._lock.acquire(timeout=300)
        except Timeout as error:
            raise DatabaseUnavailable(
                f"Another process has been starting or stopping PostgreSQL in {self.folder} for five minutes: "
                "end it, then try again."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def _take_hold(self) -> FileLock:
        folder = self.folder / "holders"
        folder.mkdir(exist_ok=True)
        hold = FileLock(folder / f"{os.getpid()}-{uuid.uuid4().hex}")
        hold.acquire(timeout=0)
        return hold

    def _postmaster(self) -> tuple[int | None, int, str]:
        """(pid, port, status) from PostgreSQL's own lock file; pid None where there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), int(lines[3]), lines[7].strip()
        except (OSError, IndexError, ValueError):
            return None, 0, ""

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` is a live postgres that works in our data folder, and not a number used again by another."""
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _initialise(self) -> None:
        if (self.data / "PG_VERSION").exists():
            found = int((self.data / "PG_VERSION").read_text())
            if found != binaries.MAJOR_VERSION:
                raise DatabaseUnavailable(
                    f"{self.data} was made by PostgreSQL {found} and this release brings {binaries.MAJOR_VERSION}: "
                    "restore a `stockflow backup` into a new STOCKFLOW_HOME, or keep the former release."
                )
            return
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password_file = self.folder / "password.new"
        password_file.unlink(missing_ok=True)
        account = binaries.Account.for_data(new)
        try:
            descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as out:
                out.write(self.secrets["postgres"])
            if account is not None:
                account.may_search(self.folder)
                for path in (new, password_file):
                    os.chown(path, account.uid, account.gid)
            done = binaries.run(
                "initdb", "-D", new, "-U", "postgres", f"--pwfile={password_file}", "--auth=scram-sha-256",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                *(("--no-sync",) if self._settings.get("fsync") == "off" else ()),
                account=account, cwd=self.folder,
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode:
            raise DatabaseUnavailable(_sentence("The embedded PostgreSQL could not be set up", done.stderr, self.data))
        with (new / "postgresql.conf").open("a") as out:
            out.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
        (new / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        os.replace(new, self.data)

    def _launch(self) -> None:
        log = self.data / "server.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            os.replace(log, self.data / "server.log.1")
        output = ""
        for attempt in range(6):
            self._clear_stale_pid()
            port = self._free_port(again=attempt > 0)
            before = log.stat().st_size if log.exists() else 0
            done = self._pg_ctl("start", "-w", "-t", "300", "-l", str(log), "-o", f"-p {port}")
            if done.returncode == 0:
                return
            output = done.stderr + done.stdout
            if log.exists():
                with log.open(errors="replace") as text:
                    text.seek(before)
                    output += text.read()
            if "Address already in use" not in output and "shared memory block" not in output:
                break
            # A server killed a moment ago leaves processes that end by themselves within seconds.
            time.sleep(attempt)
        raise DatabaseUnavailable(_sentence("The embedded PostgreSQL did not start", output, self.data))

    def _pg_ctl(self, *arguments: str):
        account = binaries.Account.for_data(self.data)
        if account is not None:
            account.may_search(self.folder)
        return binaries.run("pg_ctl", "-D", self.data, *arguments, account=account, cwd=self.folder)

    def _clear_stale_pid(self) -> None:
        """Removes the lock file of a dead server whose pid another program has got since (common in containers).

        PostgreSQL itself handles every other case, and must: while any process of the old server still works in the
        folder, its lock file stays.
        """
        pid, _, _ = self._postmaster()
        if pid is None or not psutil.pid_exists(pid) or self._is_ours(pid):
            return
        for process in psutil.process_iter(["name"]):
            try:
                if "postgres" in (process.info["name"] or "") and Path(process.cwd()) == self.data:
                    return
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _free_port(self, again: bool) -> int:
        """The port kept from last time while nobody else took it, else a free one, which is kept from now on."""
        kept = self.folder / "port"
        if kept.exists() and not again and is_free(self.port):
            return self.port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        fresh = kept.with_suffix(".new")
        fresh.write_text(str(port))
        os.replace(fresh, kept)
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _drop(lock: FileLock) -> None:
    path = Path(lock.lock_file)
    path.unlink(missing_ok=True)
    lock.release(force=True)


def _sentence(what: str, output: str, data: Path) -> str:
    if "No space left on device" in output:
        return f"{what}: the disk of {data} is full. Free space, then try again; nothing was lost."
    if "Permission denied" in output:
        return f"{what}: {data} is not accessible to the account it runs under. Correct the owner of the folder."
    lines = [line for line in output.splitlines() if "FATAL" in line or "error:" in line] or output.splitlines()[-1:]
    return f"{what} ({' '.join(lines).strip() or 'no message'}). The whole log is {data / 'server.log'}."
