"""The generated shop's systems as a process of ours, for the demo and the web UI."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests

from connectors.errors import PermanentError
from orchestration.settings import CHECKOUT, SandboxSource, Settings

START_SECONDS = 180


def managed(settings: Settings) -> SandboxSource | None:
    """The sandbox that this deployment runs itself, if it does."""
    return next((s for s in settings.business.sources if s.connector == "sandbox" and s.managed), None)


@contextlib.contextmanager
def running(settings: Settings, started: Callable[[subprocess.Popen], None] = lambda process: None) -> Iterator[None]:
    """The managed sandbox answers while the block lasts; one that another process runs already is used as it is.
    `started` is called with its process."""
    source = managed(settings)
    if source is None or _answers(source.url):
        yield
        return
    home = settings.home / "sandbox"
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    command = [
        sys.executable, "-m", "connectors.sandbox", "--home", str(home), "--port", str(urlsplit(source.url).port),
        "--as-of", source.as_of.isoformat(), "--token", source.token,
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=output, text=True, stdin=subprocess.DEVNULL
        )
    try:
        started(process)
        # It prints one line when it answers, and nothing if it ends before.
        line = process.stdout.readline()
        if not line.startswith("Sandbox ready"):
            raise PermanentError(f"The generated shop did not start: {_last_line(log)}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def move_clock(settings: Settings, day: dt.date) -> None:
    """Lets the shop live on until the morning of `day`; the past cannot be returned to."""
    source = managed(settings)
    if source is None:
        return
    headers = {"Authorization": f"Bearer {source.token}"}
    answer = requests.post(f"{source.url}/_clock", json={"as_of": day.isoformat()}, headers=headers, timeout=120)
    answer.raise_for_status()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/", timeout=2).status_code < 500
    except requests.RequestException:
        return False


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"see {log}"
