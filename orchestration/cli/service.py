"""`stockflow ui` and `stockflow api`: what runs until it is stopped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from rich.console import Console

from connectors.errors import PermanentError
from operations.postgres import is_free
from orchestration.cli.project import prepare_project
from orchestration.settings import CHECKOUT, Settings

console = Console(soft_wrap=True, highlight=False)
BIN = Path(sys.executable).parent


START_SECONDS = 180


def ui(
    port: Annotated[int, typer.Option(help="Port of the web UI on 127.0.0.1")] = 3000,
    api_port: Annotated[int, typer.Option(help="Port of the API on 127.0.0.1")] = 8000,
) -> None:
    """Dagster's web UI and daemon, and the API, until Ctrl-C; schedules and sensors are on."""
    from orchestration import dagster_home, orphans, sandbox_process
    from orchestration.application import Application

    for name, number, option in (("web UI", port, "--port"), ("API", api_port, "--api-port")):
        if not is_free(number):
            raise PermanentError(
                f"Port {number} of the {name} is taken: end what uses it, or choose another by {option}."
            )
    prepare_project()
    settings = Settings.from_environment()
    # A supervisor ends us with SIGTERM; it is to stop what we started just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print("Starting; this takes half a minute ...")
    with (
        _only_one(settings),
        Application(settings) as app,
        orphans.none_left() as ends_with_us,
        sandbox_process.running(settings, ends_with_us),
    ):
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
                with _log(logs, name).open("a") as log:
                    processes[name] = subprocess.Popen(
                        [str(part) for part in command], cwd=CHECKOUT, stdout=log, stderr=log,
                        stdin=subprocess.DEVNULL, start_new_session=True,
                    )  # fmt: skip
                ends_with_us(processes[name])
            _wait_until_answering(processes, logs, [port, api_port])
            console.print(
                f"Web UI   http://127.0.0.1:{port}\nAPI      http://127.0.0.1:{api_port}/docs\n"
                f"Logs     {logs}\nCtrl-C stops all of it."
            )
            while True:
                _all_run(processes, logs)
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping.")
        finally:
            # A second Ctrl-C must not leave half of them behind.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            orphans.stop([process.pid for process in processes.values()])


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Two daemons on one home would each start every scheduled run."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "ui.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PermanentError(f"The web UI of {settings.home} runs already: use that one, or stop it first.") from None
    try:
        yield
    finally:
        lock.release()


def _log(logs: Path, name: str) -> Path:
    return logs / f"{name.replace(' ', '_').lower()}.log"


def _all_run(processes: dict[str, subprocess.Popen], logs: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise PermanentError(f"The {name} ended by itself; {_log(logs, name)} says why.")


def _wait_until_answering(processes: dict[str, subprocess.Popen], logs: Path, ports: list[int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while any(is_free(port) for port in ports):
        _all_run(processes, logs)
        if time.monotonic() > deadline:
            raise PermanentError(f"The web UI or the API has not started within {START_SECONDS} s; {logs} says why.")
        time.sleep(0.3)


def api(port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 8000) -> None:
    """The HTTP API alone."""
    import uvicorn

    from operations.api.app import create_app
    from orchestration import webhooks
    from orchestration.application import Application

    # Once it has stopped serving, uvicorn raises the signal again; what we hold is to be given back all the same.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Application(Settings.from_environment()) as app:
        served = create_app(
            app.engine,
            explainer=app.explain,
            verifiers=webhooks.verifiers(app.settings),
            on_event=lambda: webhooks.process(app.settings, app.engine),
        )
        uvicorn.run(served, host="127.0.0.1", port=port, log_level="warning")
