"""What starts runs by itself, each thing once; and what a failed run leads to."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import dataclass

import dagster as dg
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from connectors.errors import PermanentError
from operations import alerts, approvals, inbox, outbox, proposals, settings
from orchestration import files, ops, sensors
from orchestration.assets.ingestion import file_key
from orchestration.cli.register import commands
from orchestration.resources import StockflowResource
from orchestration.settings import Business, Settings, SlackSettings
from tests.operations.shop import DAY, Shop, found
from tests.orchestration.slack_workspace import CHANNEL, TOKEN, Workspace


@pytest.fixture(scope="module")
def shop(watched):
    with watched.engine.begin() as db:
        # The first administrator of the set-up is in the way of the small company's own.
        for table in ("api_token", "role_grant", "app_user"):
            db.execute(sa.text(f"DELETE FROM operations.{table}"))
    found(watched.engine)
    settings.put(watched.engine, "delivery_targets", {"default": "erp"}, actor="system:test")
    return Shop(watched.engine)


ORDER = (
    "invoice,stock_code,description,quantity,invoice_ts,unit_price,customer_id,country\n"
    "489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085,United Kingdom\n"
)


def requests(sensor) -> list[dg.RunRequest]:
    result = sensor(dg.build_sensor_context())
    return list(result.run_requests) if isinstance(result, dg.SensorResult) else []


def dropped(app, relative: str, content: str = "x\n", *, age: float = 60) -> os.PathLike:
    path = app.settings.drop / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


# -- Files -------------------------------------------------------------------------------------------------------------


def test_a_dropped_file_is_asked_for_once(watched):
    path = dropped(watched, "orders/online_retail_ii/x.csv")
    (request,) = requests(sensors.file_drop_sensor)
    assert request.run_config == {"ops": {"import_dropped_file": {"config": {"path": "orders/online_retail_ii/x.csv"}}}}
    (again,) = requests(sensors.file_drop_sensor)
    assert again.run_key == request.run_key, "Dagster starts one run for one key"
    path.write_text("changed\n")
    os.utime(path, (time.time() - 60,) * 2)
    (changed,) = requests(sensors.file_drop_sensor)
    assert changed.run_key != request.run_key
    path.unlink()
    assert requests(sensors.file_drop_sensor) == []


def test_files_that_are_no_drops_wait_for_ever(watched):
    dropped(watched, "orders/online_retail_ii/now.csv", age=0)
    dropped(watched, "orders/online_retail_ii/note.txt")
    dropped(watched, "secrets/online_retail_ii/x.csv")
    dropped(watched, "orders/loose.csv")
    dropped(watched, "orders/online_retail_ii/done/x.csv")
    dropped(watched, "orders/online_retail_ii/refused/x.csv")
    assert requests(sensors.file_drop_sensor) == []


@pytest.mark.parametrize(
    "path",
    [
        "orders/../../x.csv", "../x.csv", "orders/online_retail_ii/../x.csv", "/etc/passwd", "orders/x.csv",
        "secrets/online_retail_ii/x.csv", "orders/online_retail_ii/done/x.csv", "",
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_drop_folder_is_refused(watched, path):
    with pytest.raises(PermanentError, match="is not of the form"):
        files.import_dropped(watched, path)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_out_of_the_drop_folder_is_refused_and_left(watched, tmp_path, linked):
    outside = tmp_path / "outside.csv"
    outside.write_text(ORDER)
    os.utime(outside, (time.time() - 60,) * 2)
    folder = watched.settings.drop / "orders"
    (folder / "online_retail_ii").mkdir(parents=True, exist_ok=True)
    link = folder / "online_retail_ii" / "out.csv" if linked == "file" else folder / "linked"
    link.symlink_to(outside if linked == "file" else tmp_path)
    # It is asked for once, so that somebody is told why it is not taken.
    (request,) = requests(sensors.file_drop_sensor)
    with pytest.raises(PermanentError, match="put the file itself"):
        files.import_dropped(watched, request.run_config["ops"]["import_dropped_file"]["config"]["path"])
    assert outside.read_text() == ORDER
    assert list(tmp_path.iterdir()) == [outside]
    assert not any(file["accepted"] for file in watched.manifest.files())
    link.unlink()


def test_an_import_puts_the_file_away_with_what_became_of_it(watched):
    good = dropped(watched, "orders/online_retail_ii/good.csv", ORDER)
    lines = files.import_dropped(watched, "orders/online_retail_ii/good.csv")
    assert "accepted 1" in lines
    assert not good.exists()
    assert (good.parent / "done" / "good.csv").exists()
    bad = dropped(watched, "orders/online_retail_ii/bad.csv", "a,b\n1,2\n")
    with pytest.raises(PermanentError):
        files.import_dropped(watched, "orders/online_retail_ii/bad.csv")
    assert not bad.exists()
    assert (bad.parent / "refused" / "bad.csv.txt").read_text().strip()
    dropped(watched, "orders/nosuch/x.csv")
    with pytest.raises(PermanentError):
        files.import_dropped(watched, "orders/nosuch/x.csv")
    assert requests(sensors.file_drop_sensor) == [] or "now.csv" in str(requests(sensors.file_drop_sensor))


def test_an_import_by_command_is_noted_as_that_of_a_dropped_file_so_that_the_same_follows(watched, tmp_path):
    dropped(watched, "orders/online_retail_ii/same.csv", ORDER.replace("489434", "489435"))
    given = tmp_path / "given.csv"
    given.write_text(ORDER.replace("489434", "489436"))
    app = typer.Typer()
    commands(app)
    result = CliRunner().invoke(app, ["import", "orders", str(given), "--mapping", "online_retail_ii"])
    assert result.exit_code == 0, result.output
    with dg.DagsterInstance.get() as instance:
        (noted,) = instance.fetch_materializations(file_key("orders"), limit=10).records
    assert noted.asset_materialization.metadata["file"].value == str(given)
    assert noted.asset_materialization.metadata["report"].value == result.output.strip()
    done = ops.import_job.execute_in_process(
        run_config={"ops": {"import_dropped_file": {"config": {"path": "orders/online_retail_ii/same.csv"}}}},
        resources={"stockflow": StockflowResource()},
    )
    (event,) = done.asset_materializations_for_node("import_dropped_file")
    assert event.asset_key == noted.asset_key
    assert set(event.metadata) == set(noted.asset_materialization.metadata)


# -- Orders and events -------------------------------------------------------------------------------------------------


def test_an_approved_order_is_asked_to_be_sent_until_it_is(watched, shop):
    assert requests(sensors.approved_orders_sensor) == []
    plan = [shop.buy()]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=plan)
    done = approvals.approve(shop.engine, shop.who("ann"), ids=[plan[0]["proposal_id"]], via="cli")
    (request,) = requests(sensors.approved_orders_sensor)
    (again,) = requests(sensors.approved_orders_sensor)
    assert request.run_key == again.run_key
    outbox.deliver(shop.engine, [Erp()])
    assert requests(sensors.approved_orders_sensor) == []
    assert outbox.find(shop.engine, status="sent")[0]["document_key"] == done.documents[0]


@dataclass
class Answer:
    status: str
    reference: str | None = None
    reason: str | None = None


class Erp:
    name, guarantee, longest_processing_seconds = "erp", "effectively_once", 1.0

    def send(self, document, idempotency_key):
        return Answer("delivered", "7")

    def find(self, idempotency_key):
        return Answer("delivered", "7")


@dataclass
class Event:
    event_id: str
    topic: str
    payload: dict


def test_an_event_that_was_left_is_processed_by_a_run(watched, shop, monkeypatch):
    workspace = Workspace()
    slack = SlackSettings(token=TOKEN, signing_secret="s", channel=CHANNEL, api_url=workspace.url)
    configured = Settings(watched.settings.home, watched.settings.landing, Business(slack=slack))
    assert requests(sensors.webhook_inbox_sensor) == []
    payload = {"user": "U1", "action": "stockflow_approve", "value": "v", "channel": CHANNEL, "message_ts": "1.2"}
    hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    inbox.receive(shop.engine, "slack", Event("e1", "press", payload), at=hour_ago)
    assert requests(sensors.webhook_inbox_sensor) == [], "nobody could process it while Slack is not configured"
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda cls, environment=None: configured))
    (request,) = requests(sensors.webhook_inbox_sensor)
    (again,) = requests(sensors.webhook_inbox_sensor)
    assert request.run_key == again.run_key
    from orchestration import webhooks

    webhooks.process(configured, shop.engine)
    assert requests(sensors.webhook_inbox_sensor) == []
    assert workspace.whispers == [("U1", "This message is none that can be decided on.")]
    workspace.close()


# -- Failures ----------------------------------------------------------------------------------------------------------


@dg.op
def breaks():
    raise ValueError("the disk is full")


@dg.job
def breaking_job():
    breaks()


def test_a_job_that_fails_is_one_alert_until_it_succeeds(watched, shop):
    with dg.instance_for_test() as instance:
        for _ in range(3):
            result = breaking_job.execute_in_process(instance=instance, raise_on_error=False)
            context = dg.build_run_status_sensor_context(
                "failed_run_sensor", result.get_run_failure_event(), instance, result.dagster_run
            )
            sensors.failed_run_sensor(context.for_run_failure())
        (alert,) = alerts.find(watched.engine)
        assert (alert["alert_key"], alert["count"]) == ("run-failed:breaking_job", 3)
        assert "breaking_job failed" in alert["message"]
        context = dg.build_run_status_sensor_context(
            "recovered_run_sensor", result.get_run_failure_event(), instance, result.dagster_run
        )
        sensors.recovered_run_sensor(context)
        assert alerts.find(watched.engine) == []


def test_without_a_database_sensors_wait_and_say_why(watched, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKFLOW_DATABASE_URL", "postgresql://u:p@127.0.0.1:1/nosuch")
    monkeypatch.setenv("STOCKFLOW_HOME", str(tmp_path))
    for sensor in (sensors.approved_orders_sensor, sensors.webhook_inbox_sensor):
        result = sensor(dg.build_sensor_context())
        assert isinstance(result, dg.SkipReason)
        assert result.skip_message
