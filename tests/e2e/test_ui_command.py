"""`stockflow ui` starts everything, says so, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.request

import pytest

from tests.e2e.running_ui import CHECKOUT, STOCKFLOW, environment, free_port, processes_of, running

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def again(home, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [STOCKFLOW, "ui", *options], cwd=CHECKOUT, env=environment(home), capture_output=True, text=True, timeout=60
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


@pytest.mark.long
def test_a_daemon_that_dies_is_told_and_ends_the_rest(tmp_path):
    import psutil

    home = tmp_path / "home"
    with running(home) as ui:
        children = psutil.Process(ui.process.pid).children()
        daemon = next(child for child in children if any("dagster-daemon" in word for word in child.cmdline()))
        daemon.kill()
        assert ui.process.wait(timeout=60) == 1
        assert "The daemon ended by itself" in ui.output.read_text()
    assert processes_of(home) == []
