"""Slack: what awaits approval is told once, and a press decides only for who may; against a workspace over HTTP."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
import uvicorn
from fastapi.testclient import TestClient

from connectors.errors import PermanentError, TransientError
from connectors.slack.interaction import signature
from connectors.slack.messages import APPROVE, REJECT
from operations import access, alerts, approvals, inbox, notices, proposals
from operations.api import create_app
from orchestration import webhooks
from orchestration.settings import Business, Settings, SlackSettings
from orchestration.telling import Slack, post_alerts, post_digest, refresh_earlier
from tests.operations.shop import DAY, ITEMS
from tests.orchestration.slack_workspace import CHANNEL, TOKEN, Workspace

SECRET = "signing secret of the test"
ANN, BOB, EVE, NOBODY = "U0ANN", "U0BOB", "U0EVE", "U0WHO"


@pytest.fixture
def workspace():
    made = Workspace()
    yield made
    made.close()


@pytest.fixture
def settings(workspace):
    slack = SlackSettings(token=TOKEN, signing_secret=SECRET, channel=CHANNEL, api_url=workspace.url)
    return Settings(Path("unused"), "unused", Business(slack=slack))


@pytest.fixture
def slack(settings):
    return Slack.of(settings.business.slack)


@pytest.fixture
def plan(shop):
    rows = [shop.buy(code, supplier="V1" if code < "D" else "V2", stockout_risk=n / 10) for n, code in enumerate(ITEMS)]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=rows, actor="user:bob")
    for name, login in (("ann", ANN), ("bob", BOB), ("eve", EVE)):
        access.link_login(shop.engine, name, "slack", login, actor="user:root")
    return rows


@pytest.fixture
def app(shop, settings):
    return create_app(
        shop.engine,
        verifiers=webhooks.verifiers(settings),
        on_event=lambda: webhooks.process(settings, shop.engine),
    )


@pytest.fixture
def message(shop, slack, plan, workspace):
    """The digest's only message."""
    post_digest(shop.engine, slack, DAY)
    (ts,) = workspace.messages
    return ts


def pressed(button: dict, ts: str, user: str) -> bytes:
    payload = {
        "type": "block_actions", "user": {"id": user}, "trigger_id": str(time.monotonic_ns()),
        "container": {"channel_id": CHANNEL, "message_ts": ts},
        "actions": [{"action_id": button["action_id"], "value": button["value"]}],
    }  # fmt: skip
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    return {
        "X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature(secret, timestamp, body),
        "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip


def press(app, workspace, ts, user, *, supplier="V2", action=APPROVE):
    """Presses the button of a supplier's group, as Slack would send it."""
    (button,) = [
        b for b in workspace.buttons(ts) if b["action_id"] == action and f"Supplier {supplier}" in str(b["confirm"])
    ]
    body = pressed(button, ts, user)
    return TestClient(app).post("/webhooks/slack", content=body, headers=signed(body)), body


def statuses(shop) -> dict[str, int]:
    return dict(shop.rows("SELECT status, count(*) FROM operations.proposal GROUP BY 1"))


def orders(shop) -> int:
    return shop.rows("SELECT count(*) FROM operations.purchase_order")[0][0]


# -- Telling -----------------------------------------------------------------------------------------------------------


def test_a_digest_tells_by_supplier_the_riskiest_first(message, workspace):
    text = workspace.text(message)
    assert text.index("Supplier V2") < text.index("Supplier V1")
    assert "6 proposals wait, 180.00 EUR in all, 3 of them against a high risk of a stock-out." in text
    assert "24 each Product F for Place S1   30.00 EUR   :red_circle: 50% risk" in text
    assert len(workspace.buttons(message)) == 4


def test_a_cycle_is_told_once_however_often_it_runs(shop, slack, plan, message, workspace):
    for _ in range(3):
        post_digest(shop.engine, slack, DAY)
    assert workspace.calls == ["chat.postMessage"]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="y", proposals=plan[:2])
    post_digest(shop.engine, slack, DAY)
    assert list(workspace.messages) == [message]
    assert "2 proposals wait" in workspace.text(message)
    assert "Supplier V2" not in workspace.text(message)


