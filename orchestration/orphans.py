"""What a command started ends with it, even with `kill -9`, which leaves it no chance to stop anything itself.

A process of its own reads from a pipe whose other end only the command holds. The operating system closes that end
however the command ends; whatever the command named until then, and did not let go, is stopped.

    python -m orchestration.orphans     reads lines `watch PID` and `release`
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from orchestration.settings import CHECKOUT

STOP_SECONDS = 30


@contextlib.contextmanager
def none_left() -> Iterator[Callable[[subprocess.Popen], None]]:
    """Yields what to call with each process that is to end with this one. The caller stops them before the block ends."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "orchestration.orphans"], cwd=CHECKOUT, stdin=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip

    def say(words: str) -> None:
        watcher.stdin.write(f"{words}\n")
        watcher.stdin.flush()

    try:
        yield lambda process: say(f"watch {process.pid}")
    finally:
        with contextlib.suppress(OSError):
            say("release")
            watcher.stdin.close()
        watcher.wait(timeout=STOP_SECONDS)


def stop(pids: list[int], seconds: float = STOP_SECONDS) -> None:
    """Each with the processes of its group, where it leads one: asked to end, and killed when it has not. Returns when they
    have let go of all they held."""
    _signal(pids, signal.SIGTERM)
    if not _gone(pids, seconds):
        _signal(pids, signal.SIGKILL)
        _gone(pids, seconds)


def _gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        for pid in pids:
            # A child of ours that has ended is there until somebody has asked how.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not _signal(pids, 0):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _signal(pids: list[int], number: int) -> bool:
    """Whether any of them was there to be told."""
    found = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            # A leader may have ended before the rest of its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
                found = True
                continue
            os.kill(pid, number)
            found = True
    return found


def main() -> None:
    watched: list[int] = []
    for line in sys.stdin:
        word, *pid = line.split()
        watched = [*watched, int(pid[0])] if word == "watch" else []
    stop(watched)


if __name__ == "__main__":
    main()
