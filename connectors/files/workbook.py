"""XLSX: checked as the archive it is, then streamed cell by cell.

A workbook is a ZIP of XML, and both can be made to hurt: a small file that unpacks to gigabytes, XML that pulls in
other files or expands itself. So the archive's size is checked before anything is unpacked, XML with a document type is
refused (Excel never writes one), and openpyxl parses through defusedxml. Formulas are never evaluated: the value Excel
stored with the cell is read.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path
from typing import Any

import duckdb

from connectors.errors import PermanentError
from connectors.files.delimited import append_rows, unique_names
from connectors.files.mapping import Reading
from connectors.files.readers import SourceTable, column_name

LARGEST_UNPACKED = 1 << 30
"""Bytes. A sheet with the format's greatest number of rows and ten columns takes about half of it."""
LARGEST_RATIO = 200
"""Unpacked to packed, for archives that unpack to more than `RATIO_FROM`; real sheets reach 10 to 60."""
RATIO_FROM = 50 << 20
MOST_PARTS = 10_000
_BATCH = 20_000
_DOCTYPE = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def open_workbook(db: duckdb.DuckDBPyConnection, path: Path, reading: Reading) -> SourceTable:
    """Stages one sheet as `source_rows` and the view `source`; see `readers.open_source`."""
    check_archive(path)
    try:
        from openpyxl import load_workbook

        book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except PermanentError:
        raise
    except Exception as error:  # openpyxl lets KeyError, ValueError, ParseError and others out for a damaged file
        raise _damaged(path) from error
    try:
        if reading.sheet is not None and reading.sheet not in book.sheetnames:
            raise PermanentError(f"{path.name} has no sheet {reading.sheet!r}; it has: {', '.join(book.sheetnames)}.")
        sheet = book[reading.sheet] if reading.sheet else next(iter(book.worksheets), None)
        if sheet is None:
            raise PermanentError(f"{path.name} has no sheet with cells; export it again.")
        sheet.reset_dimensions()
        return _stage(db, path, sheet, reading.skip_rows)
    except (PermanentError, duckdb.Error):
        raise
    except Exception as error:  # as above: the sheet's XML is parsed while it is iterated
        raise _damaged(path) from error
    finally:
        book.close()


def _stage(db: duckdb.DuckDBPyConnection, path: Path, sheet: Any, skip_rows: int) -> SourceTable:
    rows = enumerate(sheet.iter_rows(values_only=True), 1)
    header: list[str] = []
    for number, row in rows:
        cells = [cell_text(cell) or "" for cell in row]
        if number > skip_rows and any(cell.strip() for cell in cells):
            while cells and not cells[-1].strip():
                cells.pop()
            header = unique_names(cells, path.name)
            break
    if not header:
        raise PermanentError(f"The sheet {sheet.title!r} of {path.name} is empty; export it again.")
    width = len(header)
    names = "".join(f", {column_name(name)} VARCHAR" for name in header)
    db.execute(f"CREATE TEMP TABLE source_rows (file_row BIGINT{names})")
    batch: list[list] = []
    count = last = 0
    for number, row in rows:
        if all(cell is None for cell in row):
            continue
        cells = [cell_text(cell) for cell in row[:width]]
        batch.append([number, *cells, *[None] * (width - len(cells))])
        count, last = count + 1, number
        if len(batch) == _BATCH:
            append_rows(db, "source_rows", batch, width)
            batch = []
    if batch:
        append_rows(db, "source_rows", batch, width)
    db.execute("CREATE TEMP VIEW source AS SELECT * FROM source_rows")
    return SourceTable(dict.fromkeys(header, "VARCHAR"), count, last, note=f"sheet {sheet.title!r}")


def cell_text(value: Any) -> str | None:
    """A cell as the text a person sees: whole numbers without decimals, others with Excel's 15 digits, dates as ISO."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".15g")
    if isinstance(value, dt.datetime):
        if value.time() == dt.time():
            return value.date().isoformat()
        return value.isoformat(sep=" ", timespec="microseconds" if value.microsecond else "seconds")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def check_archive(path: Path) -> None:
    """Refuses a workbook that would unpack to too much, or whose XML brings its own document type.

    The sizes in the archive's directory may lie; `zipfile` stops at the size stated there, so a lie only cuts the part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            unpacked = sum(part.file_size for part in parts)
            packed = max(1, sum(part.compress_size for part in parts))
            too_dense = unpacked > RATIO_FROM and unpacked / packed > LARGEST_RATIO
            if len(parts) > MOST_PARTS or unpacked > LARGEST_UNPACKED or too_dense:
                raise PermanentError(
                    f"{path.name} is refused: it would unpack to {unpacked / 1e6:,.0f} MB from {packed / 1e6:,.1f} MB, "
                    "as a ZIP bomb does; if it is real, export it as CSV."
                )
            if any(part.flag_bits & 1 for part in parts):
                raise PermanentError(f"{path.name} is password-protected; save it without a password.")
            names = {part.filename for part in parts}
            if "[Content_Types].xml" not in names:
                raise PermanentError(f"{path.name} is a ZIP archive, not an Excel workbook; unpack it first.")
            for part in parts:
                if part.filename.endswith((".xml", ".rels", ".vml")):
                    _check_xml(archive, part, path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise _damaged(path) from error
    except zipfile.zlib.error as error:
        raise _damaged(path) from error


def _check_xml(archive: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(part) as opened:
        # A document type stands before the first element; anything later is text that cannot declare one.
        head = opened.read(65_536)
    # UTF-16 would hide the word from a search of bytes; Excel writes UTF-8.
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head:
        raise PermanentError(f"{path.name} is refused: {part.filename} is not UTF-8; save it with Excel again.")
    if _DOCTYPE.search(head):
        raise PermanentError(
            f"{path.name} is refused: {part.filename} declares entities, which can read other files; "
            "save it with Excel again."
        )


def _damaged(path: Path) -> PermanentError:
    return PermanentError(
        f"{path.name} cannot be read as an Excel workbook: it is damaged or cut off; export it again."
    )