def test_a_message_whose_answer_was_lost_is_found_and_not_posted_again(shop, slack, plan, workspace):
    workspace.trouble.append("lost")
    with pytest.raises(TransientError, match="did not answer"):
        post_digest(shop.engine, slack, DAY)
    post_digest(shop.engine, slack, DAY)
    assert len(workspace.messages) == 1
    assert workspace.calls[:2] == ["chat.postMessage", "conversations.history"]


def test_two_processes_post_one_message(shop, slack, plan, workspace):
    workspace.delay = 0.1
    threads = [threading.Thread(target=post_digest, args=(shop.engine, slack, DAY)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workspace.messages) == 1


def test_slack_asks_to_wait_and_we_wait(shop, slack, plan, workspace):
    workspace.trouble.append("limit")
    started = time.monotonic()
    post_digest(shop.engine, slack, DAY)
    assert time.monotonic() - started >= 1
    assert len(workspace.messages) == 1


@pytest.mark.parametrize(
    ("trouble", "error", "says"),
    [
        ("down", TransientError, "tried again"),
        ("not_in_channel", PermanentError, "invite the app"),
        ("invalid_auth", PermanentError, "renew"),
    ],
)
def test_what_slack_refuses_is_one_sentence_without_the_token(shop, slack, plan, workspace, trouble, error, says):
    workspace.trouble.append(trouble)
    with pytest.raises(error, match=says) as caught:
        post_digest(shop.engine, slack, DAY)
    assert TOKEN not in str(caught.value)


def test_more_suppliers_than_fit_go_on_in_the_thread_and_are_taken_back(shop, slack, app, workspace):
    from operations import identity

    many = [{"supplier_code": f"X{n}", "name": f"Supplier X{n:02d} <!channel>", "currency": "EUR"} for n in range(40)]
    keys = identity.resolve(shop.engine, "party", "erp", many, assigns=True).keys
    shop.supplier.update(keys)
    rows = [
        shop.buy(ITEMS[n % 6], "S1" if n < 20 else "S2", supplier=f"X{n}", stockout_risk=n / 100, quantity=24 + 6 * n)
        for n in range(40)
    ]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=rows)
    assert post_digest(shop.engine, slack, DAY) == 3
    first, *rest = workspace.messages
    assert [workspace.messages[ts].get("thread_ts") for ts in workspace.messages] == [None, first, first]
    assert "<!channel>" not in workspace.text(first)
    access.link_login(shop.engine, "ann", "slack", ANN, actor="user:root")
    press(app, workspace, rest[-1], ANN, supplier="X03")
    assert orders(shop) == 1
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="y", proposals=rows[-3:])
    post_digest(shop.engine, slack, DAY)
    assert [len(workspace.buttons(ts)) for ts in (first, *rest)] == [6, 0, 0]


def test_a_new_cycle_takes_the_buttons_off_the_one_before(shop, slack, message, workspace):
    proposals.save(
        shop.engine, cycle_date=DAY + dt.timedelta(days=1), frozen_hash="y", proposals=[shop.buy(quantity=30)]
    )
    post_digest(shop.engine, slack, DAY + dt.timedelta(days=1))
    refresh_earlier(shop.engine, slack, DAY + dt.timedelta(days=1))
    assert workspace.buttons(message) == []
    assert "Nothing is left to decide" in workspace.text(message)


