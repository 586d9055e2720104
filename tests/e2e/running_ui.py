"""`stockflow ui` as a person starts it, on a small home."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).resolve().parents[2]
STOCKFLOW = Path(sys.executable).parent / "stockflow"


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STOCKFLOW_", "DAGSTER_"))}
    return {**kept, "STOCKFLOW_HOME": str(home), "PYTHONPATH": str(CHECKOUT)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Ui:
    process: subprocess.Popen
    port: int
    api_port: int
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def running(home: Path, seconds: float = 120) -> Iterator[Ui]:
    """Runs until the block ends; yields once it says that it answers."""
    home.mkdir(parents=True, exist_ok=True)
    output = home / "ui.out"
    port, api_port = free_port(), free_port()
    with output.open("w") as out:
        process = subprocess.Popen(
            [STOCKFLOW, "ui", "--port", str(port), "--api-port", str(api_port)],
            cwd=CHECKOUT, env=environment(home), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            # A suite that a script started in the background ignores Ctrl-C, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    ui = Ui(process, port, api_port, output)
    try:
        deadline = time.monotonic() + seconds
        while "Ctrl-C stops" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield ui
    finally:
        if process.poll() is None:
            ui.stop()


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that work on `home`, ours excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if process.environ().get("STOCKFLOW_HOME") == str(home) or str(home) in command:
                found.append(command)
    return found
