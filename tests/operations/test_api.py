"""The API as a client meets it: who may do what, pages, problems, limits, webhooks."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from decimal import Decimal

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from operations import access, database, inbox, proposals
from operations.api import create_app
from operations.errors import NotFound
from tests.operations.shop import DAY, ITEMS

SECRET = b"webhook secret"


@dataclass
class Event:
    event_id: str
    topic: str
    payload: dict


def verify(headers, body, url):
    expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(headers.get("x-signature", ""), expected):
        return None
    content = json.loads(body)
    return Event(headers["x-event-id"], content["topic"], {"id": content["id"]})


@pytest.fixture
def tokens(shop):
    return {
        name: access.issue_token(shop.engine, name, label="test", actor="system:test")[1]
        for name in ("root", "ann", "bob", "eve")
    }


@pytest.fixture
def app(shop):
    return create_app(
        shop.engine,
        explainer=lambda proposal_id: {"proposal_id": proposal_id, "recomputed": "24"},
        health_checks={"warehouse": lambda: None},
        verifiers={"shop": verify},
        max_body_bytes=20_000,
    )


@pytest.fixture
def client(app, tokens):
    """`client("ann")` calls as ann, `client()` as nobody."""

    def of(name=None):
        headers = {"Authorization": f"Bearer {tokens[name]}"} if name else {}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return of


@pytest.fixture
def plan(shop):
    rows = [shop.buy(code, stockout_risk=n / 10) for n, code in enumerate(ITEMS)]
    proposals.save(
        shop.engine, cycle_date=DAY, frozen_hash="sha256:1", proposals=rows,
        withheld_skus=[{"item_key": "x", "location_key": "y", "reason": "no_supplier", "detail": "Nobody sells it."}],
    )  # fmt: skip
    return [row["proposal_id"] for row in rows]


def check_problem(response, status, text=""):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert text in body.get("detail", "")
    return body


def test_health_is_public_and_says_little(client, app):
    assert client().get("/v1/health").json() == {"status": "ok", "checks": {"database": True, "warehouse": True}}
    app.state.health_checks["warehouse"] = lambda: "The warehouse is locked by process 12."
    response = client().get("/v1/health")
    assert (response.status_code, response.json()["checks"]["warehouse"]) == (503, False)
    assert "12" not in response.text
    check_problem(client().get("/v1/health/details"), 401)
    assert "process 12" in client("eve").get("/v1/health/details").json()["checks"]["warehouse"]


def test_without_a_valid_token_nothing_else_answers(client, app):
    document = client().get("/openapi.json").json()
    public = {"/v1/health", "/webhooks/{source}"}
    called = 0
    for path, methods in document["paths"].items():
        for method in methods:
            if path in public:
                continue
            url = path.replace("{proposal_id}", "x").replace("{document_key}", "x").replace("{alert_key}", "x")
            url = url.replace("{status}", "resolved")
            for headers in ({}, {"Authorization": "Bearer sf_wrong"}, {"Authorization": "Basic eDp5"}):
                response = client().request(method, url, headers=headers, json={})
                check_problem(response, 401)
                assert response.headers["www-authenticate"] == "Bearer"
                called += 1
    assert called > 50


def test_me(client):
    assert client("bob").get("/v1/me").json() == {
        "username": "bob", "roles": ["approver", "planner"], "amount_limit": None, "currency": None
    }  # fmt: skip


def test_a_buyer_pages_through_looks_at_one_and_asks_why(client, plan):
    eve = client("eve")
    seen, after = [], None
    while True:
        page = eve.get(
            "/v1/proposals", params={"limit": 4, "status": "proposed", **({"after": after} if after else {})}
        )
        seen += page.json()["proposals"]
        after = page.json()["next"]
        if after is None:
            break
    assert [row["stockout_risk"] for row in seen] == [0.5, 0.4, 0.3, 0.2, 0.1, 0]
    assert seen[0]["quantity"] == "24"
    assert seen[0]["amount"] == "30"
    one = eve.get(f"/v1/proposals/{plan[0]}").json()
    assert one["evidence"] == {"frozen": "sha256:1", "quantile": "0.95"}
    assert eve.get(f"/v1/proposals/{plan[0]}/explanation").json()["recomputed"] == "24"
    check_problem(eve.get("/v1/proposals/prp_x/explanation"), 404, "no proposal prp_x")
    check_problem(eve.get("/v1/proposals", params={"after": "zzz"}), 422, "page cursor")
    check_problem(eve.get("/v1/proposals", params={"limit": 0}), 422)
    assert eve.get("/v1/withheld").json()[0]["reason"] == "no_supplier"
    assert eve.get("/v1/cycles").json()[0]["proposals"] == {"proposed": 6}


def test_approving_may_be_repeated_and_gives_the_same(client, plan):
    ann = client("ann")
    first = ann.post(f"/v1/proposals/{plan[0]}/approve", json={})
    assert first.status_code == 200
    again = ann.post(f"/v1/proposals/{plan[0]}/approve", json={}).json()
    assert again == {"decided": [], "already": [plan[0]], "documents": first.json()["documents"]}
    rest = ann.post("/v1/proposals/approve", json={"where": {"cycle_date": str(DAY), "minimum_risk": 0.3}}).json()
    assert len(rest["decided"]) == 3
    (order,) = ann.get("/v1/purchase-orders").json()["purchase_orders"]
    assert (order["amount"], order["status"]) == ("120", "approved")
    detail = ann.get(f"/v1/purchase-orders/{order['document_key']}").json()
    assert len(detail["lines"]) == 4
    assert detail["delivery"]["status"] == "pending"
    assert ann.post(f"/v1/proposals/{plan[1]}/reject", json={"reason": "no"}).json()["decided"] == [plan[1]]
    check_problem(ann.post(f"/v1/proposals/{plan[1]}/approve", json={}), 409, "is rejected")


def test_what_a_person_may_not_do_is_refused_with_its_reason(client, plan):
    for name in ("eve", "bob"):
        response = client(name).post(
            "/v1/movements", json=movement(None, None) | {"item_key": "x", "location_key": "y"}
        )
        check_problem(response, *((403, "lacks the role planner") if name == "eve" else (404, "no location y")))
    check_problem(client("eve").post("/v1/proposals/approve", json={"ids": plan}), 403, "lacks the role approver")
    check_problem(client("ann").get("/v1/audit"), 403, "lacks the role admin")
    check_problem(client("ann").post(f"/v1/proposals/{plan[0]}/approve", json={"quantity": "25"}), 422, "multiple of")
    body = check_problem(client("ann").post("/v1/proposals/approve", json={"ids": [], "secret": "hunter2"}), 422)
    assert {error["field"] for error in body["errors"]} == {"body.ids", "body.secret"}
    assert "hunter2" not in json.dumps(body)


def movement(item, place, **more):
    return {
        "kind": "write_off", "item_key": item, "location_key": place, "quantity": "-3", "reason": "broken",
        "moved_at": "2026-03-02T01:30:00+00:00", **more,
    }  # fmt: skip


def test_movements_are_posted_once_with_their_business_date(client, shop):
    bob, item, place = client("bob"), shop.item["A"], shop.place["S1"]
    with shop.engine.begin() as db:
        db.execute(sa.text("UPDATE operations.location SET business_day_start = 240"))
    first = bob.post("/v1/movements", json=movement(item, place, movement_id="m1"))
    assert first.status_code == 201
    assert (first.json()["business_date"], first.json()["unit"], first.json()["posted_by"]) == (
        "2026-03-01", "each", "user:bob"
    )  # fmt: skip
    assert bob.post("/v1/movements", json=movement(item, place, movement_id="m1")).json() == first.json()
    check_problem(bob.post("/v1/movements", json=movement(item, place, movement_id="m1", quantity="-4")), 409)
    counted = movement(item, place, kind="count", quantity=None, counted_quantity="0")
    assert bob.post("/v1/movements", json=counted).status_code == 201
    for change, message in (
        ({"quantity": "3"}, "negative quantity"), ({"kind": "sale"}, "cannot be posted here"),
        ({"kind": "count"}, "states the counted quantity"), ({"unit": "pallet"}, "no unit pallet"),
        ({"reason": " "}, "Say why"), ({"unit_cost": "1"}, "needs its currency"),
        ({"moved_at": "2099-01-01T00:00:00Z"}, "future"), ({"quantity": None}, "states the change"),
    ):  # fmt: skip
        check_problem(bob.post("/v1/movements", json=movement(item, place) | change), 422, message)
    assert bob.get("/v1/movements", params={"item_key": item}).json()[0]["movement_id"] == "m1"


def test_waiting_codes_are_matched_by_a_planner(client, shop):
    from operations import identity

    identity.resolve(shop.engine, "item", "pos", [{"item_code": "P1", "name": "?"}, {"item_code": "POST", "name": "?"}],
                     assigns=False)  # fmt: skip
    bob = client("bob")
    assert [row["source_id"] for row in bob.get("/v1/unmatched").json()] == ["P1", "POST"]
    code = {"kind": "item", "source": "pos", "source_id": "P1"}
    assert bob.post("/v1/unmatched/match", json={**code, "key": shop.item["A"]}).status_code == 204
    assert bob.post("/v1/unmatched/ignore", json={**code, "source_id": "POST"}).status_code == 204
    assert bob.get("/v1/unmatched").json() == []
    check_problem(client("ann").post("/v1/unmatched/ignore", json=code), 403)
    entries = client("root").get("/v1/audit", params={"actor": "user:bob"}).json()
    assert [entry["action"] for entry in entries] == ["ignore", "match"]


def test_alerts_are_settled(client, shop):
    from operations import alerts

    with shop.engine.begin() as db:
        assert alerts.raise_alert(db, "inbox:shop:a/b", "Look.")
    bob = client("bob")
    assert bob.get("/v1/alerts").json()[0]["message"] == "Look."
    assert bob.post("/v1/alerts/inbox:shop:a/b/acknowledged").status_code == 204
    assert bob.get("/v1/alerts").json() == []
    assert bob.get("/v1/alerts", params={"status": "acknowledged"}).json()[0]["settled_by"] == "user:bob"
    check_problem(bob.post("/v1/alerts/nosuch/resolved"), 404)


def test_deliveries_are_cancelled_retried_and_settled(client, plan, shop):
    ann = client("ann")
    (key,) = ann.post("/v1/proposals/approve", json={"ids": plan}).json()["documents"]
    check_problem(ann.post(f"/v1/deliveries/{key}/retry"), 409, "is pending")
    check_problem(ann.post(f"/v1/deliveries/{key}/settle", json={"arrived": True, "reason": "x"}), 409)
    check_problem(client("eve").post(f"/v1/deliveries/{key}/cancel", json={"reason": "x"}), 403)
    assert ann.post(f"/v1/deliveries/{key}/cancel", json={"reason": "x"}).status_code == 204
    assert ann.get("/v1/deliveries").json()[0]["status"] == "cancelled"


class TestWebhooks:
    def post(self, client, body: dict, event="e1", source="shop", signature=None):
        raw = json.dumps(body).encode()
        signature = signature or hmac.new(SECRET, raw, hashlib.sha256).hexdigest()
        return client.post(f"/webhooks/{source}", content=raw, headers={"X-Signature": signature, "X-Event-Id": event})

    def test_an_event_is_stored_once_and_only_when_authentic(self, client, shop):
        body = {"topic": "orders/updated", "id": 7, "email": "person@example.org"}
        assert self.post(client(), body).json() == {"new": True}
        assert self.post(client(), body).json() == {"new": False}
        check_problem(self.post(client(), body, event="e2", signature="0" * 64), 401)
        check_problem(self.post(client(), body, event="e2", source="nobody"), 401)
        assert shop.rows("SELECT event_id, payload FROM operations.inbox") == [("e1", {"id": 7})]

    def test_events_are_processed_once_and_a_broken_one_stops_no_other(self, client, shop):
        for n in range(3):
            self.post(client(), {"topic": "t", "id": n}, event=f"e{n}")
        start = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        broken = {1}

        def handle(db, topic, payload):
            db.execute(
                sa.text("INSERT INTO operations.setting (name, value, updated_by) VALUES (:n, '1', 'handler')"),
                {"n": f"seen {payload['id']}"},
            )
            if payload["id"] in broken:
                raise ValueError("cannot")

        seen = "SELECT name FROM operations.setting WHERE updated_by = 'handler' ORDER BY 1"
        assert inbox.process(shop.engine, {"shop": handle}, clock=lambda: start) == inbox.Processed(2, 1, 0)
        assert shop.rows(seen) == [("seen 0",), ("seen 2",)]
        for n in range(1, inbox.MAX_ATTEMPTS + 1):
            later = start + dt.timedelta(hours=2 * n)
            outcome = inbox.process(shop.engine, {"shop": handle}, clock=lambda moment=later: moment)
        assert outcome == inbox.Processed()
        assert shop.rows("SELECT status, attempts FROM operations.inbox WHERE event_id = 'e1'") == [("failed", 8)]
        broken.clear()
        inbox.retry(shop.engine, "shop", "e1")
        with pytest.raises(NotFound):
            inbox.retry(shop.engine, "shop", "e0")
        assert inbox.process(shop.engine, {"shop": handle}).processed == 1
        assert shop.rows(seen) == [("seen 0",), ("seen 1",), ("seen 2",)]
        assert inbox.process(shop.engine, {"other": handle}) == inbox.Processed()


def test_large_bodies_are_refused_declared_or_not(client):
    def chunks():
        for _ in range(100):
            yield b"x" * 1000

    for content in (b"x" * 20_001, chunks()):
        check_problem(client("ann").post("/v1/proposals/approve", content=content), 413)
    check_problem(client().post("/webhooks/shop", content=chunks()), 413)
    assert client("ann").post("/v1/proposals/approve", content=b" " * 19_000).status_code == 422


def test_odd_input_is_a_problem_and_never_an_accident(client, plan):
    ann = client("ann")
    for response in (
        ann.get("/v1/proposals/%00"), ann.get("/v1/purchase-orders", params={"after": 10**30}),
        ann.get("/v1/audit", params={"before": 10**30}), ann.post("/v1/proposals/approve", json={"ids": ["a\0b"]}),
        ann.post("/v1/proposals/approve", content=b"{"),
        ann.post("/v1/proposals/approve", json={"where": {}, "ids": ["x"]}),
        ann.get("/v1/nosuch"), ann.delete("/v1/proposals"),
        ann.post(f"/v1/proposals/{plan[0]}/approve", json={"quantity": "NaN"}),
    ):  # fmt: skip
        assert 400 <= response.status_code < 500, response.text
        assert response.headers["content-type"] == "application/problem+json"


def test_a_database_that_is_down_is_503(client, server):
    app = create_app(database.engine(server.url("app").set(port=1)))
    down = TestClient(app, headers={"Authorization": "Bearer sf_x"}, raise_server_exceptions=False)
    response = down.get("/v1/me")
    check_problem(response, 503, "does not answer")
    assert response.headers["retry-after"] == "10"
    assert down.get("/v1/health").status_code == 503


def test_nothing_secret_reaches_the_log_or_the_answer(client, tokens, app, plan, caplog, server):
    app.state.explainer = lambda _: 1 / 0
    with caplog.at_level(logging.DEBUG):
        response = client("ann").get(f"/v1/proposals/{plan[0]}/explanation")
    check_problem(response, 500, "the server's log says what")
    assert "ZeroDivisionError" in caplog.text
    everything = caplog.text + response.text
    assert not [secret for secret in (*tokens.values(), server.secrets["app"]) if secret in everything]


def test_the_description_is_complete(client):
    document = client().get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, what in methods.items():
            assert what.get("description"), f"{method} {path} is not described"
            if path != "/v1/health":
                assert "application/problem+json" in what["responses"]["401"]["content"]
    assert Decimal(document["info"]["version"]) == 1