def test_alerts_of_one_moment_are_one_message_told_once(shop, slack, workspace):
    assert post_alerts(shop.engine, slack) == 0
    with shop.engine.begin() as db:
        for n in range(30):
            alerts.raise_alert(db, f"run-failed:{n}", f"job {n} failed")
    workspace.trouble.append("lost")
    with pytest.raises(TransientError):
        post_alerts(shop.engine, slack)
    assert post_alerts(shop.engine, slack) == 30
    assert post_alerts(shop.engine, slack) == 0
    (ts,) = workspace.messages
    assert "and 10 more" in workspace.text(ts)
    with shop.engine.begin() as db:
        alerts.raise_alert(db, "run-failed:1", "job 1 failed")
    assert post_alerts(shop.engine, slack) == 0, "the same trouble again is no news"
    with shop.engine.begin() as db:
        alerts.resolve(db, "run-failed:1")
    with shop.engine.begin() as db:
        alerts.raise_alert(db, "run-failed:1", "job 1 failed")
    assert post_alerts(shop.engine, slack) == 1, "it had gone and is back"
    assert len(workspace.messages) == 2


# -- Pressing ----------------------------------------------------------------------------------------------------------


def test_approve_makes_the_order_and_says_who(shop, app, message, workspace):
    answer, _ = press(app, workspace, message, ANN)
    assert (answer.status_code, answer.json()) == (200, {"new": True})
    assert statuses(shop) == {"approved": 3, "proposed": 3}
    assert orders(shop) == 1
    assert shop.rows("SELECT DISTINCT actor, via, action FROM operations.decision") == [
        ("user:ann", "slack", "approve")
    ]
    assert "_3 approved by ann_" in workspace.text(message)
    assert len(workspace.buttons(message)) == 2
    assert workspace.whispers == []


def test_reject_leaves_no_order(shop, app, message, workspace):
    press(app, workspace, message, ANN, action=REJECT)
    assert (statuses(shop), orders(shop)) == ({"rejected": 3, "proposed": 3}, 0)
    assert "_3 rejected by ann_" in workspace.text(message)


@pytest.mark.parametrize(
    ("user", "says"),
    [
        (EVE, "eve lacks the role approver"),
        (BOB, "nobody approves what they proposed"),
        (NOBODY, f"stockflow user link USERNAME slack {NOBODY}"),
    ],
)
def test_who_may_not_is_told_alone_and_nothing_happens(shop, app, message, workspace, user, says):
    before = workspace.messages[message]["blocks"]
    answer, _ = press(app, workspace, message, user)
    assert answer.status_code == 200
    ((told, text),) = workspace.whispers
    assert told == user
    assert says in text
    assert (statuses(shop), orders(shop)) == ({"proposed": 6}, 0)
    assert workspace.messages[message]["blocks"] == before


def test_a_limit_holds_in_slack_too(shop, app, message, workspace):
    from decimal import Decimal

    access.grant(shop.engine, "ann", "approver", limit=(Decimal(50), "EUR"), actor="user:root")
    press(app, workspace, message, ANN)
    assert "above the 50.00 EUR" in workspace.whispers[0][1]
    assert orders(shop) == 0


def test_what_slack_did_not_sign_now_is_refused(shop, app, message, workspace):
    client = TestClient(app)
    body = pressed(workspace.buttons(message)[0], message, ANN)
    genuine = signed(body)
    for content, headers in (
        (body.replace(b"approve", b"reject_"), genuine),
        (body + b"&", genuine),
        (body, signed(body, secret="another")),
        (body, signed(body, at=time.time() - 330)),
        (body, signed(body, at=time.time() + 330)),
        (body, {**genuine, "X-Slack-Request-Timestamp": str(int(genuine["X-Slack-Request-Timestamp"]) - 1)}),
        (body, {**genuine, "X-Slack-Signature": ""}),
        (body, {**genuine, "X-Slack-Request-Timestamp": "²"}),
        (body, {}),
        (b"payload=%7B%7D", signed(b"payload=%7B%7D")),
        (b"\xff", signed(b"\xff")),
    ):
        raw = {name: value.encode() for name, value in headers.items()}
        assert client.post("/webhooks/slack", content=content, headers=raw).status_code == 401
    assert statuses(shop) == {"proposed": 6}
    assert shop.rows("SELECT count(*) FROM operations.inbox") == [(0,)]


