"""A backup: everything that nothing else can rebuild, in one folder whose every byte is accounted for.

    manifest.json      SHA-256 and size of each other file, the release and when it was made
    operations.backup  the operational database at one instant
    landing/           the files that the manifest in that database names; they are immutable, so later ones do no harm
    frozen/            what each cycle decided from
    models/            trained models, and which is in use
    settings/          config.yaml, parameters.yaml, forecast.yaml, mappings/, hash.key, admin.token, first_morning

Not in it, because it is rebuilt: the warehouse and the published marts (from landing, by the next cycle), forecasts,
and the run history of the web UI. The folder holds secrets (the key of customer hashes, an administrator's token): it is
readable to its owner only, and is to be kept as such.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import fsspec

from connectors.errors import PermanentError
from connectors.landing import named_paths
from operations import backup as database_backup
from operations import database
from operations.migrations import head_revision
from operations.postgres import EmbeddedPostgres
from orchestration.application import Application
from orchestration.settings import Settings

FORMAT = 1
MANIFEST, DUMP = "manifest.json", "operations.backup"
SETTINGS = ("config.yaml", "parameters.yaml", "forecast.yaml", "mappings", "hash.key", "admin.token", "first_morning")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Summary:
    """What a backup holds. `files` by what they are, `bytes` in all, `made_at` in UTC."""

    folder: Path
    made_at: str
    files: dict[str, int]
    bytes: int


# -- Making one --------------------------------------------------------------------------------------------------------


def make(app: Application, folder: Path) -> Summary:
    """Writes a backup to `folder`, which must not exist; whole or not at all, while others work on.

    Raises PermanentError or an OperationsError when it cannot be written or the database cannot be read.
    """
    folder = folder.expanduser().resolve()
    home = app.settings.home
    if folder.exists():
        raise PermanentError(f"{folder} exists already: name a folder that does not, such as one with today's date.")
    if folder.is_relative_to(home):
        raise PermanentError(f"{folder} lies below {home} and would be lost with it: choose another place.")
    building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        building.mkdir(parents=True, mode=0o700)
        database_backup.dump(app.postgres.url("owner"), building / DUMP)
        # After the dump: whatever it names has been there since before, and stays.
        paths = named_paths(database_backup.landed_files(building / DUMP))
        files = {DUMP: _digest(building / DUMP)}
        fs, root = fsspec.core.url_to_fs(app.settings.landing)
        for path in sorted(paths):
            files[f"landing/{path}"] = _copy(
                lambda path=path: fs.open(f"{root}/{path}", "rb"), building / "landing" / path
            )
        for name in ("frozen", "models"):
            files |= _copy_tree(home / name, building, name)
        for name in SETTINGS:
            files |= _copy_tree(home / name, building, f"settings/{name}")
        made_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        content = {"format": FORMAT, "made_at": made_at, "release": head_revision(), "files": files}
        with _private(building / MANIFEST) as out:
            out.write(json.dumps(content, indent=1).encode())
            out.flush()
            os.fsync(out.fileno())
        for path in building.rglob("*"):
            if path.is_dir():
                path.chmod(0o700)
        os.rename(building, folder)
        _sync(folder.parent)
    except FileNotFoundError as error:
        raise PermanentError(
            f"{error.filename} is missing, so this would be no whole backup: `stockflow doctor` says what is gone."
        ) from error
    except OSError as error:
        raise PermanentError(
            f"Cannot write the backup {folder} ({error.strerror or error}): free space or choose another place; nothing "
            "was left there."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _summary(folder, content)


# -- Taking one back ---------------------------------------------------------------------------------------------------


def verify(folder: Path) -> Summary:
    """Reads every byte of a backup. Raises PermanentError naming the first file that is missing or altered."""
    folder = folder.expanduser().resolve()
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kind, files = content["format"], content["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise PermanentError(
            f"{folder} is not a backup made by `stockflow backup`: it has no readable {MANIFEST}."
        ) from None
    if kind != FORMAT:
        raise PermanentError(f"{folder} was made by a newer release (format {kind}): restore it with that one.")
    for name, expected in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder) or not path.is_file():
            raise PermanentError(f"The backup {folder} is damaged: {name} is missing. Use another one.")
        if _digest(path) != expected:
            raise PermanentError(f"The backup {folder} is damaged: {name} was altered. Use another one.")
    missing = {f"landing/{path}" for path in named_paths(database_backup.landed_files(folder / DUMP))} - set(files)
    if missing:
        raise PermanentError(f"The backup {folder} is damaged: {min(missing)} is missing. Use another one.")
    return _summary(folder, content)


def restore(settings: Settings, folder: Path, *, force: bool = False) -> Summary:
    """Puts a backup back into the home and the database that `settings` name; all of it is checked first.

    A home or database with something in it is refused unless `force`: then the database, the settings and the model in
    use are replaced, and files that the backup does not know stay. The warehouse and what was published are deleted,
    for the next cycle to rebuild from landing. A restore that was interrupted is finished by running it again; until
    then nothing else can use the home.
    """
    summary = verify(folder)
    folder = summary.folder
    home = settings.home
    if folder.is_relative_to(home):
        raise PermanentError(f"{folder} lies below {home}: move it out of there first.")
    marker = settings.unfinished_restore
    if not marker.exists() and not force:
        _refuse_what_is_there(settings)
    if settings.database_url is None and (holders := EmbeddedPostgres(home).holders()):
        raise PermanentError(
            f"Stockflow is running in {home} (process {holders[0]}): stop it, `stockflow ui` for one, then restore."
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{folder}\n", encoding="utf-8")
        _sync(home)
        fs, root = fsspec.core.url_to_fs(settings.landing)
        names = list(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
        for name in names:
            top, _, rest = name.partition("/")
            if top == "landing":
                fs.makedirs(f"{root}/{rest}".rsplit("/", 1)[0], exist_ok=True)
                fs.put_file(str(folder / name), f"{root}/{rest}")
            elif top in ("frozen", "models"):
                _put(folder / name, home / name, 0o644)
            elif top == "settings":
                _put(folder / name, home / rest, 0o600)
        # Before the database: a warehouse that knows batches the database does not would never load them again.
        for gone in (settings.warehouse.parent, settings.published, settings.forecasts):
            if gone.exists():
                shutil.rmtree(gone)
    except OSError as error:
        raise PermanentError(
            f"Cannot write to {error.filename or home} ({error.strerror or error}): correct that, then run the restore "
            "again to finish it."
        ) from error
    app = Application(settings)
    app.postgres.start()
    try:
        database_backup.restore(
            app.postgres.url("owner"), folder / DUMP, app_role=app.postgres.names.role("app")
        )  # fmt: skip
    finally:
        app.postgres.stop()
    marker.unlink()
    _sync(home)
    return summary


def _refuse_what_is_there(settings: Settings) -> None:
    home = settings.home
    found = sorted(path.name for path in home.iterdir()) if home.exists() else []
    if found:
        raise PermanentError(
            f"{home} is not empty (it has {', '.join(found[:4])}): set STOCKFLOW_HOME to an empty folder, or add --force "
            "to replace what is there."
        )
    if settings.database_url is not None and _has_documents(settings):
        raise PermanentError(
            "The database that STOCKFLOW_DATABASE_URL names is in use: name an empty one, or add --force to replace "
            "what is there."
        )


def _has_documents(settings: Settings) -> bool:
    postgres = database.ExternalPostgres(settings.database_url, settings.home)
    postgres.start()
    with database.connect(postgres.url("owner")) as db:
        if db.execute("SELECT to_regclass('operations.landing_manifest')").fetchone()[0] is None:
            return False
        query = "SELECT EXISTS (FROM operations.landing_manifest) OR EXISTS (FROM operations.cycle)"
        return bool(db.execute(query).fetchone()[0])


# -- Files -------------------------------------------------------------------------------------------------------------


def _copy_tree(source: Path, building: Path, name: str) -> dict[str, dict[str, object]]:
    """A file, or a folder without what is only being written; {} where there is neither."""
    if source.is_file():
        return {name: _copy(lambda: source.open("rb"), building / name)}
    found = {}
    for path in sorted(source.rglob("*")) if source.is_dir() else []:
        relative = path.relative_to(source)
        is_unfinished = any(part.startswith(".") for part in relative.parts) or path.suffix == ".tmp"
        if path.is_file() and not path.is_symlink() and not is_unfinished:
            with contextlib.suppress(FileNotFoundError):  # past its time, and deleted meanwhile
                found[f"{name}/{relative.as_posix()}"] = _copy(
                    lambda path=path: path.open("rb"), building / name / relative
                )
    return found


def _copy(opened: Callable[[], BinaryIO], target: Path) -> dict[str, object]:
    """Copies to a file that only we may read; returns its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with opened() as source:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _private(target) as out:
            for chunk in iter(lambda: source.read(_CHUNK), b""):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            out.flush()
            os.fsync(out.fileno())
    return {"sha256": digest.hexdigest(), "bytes": size}


def _put(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, fresh)
    fresh.chmod(mode)
    os.replace(fresh, target)


def _digest(path: Path) -> dict[str, object]:
    with path.open("rb") as source:
        return {"sha256": hashlib.file_digest(source, "sha256").hexdigest(), "bytes": path.stat().st_size}


@contextlib.contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        yield out


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _summary(folder: Path, content: dict) -> Summary:
    counts: dict[str, int] = {}
    for name in content["files"]:
        top = name.split("/", 1)[0]
        counts[top] = counts.get(top, 0) + 1
    return Summary(folder, content["made_at"], counts, sum(file["bytes"] for file in content["files"].values()))
