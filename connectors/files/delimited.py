"""CSV and other delimited text: encoding, delimiter, then DuckDB's parallel reader.

DuckDB reads well-formed files. A file it stumbles over (a row with too many or too few fields, a stray quote) is read
once more row by row, so that the broken rows are set aside with their row numbers and the others are kept.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.errors import PermanentError
from connectors.files.mapping import Reading
from connectors.files.readers import BrokenRow, SourceTable, column_name
from connectors.files.values import literal

DELIMITERS = ",;\t|"
LONGEST_LINE = 16_000_000
_BLOCK = 1 << 22
_BATCH = 50_000


def open_delimited(
    db: duckdb.DuckDBPyConnection, path: Path, reading: Reading, wanted: frozenset[str], scratch: Path
) -> SourceTable:
    """Stages the file as the temporary table `source_rows` and the view `source`; see `readers.open_source`."""
    encoding = reading.encoding or find_encoding(path)
    text = _as_utf8(path, encoding, scratch)
    delimiter = reading.delimiter or find_delimiter(text, reading.skip_rows, wanted)
    header = _header(text, delimiter, reading.skip_rows, path.name)
    first_row = reading.skip_rows + 2
    names = ", ".join(f"{literal(f's:{name}')}: 'VARCHAR'" for name in header)
    broken: list[BrokenRow] = []
    try:
        db.execute(
            f"""
            CREATE TEMP TABLE source_rows AS SELECT * FROM read_csv(
                {literal(str(text))}, auto_detect => false, header => true, skip => {reading.skip_rows},
                delim => {literal(delimiter)}, quote => '"', escape => '"', columns => {{{names}}},
                strict_mode => true, null_padding => false, max_line_size => {LONGEST_LINE},
                buffer_size => {2 * LONGEST_LINE})
            """
        )
        db.execute(f"CREATE TEMP VIEW source AS SELECT rowid + {first_row} AS file_row, * FROM source_rows")
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        db.execute("DROP TABLE IF EXISTS source_rows")
        broken = _row_by_row(db, text, delimiter, reading.skip_rows, header, path.name)
    rows, last = db.execute("SELECT count(*), max(file_row) FROM source").fetchone()
    last = max([last or 0, *(b.row for b in broken)])
    shown = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}.get(delimiter, repr(delimiter))
    return SourceTable(
        dict.fromkeys(header, "VARCHAR"), rows, last, broken, f"{encoding}, {shown} separated", delimiter
    )


def find_encoding(path: Path) -> str:
    """`utf-8`, `utf-16`, `gb18030` or `cp1252`, by the byte order mark or by looking at every byte.

    What is not UTF-8 is GB18030 (the superset of GBK that Chinese exports use) when its high bytes come in the pairs of
    that encoding, else Western European. A mapping's `reading.encoding` overrides the guess.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as opened:
        block = opened.read(_BLOCK)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if block.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        suspicious = block
        try:
            while block:
                suspicious = block
                decoder.decode(block)
                block = opened.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "gb18030" if _is_chinese(suspicious) else "cp1252"
    return "utf-8"


def _is_chinese(block: bytes) -> bool:
    high = sum(len(run) for run in re.findall(rb"[\x80-\xff]+", block))
    paired = 2 * len(re.findall(rb"[\xa1-\xf7][\xa1-\xfe]", block))
    return high > 0 and paired >= 0.9 * high


def _as_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    """The file itself when it is plain UTF-8, else a copy that is."""
    if codecs.lookup(encoding).name == "utf-8" and encoding != "utf-8-sig":
        try:
            return path if find_encoding(path) == "utf-8" else _copied(path, "utf-8-sig", scratch)
        except UnicodeError as error:
            raise _not_in(path, encoding) from error
    try:
        return _copied(path, encoding, scratch)
    except UnicodeError as error:
        raise _not_in(path, encoding) from error