def test_a_replay_is_taken_as_known_and_does_nothing(shop, app, message, workspace):
    _, body = press(app, workspace, message, EVE)
    access.grant(shop.engine, "eve", "approver", actor="user:root")
    again = TestClient(app).post("/webhooks/slack", content=body, headers=signed(body))
    assert again.json() == {"new": False}
    assert statuses(shop) == {"proposed": 6}


def test_two_who_press_at_once_make_one_order(shop, app, message, workspace):
    access.create_user(shop.engine, "cid", ["approver"], actor="user:root")
    access.link_login(shop.engine, "cid", "slack", "U0CID", actor="user:root")
    button = workspace.buttons(message)[0]
    bodies = [pressed(button, message, user) for user in (ANN, "U0CID")]
    threads = [
        threading.Thread(
            target=TestClient(app).post, args=("/webhooks/slack",), kwargs={"content": b, "headers": signed(b)}
        )
        for b in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses(shop), orders(shop)) == ({"approved": 3, "proposed": 3}, 1)
    assert workspace.whispers == []


def test_a_button_of_a_plan_that_changed_decides_nothing(shop, app, slack, plan, message, workspace):
    button = workspace.buttons(message)[0]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="y", proposals=plan[:4])
    post_digest(shop.engine, slack, DAY)
    body = pressed(button, message, ANN)
    TestClient(app).post("/webhooks/slack", content=body, headers=signed(body))
    assert "plan has changed" in workspace.whispers[0][1]
    assert orders(shop) == 0


def test_slack_down_after_the_decision_keeps_it_and_updates_later(shop, app, settings, message, workspace):
    workspace.trouble.append("down")
    answer, _ = press(app, workspace, message, ANN)
    assert answer.status_code == 200
    assert orders(shop) == 1
    assert "approved by ann" not in workspace.text(message)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    done = inbox.process(shop.engine, webhooks.handlers(settings, shop.engine), clock=lambda: later)
    assert done.processed == 1
    assert "_3 approved by ann_" in workspace.text(message)
    assert (orders(shop), workspace.whispers) == (1, [])


def test_it_is_acknowledged_while_slack_is_slow(shop, app, message, workspace):
    """Over real HTTP: the answer does not wait for what the press leads to."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/webhooks/slack"
        workspace.delay = 3
        body = pressed(workspace.buttons(message)[0], message, ANN)
        started = time.monotonic()
        answer = requests.post(url, data=body, headers=signed(body), timeout=10)
        took = time.monotonic() - started
        deadline = time.monotonic() + 20
        while "approved by ann" not in workspace.text(message) and time.monotonic() < deadline:
            time.sleep(0.1)
        server.should_exit = True
        thread.join(timeout=10)
    assert answer.status_code == 200
    assert took < 2
    assert "_3 approved by ann_" in workspace.text(message)


def test_a_login_belongs_to_one_user_and_can_be_taken_away(shop, plan):
    assert access.principal_of_login(shop.engine, "slack", ANN).username == "ann"
    access.link_login(shop.engine, "bob", "slack", ANN, actor="user:root")
    assert access.principal_of_login(shop.engine, "slack", ANN).username == "bob"
    access.deactivate(shop.engine, "bob", actor="user:root")
    with pytest.raises(access.NotAuthenticated, match="no active user"):
        access.principal_of_login(shop.engine, "slack", ANN)
    access.unlink_login(shop.engine, "slack", ANN, actor="user:root")
    with pytest.raises(access.NotAuthenticated, match="does not know you"):
        access.principal_of_login(shop.engine, "slack", ANN)
    with pytest.raises(access.NotFound):
        access.unlink_login(shop.engine, "slack", ANN, actor="user:root")


def test_decisions_made_elsewhere_show_when_the_digest_is_told_again(shop, slack, plan, message, workspace):
    approvals.approve(shop.engine, shop.who("ann"), ids=[plan[5]["proposal_id"]], via="cli")
    post_digest(shop.engine, slack, DAY)
    assert "_1 approved by ann_" in workspace.text(message)
    told = notices.get(shop.engine, f"digest:{DAY}:1")
    assert sorted(len(meaning["ids"]) for meaning in told.detail.values()) == [2, 3]
