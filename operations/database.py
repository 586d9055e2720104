"""Roles, databases and connections, the same for the embedded server and for one of your own.

Belongs here: who may connect to what, and SQLAlchemy engines whose failures read as one clear sentence. Does not belong
here: tables (`operations.schema`), their upgrades (`operations.migrations`), running a server (`operations.postgres`).

Roles (named <prefix>_<role>)
    owner     owns the schemas `operations` and `marts`: migrations and publishing
    app       reads and writes the tables of `operations`, reads `marts`; defines nothing
    bi        reads `marts`; refused everything else
    dagster   owns the database <prefix>_dagster and nothing else
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets as randomness
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import URL, Engine
from sqlalchemy.engine import ExceptionContext

from operations.errors import DatabaseUnavailable

ROLES = ("owner", "app", "bi", "dagster")


@dataclass(frozen=True)
class Names:
    """What roles and databases are called; all begin with the main database's name."""

    prefix: str = "stockflow"

    def role(self, role: str) -> str:
        return "postgres" if role == "postgres" else f"{self.prefix}_{role}"

    def database(self, role: str) -> str:
        """The database a role works in."""
        return f"{self.prefix}_dagster" if role == "dagster" else self.prefix


class Secrets:
    """Passwords by role, random, made when first asked for and kept in one file of mode 0600."""

    def __init__(self, path: Path):
        self.path = path
        self._known: dict[str, str] = {}

    def __getitem__(self, role: str) -> str:
        if role not in self._known and self.path.exists():
            self._known = json.loads(self.path.read_text())
        if role not in self._known:
            self._known[role] = randomness.token_urlsafe(24)
            self._save()
        return self._known[role]

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(self._known, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, self.path)


class ExternalPostgres:
    """A server of your own, given as a URL whose role may create roles and databases; never started or stopped.

    Roles and databases are named after the URL's database, so that several deployments can share a server.
    """

    def __init__(self, url: str | URL, home: Path | str):
        self._admin = sa.make_url(url).set(drivername="postgresql+psycopg")
        if not self._admin.database:
            raise DatabaseUnavailable(
                "STOCKFLOW_DATABASE_URL names no database: write postgresql://user:password@host:5432/stockflow."
            )
        self.names = Names(self._admin.database)
        self.secrets = Secrets(Path(home).expanduser().resolve() / "postgres" / f"external-{self._admin.database}.json")

    def start(self) -> None:
        """Makes roles and databases where they are missing."""
        provision(self._admin.set(database="postgres"), self.names, self.secrets)

    def stop(self) -> bool:
        return False

    def __enter__(self) -> ExternalPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, role: str = "app", database: str | None = None) -> URL:
        """Where and as whom to connect: role owner, app, bi, dagster."""
        return self._admin.set(
            username=self.names.role(role),
            password=self.secrets[role],
            database=database or self.names.database(role),
        )


def connect(url: URL, **options: Any) -> psycopg.Connection:
    """A plain psycopg connection, failures told in one sentence."""
    try:
        return psycopg.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database,
            connect_timeout=10, **{**url.query, **options},
        )  # fmt: skip
    except psycopg.OperationalError as error:
        raise _unavailable(error, url) from None


def engine(url: URL, *, name: str = "stockflow", pool_size: int = 5) -> Engine:
    """An engine on one database: UTC, live connections only, JSON with exact decimals as text.

    Whatever it does raises DatabaseUnavailable when PostgreSQL is down, full or refuses the password.
    """
    made = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        json_serializer=_to_json,
        connect_args={"options": "-c timezone=UTC", "connect_timeout": 10, "application_name": name},
    )

    @sa.event.listens_for(made, "handle_error")
    def _explain(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, psycopg.OperationalError) and _is_unavailable(error):
            raise _unavailable(error, url) from error

    return made


