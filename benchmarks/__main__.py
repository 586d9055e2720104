"""`python -m benchmarks`: every table in turn, each in a process of its own so that its peak memory is its own.

The data sets are found by STOCKFLOW_TEST_DATA; a table that needs them is left out without them, and says so.
"""

from __future__ import annotations

import os
import subprocess
import sys

TABLES = (
    ("imports", ("{data}",)),
    ("marts", ()),
    ("replenishment", ()),
    ("accuracy", ()),
    ("floor", ()),
    ("smoothing", ()),
    ("newcomers", ()),
    ("recovery", ()),
    ("ablation", ()),
    ("features", ()),
    ("scale", ()),
    ("cycle", ()),
)
NEED_DATA = {"imports", "accuracy", "floor", "smoothing", "newcomers", "ablation", "cycle"}


def main() -> int:
    data = os.environ.get("STOCKFLOW_TEST_DATA", "")
    failed = False
    for name, arguments in TABLES:
        if name in NEED_DATA and not data:
            print(f"\n{name}: left out, for STOCKFLOW_TEST_DATA does not name the folder with the data sets")
            continue
        print(f"\n=== {name} ===", flush=True)
        given = [argument.format(data=data) for argument in arguments]
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *given], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
