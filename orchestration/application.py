"""The wired application: what settings name, opened when first needed. Dagster assets, the API, the command line and
tests all use this one object; only the edges differ."""

from __future__ import annotations

import functools
import os
from types import TracebackType
from typing import Any

from sqlalchemy import Engine

from connectors.errors import PermanentError
from connectors.landing import Landing
from connectors.source import Source
from operations import access, database, migrations
from operations import settings as settings_store
from operations.errors import Conflict
from operations.manifest import PostgresManifest
from operations.postgres import EmbeddedPostgres
from orchestration import delivery, mornings
from orchestration.publish.files import DuckDBTarget, ParquetTarget
from orchestration.publish.postgres import PostgresTarget
from orchestration.publish.run import Target
from orchestration.settings import Settings
from orchestration.warehouse.store import Warehouse

HASH_KEY_BYTES = 32


class Application:
    """Use as a context manager: `with Application(settings) as app`.

    Opening starts the embedded PostgreSQL where one is used and brings the schema up to date; closing lets it stop once
    nobody else needs it.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        if settings.database_url:
            self.postgres = database.ExternalPostgres(settings.database_url, settings.home)
        else:
            self.postgres = EmbeddedPostgres(settings.home)

    # -- Life ----------------------------------------------------------------------------------------------------------

    def open(self) -> Application:
        if self.settings.unfinished_restore.exists():
            raise PermanentError(
                f"A restore into {self.settings.home} was interrupted: run `stockflow restore` with the same backup again."
            )
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.postgres.start()
        migrations.upgrade(self.owner_engine, self.postgres.names.role("app"))
        return self

    def close(self) -> None:
        for name in ("engine", "owner_engine"):
            if name in self.__dict__:
                self.__dict__.pop(name).dispose()
        self.postgres.stop()

    def __enter__(self) -> Application:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- State ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def engine(self) -> Engine:
        """As the role that reads and writes operational state."""
        return database.engine(self.postgres.url("app"))

    @functools.cached_property
    def owner_engine(self) -> Engine:
        """As the role that owns the schemas: migrations only."""
        return database.engine(self.postgres.url("owner"), pool_size=1)

    @functools.cached_property
    def manifest(self) -> PostgresManifest:
        return PostgresManifest(self.engine)

    @functools.cached_property
    def landing(self) -> Landing:
        return Landing(self.settings.landing, self.manifest)

    @functools.cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.settings.warehouse)

    @functools.cached_property
    def hash_key(self) -> bytes:
        """The key of customer hashes, made once. Losing it only means that old and new hashes no longer match."""
        path = self.settings.home / "hash.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(os.urandom(HASH_KEY_BYTES))
            # Two processes that start at once agree on whichever key was linked first.
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_bytes()

    def set_up(self) -> str | None:
        """What a new deployment needs once: its first administrator, and where approved documents go.

        Returns the path of the administrator's token when it was made now. The file stands in for `--token` on this
        machine; whoever may read it acts as that administrator.
        """
        mornings.reach_back(self.settings)
        routes = delivery.routes(self.settings)
        with self.engine.connect() as db:
            known = settings_store.get(db, "delivery_targets", {})
        if routes and known != {**known, **routes}:
            settings_store.put(self.engine, "delivery_targets", {**known, **routes}, actor="system:setup")
        try:
            token = access.create_first_admin(self.engine)
        except Conflict:
            return None
        path = self.settings.token_file
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(token)
        return str(path)

    def explain(self, proposal_id: str) -> dict[str, Any]:
        """Recomputes a proposal from its frozen inputs; the API and the command line share it."""
        from orchestration.planning import cycle

        return cycle.explain(self.engine, self.settings.frozen, proposal_id)

    # -- Edges ---------------------------------------------------------------------------------------------------------

    def sources(self) -> list[Source]:
        """The configured sources."""
        return configured_sources(self.settings, hash_key=self.hash_key)

    def publish_targets(self) -> list[Target]:
        folder = self.settings.published
        return [
            PostgresTarget(lambda: database.connect(self.postgres.url("owner"))),
            DuckDBTarget(folder / "stockflow.duckdb"),
            ParquetTarget(folder / "parquet"),
        ]

    def dagster_url(self) -> str:
        """For Dagster's own storage; a secret."""
        url = self.postgres.url("dagster")
        return url.set(drivername="postgresql").render_as_string(hide_password=False)


def configured_sources(settings: Settings, *, hash_key: bytes) -> list[Source]:
    """What `config.yaml` names, in its order. Makes no connection."""
    from connectors import sandbox

    found: list[Source] = []
    for configured in settings.business.sources:
        found += sandbox.sources(configured.url, configured.token, hash_key=hash_key)
    return found