def provision(admin: URL, names: Names, secrets: Secrets, *, whole_server: bool = False) -> None:
    """Makes the roles, databases and schemas, and sets who may do what; repeating it changes nothing.

    `whole_server`: the server is ours alone, so strangers are shut out of its other databases too.
    """
    # Databases cannot be made inside a transaction, hence autocommit; each step is idempotent instead.
    with connect(admin, autocommit=True) as db:
        _lock(db)
        is_superuser = db.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()[0]
        for role in ROLES:
            _make_role(db, names.role(role), secrets[role], grant_to_admin=not is_superuser)
        for role in ("owner", "dagster"):
            _make_database(db, names.database(role), names.role(role))
        shut = [names.database("owner"), names.database("dagster")]
        if whole_server:
            shut += ["postgres", "template1"]
        for database in shut:
            db.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        main = sql.Identifier(names.database("owner"))
        app, bi = sql.Identifier(names.role("app")), sql.Identifier(names.role("bi"))
        # Set-wise work passes through temporary tables.
        db.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(main, app))
        db.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(main, bi))
        for setting, value in (("default_transaction_read_only", "on"), ("statement_timeout", "10min"),
                               ("search_path", "marts"), ("timezone", "UTC")):  # fmt: skip
            db.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(bi, sql.Identifier(setting), sql.Literal(value)))
    with connect(admin.set(database=names.database("owner"))) as db:
        grants(db, names)


def grants(db: psycopg.Connection, names: Names) -> None:
    """Schemas of the main database and who may use them."""
    _lock(db)
    owner, app, bi = (sql.Identifier(names.role(role)) for role in ("owner", "app", "bi"))
    for statement in (
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "CREATE SCHEMA IF NOT EXISTS operations AUTHORIZATION {owner}",
        "CREATE SCHEMA IF NOT EXISTS marts AUTHORIZATION {owner}",
        "REVOKE ALL ON SCHEMA operations, marts FROM PUBLIC",
        "GRANT USAGE ON SCHEMA operations TO {app}",
        "GRANT USAGE ON SCHEMA marts TO {app}, {bi}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA marts TO {app}, {bi}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA marts GRANT SELECT ON TABLES TO {app}, {bi}",
    ):
        db.execute(sql.SQL(statement).format(owner=owner, app=app, bi=bi))


def _lock(db: psycopg.Connection) -> None:
    """Two processes that set up at once do it one after the other; released with the connection."""
    db.execute("SELECT pg_advisory_lock(hashtextextended('stockflow.provision', 0))")


def _make_role(db: psycopg.Connection, role: str, password: str, *, grant_to_admin: bool) -> None:
    name = sql.Identifier(role)
    if not db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        db.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        if grant_to_admin:
            db.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    # Only a verifier travels to the server, so no log of statements ever holds the password.
    verifier = db.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    db.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(verifier)))


def _make_database(db: psycopg.Connection, database: str, owner: str) -> None:
    if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        db.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(database), sql.Identifier(owner)
            )
        )
        return
    current = db.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]).fetchone()[0]
    if current != owner:
        db.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(owner)))


def _is_unavailable(error: psycopg.OperationalError) -> bool:
    state = error.sqlstate or ""
    return not state or state.startswith(("08", "28", "53", "57P", "3D")) or state == "58030"


def _unavailable(error: psycopg.OperationalError, url: URL) -> DatabaseUnavailable:
    where = f"PostgreSQL at {url.host}:{url.port or 5432}"
    text, state = str(error), error.sqlstate or ""
    if state.startswith("28") or "authentication failed" in text:
        sentence = (
            f"{where} refuses the password of {url.username}: correct STOCKFLOW_DATABASE_URL, or remove the stored "
            "password to have a new one set."
        )
    elif "permission denied for database" in text:
        sentence = f"{where} does not let {url.username} into {url.database}: permission denied for database."
    elif state in ("53100", "58030") or "No space left" in text:
        sentence = f"The disk of {where} is full: free space, then try again; nothing of this step was kept."
    elif state == "53300" or "too many" in text:
        sentence = f"{where} has no connection left: close other programs or raise max_connections."
    elif state == "3D000" or ("database" in text and "does not exist" in text):
        sentence = f"{where} has no database {url.database}: run `stockflow setup`."
    else:
        last = (text.strip().splitlines() or ["no answer"])[-1].strip()
        sentence = (
            f"{where} does not answer ({last}): start it, or correct STOCKFLOW_DATABASE_URL, then try again; nothing "
            "of this step was kept."
        )
    return DatabaseUnavailable(sentence)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
