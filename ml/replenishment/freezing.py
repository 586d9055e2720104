"""Frozen inputs on disk or in an object store, named by their content.

    <folder>/tables/<sha256>.parquet     one table; the same content is stored once, however many cycles use it
    <folder>/cycles/<sha256>.json        a cycle's tables, parameters, dependence and which model the forecasts are from;
                                         its hash names the whole

A file is either whole or not there, and is verified whenever it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import uuid
from collections.abc import Collection
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ml.replenishment.errors import FrozenInputsDamaged
from ml.replenishment.inputs import TABLES, FrozenInputs, item_column, to_frame
from ml.replenishment.parameters import Parameters

FORMAT = 1


def freeze(inputs: FrozenInputs, folder: str) -> str:
    """Stores `inputs` under `folder` (a path or fsspec URL) and returns the SHA-256 that names them, 64 hex digits.

    The same content gives the same hash and is stored once. Raises OSError where the folder cannot be written.
    """
    fs, root = fsspec.core.url_to_fs(folder)
    hashes = {}
    for name in TABLES:
        content = io.BytesIO()
        # Nothing that depends on the moment or the machine: no pandas metadata, one row group, fixed encodings.
        table = inputs.table(name).replace_schema_metadata(None)
        pq.write_table(table, content, compression="zstd", row_group_size=max(1, table.num_rows), store_schema=False)
        hashes[name] = _put(fs, f"{root}/tables", ".parquet", content.getvalue())
    index = {
        "format": FORMAT,
        "parameters": json.loads(inputs.parameters.canonical()),
        "dependence": dict(inputs.dependence),
        "issued_by": dict(inputs.issued_by),
        "tables": hashes,
    }
    return _put(fs, f"{root}/cycles", ".json", json.dumps(index, sort_keys=True, indent=1).encode())


def thaw(frozen_hash: str, folder: str, items: Collection[str] | None = None) -> FrozenInputs:
    """The inputs that `freeze` stored under this hash, or of them what concerns `items`.

    Raises FrozenInputsDamaged when a file is missing or altered.
    """
    index = _index(frozen_hash, folder)
    tables = {name: to_frame(_table(index, name, folder, items)) for name in TABLES}
    parameters = Parameters.model_validate(index["parameters"])
    return FrozenInputs(
        **tables, parameters=parameters, dependence=index["dependence"], issued_by=index.get("issued_by", {})
    )


def thaw_table(frozen_hash: str, folder: str, name: str) -> pa.Table:
    """One table of the inputs that `freeze` stored under this hash. Raises as `thaw` does."""
    return _table(_index(frozen_hash, folder), name, folder)


def issued_by(frozen_hash: str, folder: str) -> dict[str, str]:
    """`FrozenInputs.issued_by` of what was stored under this hash. Raises as `thaw` does."""
    return _index(frozen_hash, folder).get("issued_by", {})


def _index(frozen_hash: str, folder: str) -> dict[str, Any]:
    fs, root = fsspec.core.url_to_fs(folder)
    index = json.loads(_get(fs, f"{root}/cycles/{frozen_hash}.json", frozen_hash))
    if index["format"] != FORMAT:
        raise FrozenInputsDamaged(
            f"Frozen inputs {frozen_hash} have format {index['format']}; this version reads format {FORMAT}."
        )
    return index


def _table(index: dict[str, Any], name: str, folder: str, items: Collection[str] | None = None) -> pa.Table:
    fs, root = fsspec.core.url_to_fs(folder)
    content = _get(fs, f"{root}/tables/{index['tables'][name]}.parquet", index["tables"][name])
    column = item_column(name)
    if items is None or column is None:
        return pq.read_table(io.BytesIO(content))
    return pq.read_table(io.BytesIO(content), filters=[(column, "in", [*items, ""])])


def _get(fs: fsspec.AbstractFileSystem, path: str, digest: str) -> bytes:
    try:
        content = fs.cat_file(path)
    except FileNotFoundError as error:
        raise FrozenInputsDamaged(f"The frozen inputs {path} are gone; restore them from the backup.") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise FrozenInputsDamaged(f"The frozen inputs {path} were altered; restore them from the backup.")
    return content


def _put(fs: fsspec.AbstractFileSystem, folder: str, suffix: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = f"{folder}/{digest}{suffix}"
    with contextlib.suppress(FrozenInputsDamaged):
        _get(fs, path, digest)
        return digest
    if isinstance(fs, LocalFileSystem):
        _write_durably(folder, path, content)
    else:
        fs.pipe_file(path, content)
    return digest


def _write_durably(folder: str, path: str, content: bytes) -> None:
    os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