def _copied(path: Path, encoding: str, scratch: Path) -> Path:
    copy = scratch / "utf8.csv"
    with path.open(encoding=encoding, newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        while block := source.read(_BLOCK):
            target.write(block)
    return copy


def _not_in(path: Path, encoding: str) -> PermanentError:
    return PermanentError(
        f"{path.name} is not {encoding} text throughout; export it as UTF-8 or name its encoding in the mapping "
        "(reading: {encoding: gb18030})."
    )


def find_delimiter(text: Path, skip_rows: int, wanted: frozenset[str], encoding: str = "utf-8") -> str:
    """The delimiter whose header has most of the wanted columns; among equals the one that makes most columns."""
    header_line = next(_lines(text, skip_rows, encoding), "")

    def score(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter), [])]
        return len(wanted.intersection(names)), len(names)

    return max(DELIMITERS, key=score)


def _lines(text: Path, skip_rows: int, encoding: str = "utf-8") -> Iterator[str]:
    with text.open(encoding=encoding, newline="") as opened:
        for _ in range(skip_rows):
            opened.readline(LONGEST_LINE)
        while line := opened.readline(LONGEST_LINE):
            yield line


def _header(text: Path, delimiter: str, skip_rows: int, name: str) -> list[str]:
    try:
        row = next(csv.reader(_lines(text, skip_rows), delimiter=delimiter), None)
    except csv.Error as error:
        raise PermanentError(f"{name} has no readable header row ({error}); export it again.") from error
    if not row or not any(cell.strip() for cell in row):
        raise PermanentError(f"{name} has no header row; export it with column names in the first row.")
    return unique_names(row, name)


def unique_names(row: list[str], name: str) -> list[str]:
    """Column names of a header row, trimmed; unnamed ones are numbered; a name given twice is refused."""
    names = [cell.strip() or f"column_{index}" for index, cell in enumerate(row, 1)]
    twice = sorted({n for n in names if [x.casefold() for x in names].count(n.casefold()) > 1})
    if twice:
        raise PermanentError(f"{name} has the column {twice[0]!r} more than once; rename one of them.")
    return names


def _row_by_row(
    db: duckdb.DuckDBPyConnection, text: Path, delimiter: str, skip_rows: int, header: list[str], name: str
) -> list[BrokenRow]:
    """The same table as DuckDB's reader makes, from the csv module; returns the rows not as wide as the header."""
    shown = ", ".join(f"{column_name(column)} VARCHAR" for column in header)
    db.execute(f"CREATE TEMP TABLE source_rows (file_row BIGINT, {shown})")
    broken: list[BrokenRow] = []
    rows: list[list[str | None]] = []
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(_lines(text, skip_rows), delimiter=delimiter)
    try:
        next(reader)
        number = skip_rows + 1
        for row in reader:
            if not row:
                continue
            number += 1
            if len(row) != len(header):
                detail = f"the row has {len(row)} fields, the header {len(header)}"
                broken.append(BrokenRow(number, "wrong_number_of_fields", detail))
                continue
            rows.append([number, *(cell or None for cell in row)])
            if len(rows) == _BATCH:
                _append(db, rows, header)
                rows = []
    except csv.Error as error:
        raise PermanentError(
            f"{name} cannot be read at line {reader.line_num}: {error}; mend or export it again."
        ) from error
    if rows:
        _append(db, rows, header)
    db.execute("CREATE TEMP VIEW source AS SELECT * FROM source_rows")
    return broken


def _append(db: duckdb.DuckDBPyConnection, rows: list[list], header: list[str]) -> None:
    append_rows(db, "source_rows", rows, len(header))


def append_rows(db: duckdb.DuckDBPyConnection, table: str, rows: list[list], width: int) -> None:
    """Inserts rows of (number, text...) into a staged table."""
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(columns[0], pa.int64()), *(pa.array(column, pa.string()) for column in columns[1:])]
    batch = pa.table(arrays, names=[f"c{i}" for i in range(width + 1)])
    db.register("staged_batch", batch)
    db.execute(f"INSERT INTO {table} SELECT * FROM staged_batch")
    db.unregister("staged_batch")
