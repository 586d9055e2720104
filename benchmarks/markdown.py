"""Tables as Markdown, ready for docs/benchmarks.md. What stands in them is the business of each benchmark."""

from __future__ import annotations

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """`table` with its index levels, if it names them, as first columns; fractions with four decimals."""
    flat = table.reset_index() if any(table.index.names) else table
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row] for row in flat.itertuples(index=False)]
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
