"""Writing to the sandbox's ERP: every way it can fail gives the right result, and what it took comes back as goods."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from connectors.errors import PermanentError
from connectors.http import HttpClient
from connectors.sandbox import declared_pairs, sources, targets
from connectors.sandbox.platform import TOKEN, serve
from connectors.sandbox.push import PurchaseOrderTarget
from tests.connectors.small_sandbox import AS_OF, CONFIG, KEY


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("platform"), AS_OF, CONFIG) as base:
        yield base


@pytest.fixture(autouse=True)
def no_faults(request):
    yield
    if "url" in request.fixturenames:
        post(request.getfixturevalue("url"), "_faults", {})


def post(url: str, path: str, document: dict) -> dict:
    answer = requests.post(f"{url}/{path}", json=document, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    answer.raise_for_status()
    return answer.json()


def impatient(url: str, seconds: float = 0.3) -> PurchaseOrderTarget:
    session = requests.Session()
    session.trust_env = False
    http = HttpClient(url, token=TOKEN, timeout=(2, seconds), attempts=1, session=session)
    return targets(url, TOKEN, http=http)[0]


def pull(url: str, stream: str, entity: str) -> list[dict]:
    erp = sources(url, TOKEN, hash_key=KEY)[0]
    return [row for extract in erp.streams[stream](None) for row in extract.records[entity].to_pylist()]


def document(url: str, reference: str, **changes) -> dict:
    """An order that the ERP accepts: the least quantity of a non-perishable item from its supplier."""
    items = {row["item_code"]: row for row in pull(url, "items", "product")}
    offers = pull(url, "offers", "supplier_offer")
    suppliers = {row["supplier_code"]: row for row in pull(url, "suppliers", "supplier")}
    offer = next(
        o for o in offers
        if o["valid_from"] <= AS_OF <= (o["valid_to"] or AS_OF)
        and items[o["item_code"]]["shelf_life_days"] is None and suppliers[o["supplier_code"]]["lead_time_days"] < 20
    )  # fmt: skip
    line = {"line_reference": f"{reference}/1", "item_code": offer["item_code"], "quantity": str(offer["moq"]),
            "unit": offer["unit"], "unit_price": str(offer["unit_price"])}  # fmt: skip
    return {"reference": reference, "supplier_code": offer["supplier_code"], "location_code": "W1",
            "currency": offer["currency"], "expected_on": None, "lines": [line], **changes}  # fmt: skip


def orders_with(url: str, reference: str) -> list[str]:
    found = [r for r in pull(url, "purchase_orders", "purchase_order_line") if r["reference"] == reference]
    return sorted({r["purchase_order_code"] for r in found})


# -- Results -----------------------------------------------------------------------------------------------------------


def test_an_accepted_order_is_delivered_found_and_pulled(url):
    order = document(url, "SF-1")
    result = impatient(url, 10).send(order, "SF-1")
    assert result.status == "delivered"
    assert result.reference.startswith("PX-")
    assert impatient(url, 10).find("SF-1") == ("delivered", result.reference, None)
    assert orders_with(url, "SF-1") == [result.reference]
    [line] = [r for r in pull(url, "purchase_orders", "purchase_order_line") if r["reference"] == "SF-1"]
    assert (line["status"], line["location_code"], line["item_code"]) == ("open", "W1", order["lines"][0]["item_code"])


def test_an_order_that_never_was_is_not_found(url):
    assert impatient(url, 10).find("SF-none") is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"supplier_code": "V999"}, "no supplier V999"),
        ({"currency": "GBP"}, "paid in"),
        ({"location_code": "WEB"}, "no stock at a location WEB"),
        ({"lines": []}, "at least 1 item"),
        ({"quantity": "0"}, "greater than 0"),
        ({"quantity": "0.5"}, "whole pieces"),
        ({"quantity": "1000001"}, "multiples"),
        ({"item_code": "A0"}, "no item A0"),
        ({"unit": "pallet"}, "no unit pallet"),
    ],
)
def test_an_order_that_cannot_be_is_rejected_with_the_reason(url, change, why):
    order = document(url, "SF-2")
    line = {**order["lines"][0], **{k: v for k, v in change.items() if k in order["lines"][0]}}
    if "quantity" in change and change["quantity"] == "1000001":
        offers = [o for o in pull(url, "offers", "supplier_offer") if o["pack_quantity"] > 1]
        line.update(item_code=offers[0]["item_code"], unit=offers[0]["unit"])
        order.update(supplier_code=offers[0]["supplier_code"], currency=offers[0]["currency"])
    if "quantity" in change and change["quantity"] == "0.5":
        line["unit"] = "each"
    order = {**order, "lines": [line], **{k: v for k, v in change.items() if k in order}}
    result = impatient(url, 10).send(order, "SF-2")
    assert result.status == "rejected"
    assert why in result.reason
    assert impatient(url, 10).find("SF-2") is None


def test_a_failure_before_processing_is_unknown_and_the_order_is_not_there(url):
    order = document(url, "SF-3")
    post(url, "_faults", {"writes": {"fail_times": 1}})
    sender = impatient(url, 10)
    assert sender.send(order, "SF-3").status == "unknown"
    assert sender.find("SF-3") is None
    assert sender.send(order, "SF-3").status == "delivered"


def test_a_lost_answer_is_unknown_and_the_order_is_there_once(url):
    order = document(url, "SF-4")
    post(url, "_faults", {"writes": {"lose_times": 1}})
    sender = impatient(url, 10)
    assert sender.send(order, "SF-4").status == "unknown"
    found = sender.find("SF-4")
    assert found.status == "delivered"
    # Sent again all the same: the key gives the first answer.
    assert sender.send(order, "SF-4") == ("delivered", found.reference, None)
    assert orders_with(url, "SF-4") == [found.reference]


def test_a_slow_erp_is_unknown_and_may_process_later(url):
    order = document(url, "SF-5")
    post(url, "_faults", {"writes": {"delay_seconds": 0.8}})
    sender = impatient(url)
    assert sender.send(order, "SF-5").status == "unknown"
    assert sender.find("SF-5") is None, "looked up too early, it seems not to be there"
    deadline = time.monotonic() + 10
    while (found := sender.find("SF-5")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found.status == "delivered"


def test_without_idempotency_keys_a_repeated_order_is_processed_twice(url):
    order = document(url, "SF-6")
    post(url, "_faults", {"idempotency_keys": False})
    sender = impatient(url, 10)
    first, second = sender.send(order, "SF-6"), sender.send(order, "SF-6")
    assert first.reference != second.reference
    assert orders_with(url, "SF-6") == sorted([first.reference, second.reference])
    found = sender.find("SF-6")
    assert found.reference == first.reference
    assert "2 documents" in found.reason


@pytest.mark.parametrize("fault", ["throttle_times", "unavailable_times"])
def test_an_erp_that_asks_to_wait_has_not_got_it(url, fault):
    order = document(url, "SF-7" + fault)
    post(url, "_faults", {"writes": {fault: 1}})
    assert impatient(url, 10).send(order, "SF-7" + fault).status == "not_sent"
    assert impatient(url, 10).find("SF-7" + fault) is None


def test_an_erp_that_is_down_has_not_got_it_and_cannot_be_asked():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    sender = impatient(f"http://127.0.0.1:{port}")
    assert sender.send({"reference": "SF-8"}, "SF-8").status == "not_sent"
    assert sender.find("SF-8").status == "unknown"


def test_a_search_that_fails_is_unknown_not_absent(url):
    post(url, "_faults", {"reads": {"fail_times": 1}})
    assert impatient(url, 10).find("SF-1").status == "unknown"


def test_a_wrong_token_or_key_is_for_a_person_to_mend(url):
    order = document(url, "SF-9")
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(PermanentError, match="token"):
        targets(url, "x", http=HttpClient(url, token="x", session=session))[0].send(order, "SF-9")
    with pytest.raises(PermanentError, match="must equal its idempotency key"):
        impatient(url, 10).send(order, "another")


# -- Goods -------------------------------------------------------------------------------------------------------------


def test_a_written_order_is_received_and_stock_reflects_it_while_the_past_stays(tmp_path):
    with serve(tmp_path, AS_OF, CONFIG) as url:
        order = document(url, "SF-1")
        history = pull(url, "stock_levels", "stock_level")
        number = impatient(url, 10).send(order, "SF-1").reference
        post(url, "_clock", {"as_of": (AS_OF + dt.timedelta(days=40)).isoformat()})
        [line] = [r for r in pull(url, "purchase_orders", "purchase_order_line") if r["reference"] == "SF-1"]
        assert line["status"] == "received"
        receipts = [r for r in pull(url, "receipts", "receipt_line") if r["purchase_order_code"] == number]
        sizes = {(u["item_code"], u["unit"]): u["numerator"] for u in pull(url, "items", "item_unit")}
        units = line["quantity"] * sizes[line["item_code"], line["unit"]]
        assert sum(r["quantity"] for r in receipts) == units
        assert all(r["received_at"].date() > AS_OF for r in receipts)
        levels = pull(url, "stock_levels", "stock_level")
        assert levels[: len(history)] == history
        ledger, stated = _ledger(url), _stated(levels)
        assert all(ledger[key] == on_hand for key, on_hand in stated.items())


def _ledger(url) -> collections.Counter:
    """Balance at the end by location and item, from every feed that moves stock."""
    balance = collections.Counter()
    for move in pull(url, "stock_movements", "stock_movement"):
        balance[move["location_code"], move["item_code"]] += move["quantity"]
    for line in pull(url, "receipts", "receipt_line"):
        balance[line["location_code"], line["item_code"]] += line["quantity"]
    item_of = {}
    erp, tills, webshop = sources(url, TOKEN, hash_key=KEY)
    gtin = {row["gtin"]: row["item_code"] for row in pull(url, "items", "product")}
    for source, code, _, other in declared_pairs(url, TOKEN):
        item_of[source, code] = other
    for source, stream in ((tills, "articles"), (webshop, "products")):
        for extract in source.streams[stream](None):
            for row in extract.records["product"].to_pylist():
                if row["gtin"]:
                    item_of[source.name, row["item_code"]] = gtin[row["gtin"]]
    for source, stream, sign in ((tills, "receipts", -1), (webshop, "orders", -1), (tills, "returns", 1),
                                 (webshop, "returns", 1)):  # fmt: skip
        entity = "order_line" if sign < 0 else "return_line"
        for extract in source.streams[stream](None):
            for row in extract.records[entity].to_pylist():
                item = item_of.get((source.name, row["item_code"]))
                place = "W1" if row["location_code"] == "WEB" else row["location_code"]
                if item and (sign < 0 or row["is_restocked"]):
                    balance[place, item] += sign * row["quantity"]
    assert erp.assigns_items
    return balance


def _stated(levels: list[dict]) -> collections.Counter:
    latest: dict = {}
    for row in levels:
        key = row["location_code"], row["item_code"]
        latest[key] = max(latest.get(key, row["counted_at"]), row["counted_at"])
    stated = collections.Counter()
    for row in levels:
        key = row["location_code"], row["item_code"]
        if row["counted_at"] == latest[key]:
            stated[key] += row["on_hand"]
    return stated


def test_a_written_transfer_moves_stock(tmp_path):
    with serve(tmp_path, AS_OF, CONFIG) as url:
        stock = {key: n for key, n in _stated(pull(url, "stock_levels", "stock_level")).items() if key[0] == "W1"}
        (_, item), _ = max(stock.items(), key=lambda entry: entry[1])
        body = {"reference": "TR-1", "from_location_code": "W1", "to_location_code": "S1",
                "lines": [{"line_reference": "1", "item_code": item, "quantity": "5", "unit": "each"}]}  # fmt: skip
        number = post(url, "erp/transfers", body)["number"]
        post(url, "_clock", {"as_of": (AS_OF + dt.timedelta(days=6)).isoformat()})
        moves = [m for m in pull(url, "stock_movements", "stock_movement") if m["document_code"] == number]
        assert {(m["kind"], m["location_code"], int(m["quantity"])) for m in moves} == {
            ("transfer_out", "W1", -5),
            ("transfer_in", "S1", 5),
        }
        headers = {"Authorization": f"Bearer {TOKEN}"}
        found = requests.get(f"{url}/erp/transfers?reference=TR-1", headers=headers, timeout=10).json()["records"]
        assert found == [{"number": number, "reference": "TR-1"}]


def test_without_own_buying_only_written_orders_are_delivered(tmp_path):
    config = dataclasses.replace(CONFIG, own_buying_until=AS_OF)
    with serve(tmp_path, AS_OF, config) as url:
        post(url, "_clock", {"as_of": (AS_OF + dt.timedelta(days=20)).isoformat()})
        ordered = pull(url, "purchase_orders", "purchase_order_line")
        assert max(line["ordered_at"].date() for line in ordered) < AS_OF


def test_a_folder_of_another_shop_is_refused(tmp_path):
    with serve(tmp_path, CONFIG.start + dt.timedelta(days=3), CONFIG):
        pass
    other = dataclasses.replace(CONFIG, seed=99)
    with pytest.raises(ValueError, match="another folder"), serve(tmp_path, AS_OF, other):
        pass


def test_a_port_in_use_is_said_in_one_sentence(tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(ValueError, match="choose another one"), serve(tmp_path, AS_OF, CONFIG, port=port):
            pass


def test_a_killed_platform_forgets_nothing(tmp_path):
    """SIGKILL in a process of its own; another one goes on at the same state."""
    command = [sys.executable, "-m", "connectors.sandbox", "--home", str(tmp_path), "--as-of", AS_OF.isoformat(),
               "--items", "40", "--start", CONFIG.start.isoformat()]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (os.getcwd(), *sys.path) if p)}

    def start() -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = process.stdout.readline()
        assert line.startswith("Sandbox ready on http://127.0.0.1:")
        return process, line.split()[3]

    process, url = start()
    try:
        order = document(url, "SF-1")
        number = impatient(url, 10).send(order, "SF-1").reference
        post(url, "_clock", {"as_of": (AS_OF + dt.timedelta(days=3)).isoformat()})
        second = impatient(url, 10).send({**order, "reference": "SF-2"}, "SF-2").reference
        before = [pull(url, s, e) for s, e in (("stock_levels", "stock_level"), ("stock_movements", "stock_movement"))]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    process, url = start()
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        clock = requests.get(f"{url}/_clock", headers=headers, timeout=10).json()
        assert clock == {"as_of": (AS_OF + dt.timedelta(days=3)).isoformat()}
        after = [pull(url, s, e) for s, e in (("stock_levels", "stock_level"), ("stock_movements", "stock_movement"))]
        assert after == before
        assert impatient(url, 10).send(order, "SF-1").reference == number
        assert impatient(url, 10).find("SF-2").reference == second
    finally:
        process.terminate()
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
        process.stdout.close()
