"""`stockflow ui` starts everything, says so, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from tests.e2e.running_ui import CHECKOUT, STOCKFLOW, environment, free_port, processes_of, running

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def again(home, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [STOCKFLOW, "ui", *options], cwd=CHECKOUT, env=environment(home), capture_output=True, text=True, timeout=180
    )


def test_it_answers_refuses_a_second_one_and_leaves_no_process(tmp_path):
    home = tmp_path / "home"
    with running(home) as ui:
        with DIRECT.open(f"{ui.url}/server_info", timeout=20) as answer:
            assert answer.status == 200
        with DIRECT.open(f"http://127.0.0.1:{ui.api_port}/v1/health", timeout=20) as answer:
            assert answer.status == 200

        taken = again(home, "--port", str(ui.port))
        assert taken.returncode == 1
        assert f"Port {ui.port} of the web UI is taken" in taken.stderr

        second = again(home, "--port", str(free_port()), "--api-port", str(free_port()))
        assert second.returncode == 1
        assert "runs already" in second.stderr

        assert any("dagster-daemon" in command for command in processes_of(home))
        assert ui.stop(signal.SIGINT) == 0
        assert "Stopping." in ui.output.read_text()
    deadline = time.monotonic() + 10
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == []


def test_what_a_killed_command_started_ends_with_it_and_what_it_let_go_does_not():
    """Two that sleep, each with a child of its own; one command is killed, the other ends in order without stopping its own."""
    script = (
        "import os, signal, subprocess, sys\n"
        "from orchestration import orphans\n"
        "with orphans.none_left() as ends_with_us:\n"
        "    own = ['sh', '-c', 'sleep 300 >&2 & echo $!; wait']\n"
        "    child = subprocess.Popen(own, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "    grandchild = child.stdout.readline().decode()\n"
        "    ends_with_us(child)\n"
        "    print(child.pid, grandchild, flush=True)\n"
        "    if sys.argv[1] == 'killed':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    found = {}
    for end in ("killed", "orderly"):
        done = subprocess.run(
            [sys.executable, "-c", script, end], cwd=CHECKOUT, capture_output=True, text=True, timeout=180
        )
        found[end] = [int(pid) for pid in done.stdout.split()]
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in found["killed"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [alive(pid) for end in found for pid in found[end]] == [False, False, True, True]
    for pid in found["orderly"]:
        psutil.Process(pid).kill()


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.long
def test_nothing_is_left_of_a_ui_that_was_killed(tmp_path):
    home = tmp_path / "home"
    with running(home) as ui:
        assert any("dagster-daemon" in command for command in processes_of(home))
        ui.process.kill()
        ui.process.wait()
        deadline = time.monotonic() + 60
        while (left := processes_of(home)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert left == []
    with running(home) as ui:  # and it starts again
        assert ui.stop() == 0


@pytest.mark.long
def test_a_daemon_that_dies_is_told_and_ends_the_rest(tmp_path):
    home = tmp_path / "home"
    with running(home) as ui:
        children = psutil.Process(ui.process.pid).children()
        daemon = next(child for child in children if any("dagster-daemon" in word for word in child.cmdline()))
        daemon.kill()
        assert ui.process.wait(timeout=180) == 1
        assert "The daemon ended by itself" in ui.output.read_text()
    assert processes_of(home) == []
