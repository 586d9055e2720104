"""`stockflow ui` and `stockflow api`: what runs until it is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from connectors.errors import PermanentError
from orchestration.cli.project import prepare_project
from orchestration.settings import CHECKOUT, Settings

console = Console(soft_wrap=True, highlight=False)
BIN = Path(sys.executable).parent


def ui(
    port: Annotated[int, typer.Option(help="Port of the web UI on 127.0.0.1")] = 3000,
    api_port: Annotated[int, typer.Option(help="Port of the API on 127.0.0.1")] = 8000,
) -> None:
    """Dagster's web UI and daemon, and the API, until Ctrl-C; schedules and sensors are on."""
    from orchestration import dagster_home, sandbox_process
    from orchestration.application import Application

    prepare_project()
    settings = Settings.from_environment()
    # A supervisor ends us with SIGTERM; it is to stop what we started just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Application(settings) as app, sandbox_process.running(settings):
        dagster_home.prepare(app)
        workspace = ["-w", str(CHECKOUT / "workspace.yaml")]
        commands = {
            "web UI": [BIN / "dagster-webserver", "-h", "127.0.0.1", "-p", str(port), *workspace],
            "daemon": [BIN / "dagster-daemon", "run", *workspace],
            "API": [BIN / "stockflow", "api", "--port", str(api_port)],
        }
        processes: dict[str, subprocess.Popen] = {}
        logs = settings.home / "logs"
        logs.mkdir(exist_ok=True)
        try:
            for name, command in commands.items():
                log = (logs / f"{name.replace(' ', '_').lower()}.log").open("a")
                processes[name] = subprocess.Popen(
                    [str(part) for part in command], cwd=CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
                log.close()
            console.print(
                f"Web UI   http://127.0.0.1:{port}\nAPI      http://127.0.0.1:{api_port}/docs\nLogs     {logs}\nCtrl-C stops all of it."
            )
            while True:
                for name, process in processes.items():
                    if process.poll() is not None:
                        raise PermanentError(f"The {name} ended by itself; {logs} says why.")
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping.")
        finally:
            _stop(list(processes.values()))


def _stop(processes: list[subprocess.Popen]) -> None:
    """Each with the processes it started: the daemon's code servers and runs are in its session."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def api(port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 8000) -> None:
    """The HTTP API alone."""
    import uvicorn

    from operations.api.app import create_app
    from orchestration import webhooks
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        served = create_app(
            app.engine,
            explainer=app.explain,
            verifiers=webhooks.verifiers(app.settings),
            on_event=lambda: webhooks.process(app.settings, app.engine),
        )
        uvicorn.run(served, host="127.0.0.1", port=port, log_level="warning")
