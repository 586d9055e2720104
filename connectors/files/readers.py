"""From a user's file to a DuckDB relation of its rows, safely, with the row number of each.

`open_source` decides by extension and by the file's first bytes, refuses what it cannot trust, and leaves a view
`source` in the given database: one column `file_row`, and the file's columns under the names of `column_name`. Nothing
is interpreted here: text stays text until a mapping says what it is, so a cell such as `=1+1` is only data.

Row numbers are the ones a person sees: in CSV and XLSX the header is row 1 (or the row after `skip_rows`) and blank
lines of a CSV are not counted; in Parquet the first row is row 1.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from connectors.errors import PermanentError
from connectors.files.mapping import Reading
from connectors.files.values import quote

EXTENSIONS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")


@dataclass(frozen=True)
class BrokenRow:
    """A row whose shape is wrong before any value is looked at."""

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class SourceTable:
    """What `open_source` found. `columns` maps the file's column names to DuckDB types; `rows` counts whole rows,
    `broken` those beside them; `delimiter` is that of a text file; `note` says what was found out by looking (encoding,
    delimiter, sheet)."""

    columns: dict[str, str]
    rows: int
    last_row: int
    broken: list[BrokenRow] = field(default_factory=list)
    note: str = ""
    delimiter: str | None = None

    @property
    def received(self) -> int:
        return self.rows + len(self.broken)


def column_name(name: str) -> str:
    """Quoted name of a file's column in the view `source`; the prefix keeps it apart from every name of ours."""
    return quote(f"s:{name}")


def checked_path(path: str | Path, root: str | Path | None = None) -> Path:
    """The file's real path. With `root` (a drop folder) the file must lie in it, without any symbolic link on the way.

    Raises PermanentError with one sentence for what is missing, outside, a link, or no regular file.
    """
    given = Path(path)
    try:
        if root is not None:
            base = Path(root).resolve(strict=True)
            inside = given if given.is_absolute() else base / given
            relative = _below(inside, base, Path(root))
            step = base
            for part in relative.parts:
                step = step / part
                if step.is_symlink():
                    raise PermanentError(
                        f"{given} is refused: {step.name} is a symbolic link; copy the file itself here."
                    )
            given = step
        real = given.resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError as error:
        raise PermanentError(f"There is no file {path}; check the path.") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise PermanentError(f"{str(path)[:200]!r} cannot be opened: {error}.") from error
    if not stat.S_ISREG(mode):
        raise PermanentError(f"{path} is not a file; give one CSV, XLSX or Parquet file.")
    return real


def _below(path: Path, base: Path, root: Path) -> Path:
    for parent in (base, root.absolute()):
        if path.is_relative_to(parent):
            relative = path.relative_to(parent)
            if ".." not in relative.parts:
                return relative
    raise PermanentError(f"{path} is refused: it leaves the folder {root}; put the file into that folder.")


def open_source(
    db: duckdb.DuckDBPyConnection, path: Path, reading: Reading, wanted: frozenset[str], scratch: Path
) -> SourceTable:
    """Makes the view `source` of the file at `path` (from `checked_path`).

    `wanted` are the column names the mapping uses: they tell a CSV's delimiter. `scratch` is an empty folder for
    temporary copies. Raises PermanentError with one sentence for what cannot be read.
    """
    from connectors.files import delimited, workbook

    with path.open("rb") as opened:
        head = opened.read(4096)
    if not head.strip(b"\xef\xbb\xbf \t\r\n\x00"):
        raise PermanentError(f"{path.name} is empty; export it again.")
    extension, looks = path.suffix.lower(), _looks_like(head)
    if extension not in EXTENSIONS:
        raise PermanentError(
            f"{path.name} is no file that can be imported; export it as one of {', '.join(EXTENSIONS)}."
        )
    expected = {".xlsx": "xlsx", ".parquet": "parquet"}.get(extension, "text")
    if looks == "xls":
        raise PermanentError(f"{path.name} is an old or password-protected Excel file; save it as a plain .xlsx.")
    if looks != expected:
        raise PermanentError(
            f"{path.name} is named {extension} but holds {_WORDS[looks]}; rename it or export it again."
        )
    if expected == "parquet":
        table = _open_parquet(db, path)
    elif expected == "xlsx":
        table = workbook.open_workbook(db, path, reading)
    else:
        table = delimited.open_delimited(db, path, reading, wanted, scratch)
    if table.received == 0:
        raise PermanentError(f"{path.name} has a header but no rows; export it again.")
    return table


_WORDS = {
    "xlsx": "an Excel workbook or ZIP archive",
    "parquet": "Parquet data",
    "text": "text",
    "binary": "binary data",
}


def _looks_like(head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "xls"
    if b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "binary"
    return "text"


def _open_parquet(db: duckdb.DuckDBPyConnection, path: Path) -> SourceTable:
    read = "read_parquet([$path], file_row_number => true)".replace("$path", "'" + str(path).replace("'", "''") + "'")
    try:
        described = db.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()
        columns = {name: kind for name, kind, *_ in described if name != "file_row_number"}
        shown = "".join(f", {quote(name)} AS {column_name(name)}" for name in columns)
        db.execute(f"CREATE TEMP VIEW source AS SELECT file_row_number + 1 AS file_row{shown} FROM {read}")
        (rows,) = db.execute("SELECT count(*) FROM source").fetchone()
    except duckdb.Error as error:
        raise PermanentError(
            f"{path.name} cannot be read as Parquet: it is damaged or cut off; export or copy it again."
        ) from error
    return SourceTable(columns, rows, last_row=rows)
