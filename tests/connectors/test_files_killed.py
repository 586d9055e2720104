"""An import that is killed at any moment is finished by the next one."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pyarrow.parquet as pq

from tests.connectors.till import row, save

CHILD = """
import pickle, sys
sys.path[:0] = {paths!r}
import till as t
from manifest import MemoryManifest
from connectors.landing import Landing

class OnDisk(MemoryManifest):
    # One file replaced at once: the transaction of the real store.
    def commit(self, **step):
        import os
        done = super().commit(**step)
        with open({manifest!r} + ".new", "wb") as out:
            pickle.dump((self.rows, self.cursors), out)
        os.replace({manifest!r} + ".new", {manifest!r})
        return done

store = OnDisk()
try:
    store.rows, store.cursors = pickle.load(open({manifest!r}, "rb"))
except FileNotFoundError:
    pass
print("ready", flush=True)
report = t.run(Landing({location!r}, store), {file!r}, chunk_rows=300)
print(report.accepted, report.unchanged, report.quarantined, flush=True)
"""


def test_an_import_killed_at_any_point_is_finished_by_the_next_one_and_nothing_doubles(make_landing, tmp_path):
    rows = [row(receipt=f"R{i // 5}", item=f"I{i % 3}", qty=str(i % 4)) for i in range(3000)]
    path = save(tmp_path / "f.csv", rows)
    here = os.path.dirname(__file__)
    script = CHILD.format(
        paths=[here, os.path.dirname(os.path.dirname(here))], manifest=str(tmp_path / "manifest"),
        location=str(tmp_path / "landing"), file=str(path),
    )  # fmt: skip
    rng = random.Random(7)
    kills = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.6))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
        child.stdout.close()
    assert kills
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    accepted, unchanged, quarantined = map(int, done.stdout.split()[1:])
    assert accepted + unchanged == 2250
    assert quarantined == 750  # a quantity of nothing
    manifest_rows, _ = pickle.loads((tmp_path / "manifest").read_bytes())
    ids = Counter()
    for file in manifest_rows:
        if file["path"]:
            ids.update(pq.read_table(tmp_path / "landing" / file["path"], columns=["record_id"])[0].to_pylist())
    assert len(ids) == 2250
    assert set(ids.values()) == {1}
