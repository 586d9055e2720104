"""Jobs that are not assets: importing a dropped file, and keeping house."""

import datetime as dt
import shutil

import dagster as dg

from connectors.errors import PermanentError
from ml.wording import how_many
from orchestration.assets.ingestion import file_imported
from orchestration.resources import StockflowResource

KEEP_FROZEN = dt.timedelta(days=400)


class DroppedFile(dg.Config):
    """`path` relative to the drop folder: <kind>/<mapping>/<file>."""

    path: str


@dg.op
def import_dropped_file(context: dg.OpExecutionContext, config: DroppedFile, stockflow: StockflowResource) -> None:
    from orchestration.files import import_dropped

    try:
        lines = import_dropped(stockflow.app, config.path)
    except PermanentError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for line in lines:
        context.log.info(line)
    kind = config.path.split("/", 1)[0]
    context.log_event(file_imported(kind, config.path, lines))


@dg.job(description="Imports one file from the drop folder; the sensor starts one run a file.")
def import_job():
    import_dropped_file()


@dg.op
def process_inbox(context: dg.OpExecutionContext, stockflow: StockflowResource) -> None:
    """Handles events that were stored and not yet processed; what fails is tried again with backoff."""
    from orchestration import webhooks

    app = stockflow.app
    done = webhooks.process(app.settings, app.engine)
    context.log.info(
        f"{how_many(done.processed, 'event')} processed, {done.retried} to be tried again, {done.failed} failed"
    )


@dg.job(description="Processes events that other systems pushed to us, each once.")
def inbox_job():
    process_inbox()


@dg.op
def keep_house(context: dg.OpExecutionContext, stockflow: StockflowResource) -> None:
    """Deletes what nothing points to any more: files without a manifest row, frozen inputs past their time."""
    app = stockflow.app
    swept = app.landing.sweep()
    context.log.info(f"{how_many(len(swept), 'file')} without a manifest row swept from landing")
    today = dt.datetime.now(dt.UTC).date()
    for folder in app.settings.forecasts.glob("*"):
        if dt.date.fromisoformat(folder.name) < today - KEEP_FROZEN:
            shutil.rmtree(folder)
    frozen = sorted((app.settings.frozen / "cycles").glob("*.json"))
    old = [path for path in frozen if _age(path) > KEEP_FROZEN]
    for path in old:
        path.unlink()
    context.log.info(f"{how_many(len(old), 'cycle')} frozen over {KEEP_FROZEN.days} days ago deleted")


def _age(path) -> dt.timedelta:
    return dt.timedelta(seconds=dt.datetime.now(dt.UTC).timestamp() - path.stat().st_mtime)


@dg.job(description="Sweeps landing, and deletes frozen inputs past their time.")
def maintenance_job():
    keep_house()
