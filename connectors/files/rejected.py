"""Quarantined rows as a CSV file that a person opens in a spreadsheet, mends and imports again.

The cells come from outside, and a spreadsheet runs a text that begins like a formula. So every such cell is neutralised
on the way out; on the way in it stays as it is.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from connectors.errors import PermanentError
from connectors.files.report import ImportReport
from connectors.landing import Landing

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def neutralise(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would take it for a formula; numbers stay numbers.

    >>> neutralise("=1+1"), neutralise("-5.20"), neutralise("Mug")
    ("'=1+1", '-5.20', 'Mug')
    """
    if not text.startswith(_FORMULA_STARTS):
        return text
    plain = text[1:] if text[0] in "+-" else ""
    if plain.isascii() and plain.replace(".", "", 1).isdigit():
        return text
    return "'" + text


def write_rejected(landing: Landing, report: ImportReport, path: Path) -> int:
    """Writes the rows an import set aside, with row, reason and detail before the file's own columns; returns how many.

    Personal columns are not in it: quarantine does not hold them. Raises PermanentError when it cannot be written.
    """
    rows = []
    columns: dict[str, None] = {}
    for batch_id in report.quarantined_batches:
        for rejected in landing.quarantined(batch_id, report.source).to_pylist():
            payload = json.loads(rejected["payload"] or "{}")
            columns.update(dict.fromkeys(payload))
            rows.append((rejected["position"].removeprefix("row "), rejected["reason"], rejected["detail"], payload))
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow([neutralise(name) for name in ("row", "reason", "detail", *columns)])
            for position, reason, detail, payload in sorted(rows, key=lambda row: int(row[0])):
                cells = ["" if payload.get(name) is None else str(payload[name]) for name in columns]
                writer.writerow([position, reason, *(neutralise(cell) for cell in (detail or "", *cells))])
    except OSError as error:
        raise PermanentError(f"The quarantined rows cannot be written to {path}: {error.strerror}.") from error
    return len(rows)
