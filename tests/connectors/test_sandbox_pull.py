"""Pulling the sandbox through landing: everything is accounted for, nothing personal stays, codes meet."""

from __future__ import annotations

import collections
import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
import requests

from connectors.errors import PermanentError, TransientError
from connectors.http import HttpClient
from connectors.landing import Landing
from connectors.records import ENTITIES
from connectors.sandbox import declared_pairs, mapping, sources
from connectors.sandbox.catalogue import STRAYS
from connectors.sandbox.client import SandboxClient
from connectors.sandbox.people import person
from connectors.sandbox.platform import TOKEN, serve
from connectors.sandbox.pull import changes
from connectors.sandbox.shop import generate
from tests.connectors.manifest import MemoryManifest
from tests.connectors.small_sandbox import AS_OF, CONFIG, KEY


class Pulled:
    def __init__(self, folder):
        self.manifest = MemoryManifest()
        self.landing = Landing(str(folder), self.manifest)

    def pull(self, url: str) -> dict[str, collections.Counter]:
        """Pulls all sources once; counts by entity."""
        counts = {name: collections.Counter() for name in ("accepted", "unchanged", "quarantined")}
        for source in sources(url, TOKEN, hash_key=KEY):
            for stream, pull in source.streams.items():
                for landed in self.landing.pull(source.name, stream, pull):
                    for file in landed.files:
                        for name, count in counts.items():
                            count[file.source, file.entity] += getattr(file, name)
        return counts

    def table(self, entity: str, source: str | None = None) -> pa.Table:
        files = [f for f in self.manifest.files(source=source, entity=entity) if f["path"]]
        return pa.concat_tables(self.landing.read(_File(f["path"])) for f in files)

    def newest(self, entity: str, source: str | None = None) -> dict[tuple[str, str], dict]:
        return {(row["source"], row["record_id"]): row for row in self.table(entity, source).to_pylist()}


class _File:
    def __init__(self, path):
        self.path = path


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("platform"), AS_OF, CONFIG) as base:
        yield base


@pytest.fixture(scope="module")
def pulled(url, tmp_path_factory):
    pulled = Pulled(tmp_path_factory.mktemp("landing"))
    pulled.first = pulled.pull(url)
    return pulled


@pytest.fixture(scope="module")
def shop():
    return generate(CONFIG, AS_OF)


def post(url: str, path: str, document: dict) -> dict:
    answer = requests.post(f"{url}/{path}", json=document, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    answer.raise_for_status()
    return answer.json()


def test_everything_that_was_received_is_accounted_for(pulled, shop):
    accepted = pulled.first["accepted"]
    lines = shop.facts["lines"].to_pandas()
    web = lines["location"] == CONFIG.stores
    assert accepted["sandbox_tills", "order_line"] == (~web).sum()
    assert accepted["sandbox_webshop", "order_line"] == web.sum()
    assert accepted["sandbox_erp", "stock_level"] == shop.facts["stock"].num_rows
    assert accepted["sandbox_erp", "stock_movement"] == shop.facts["movements"].num_rows
    assert accepted["sandbox_erp", "availability"] == shop.facts["latent"].num_rows
    assert not pulled.first["unchanged"].total()
    entities = {entity for _, entity in accepted}
    # The generated shop charges for goods only, and knows nothing of what people search for.
    assert entities == set(ENTITIES) - {"order_charge", "category_index"}


def test_broken_records_are_in_quarantine_with_reasons_and_stopped_nothing(pulled):
    quarantined = {key: count for key, count in pulled.first["quarantined"].items() if count}
    assert {source for source, _ in quarantined} == {"sandbox_webshop"}
    reasons = collections.Counter()
    for file in pulled.manifest.files():
        reasons.update(file["reasons"])
    for expected in ("product_deleted", "unit_price_greater_than_equal", "payload_not_understood", "deleted_in_source",
                     "ordered_after_update", "quantity_greater_than", "total_amount_decimal_parsing",
                     "refund_amount_decimal_type", "gtin_string_pattern_mismatch"):  # fmt: skip
        assert reasons[expected], expected
    assert not [r for r in pulled.newest("order", "sandbox_webshop").values() if r["order_code"].startswith("W-X")]


def test_a_second_pull_accepts_nothing(pulled, url):
    again = pulled.pull(url)
    assert again["accepted"].total() == 0
    assert again["unchanged"].total() > 0


def test_no_personal_data_is_kept_anywhere(pulled, shop, url):
    """Searches every landed text and every quarantined payload."""
    texts = []
    for file in pulled.manifest.files():
        if file["path"]:
            table = pulled.landing.read(_File(file["path"]))
            texts += [
                c for name, c in zip(table.column_names, table.columns, strict=True) if pa.types.is_string(c.type)
            ]
        if file["quarantined"]:
            texts += pulled.landing.quarantined(file["batch_id"], file["source"]).columns
    everything = "\n".join({text for column in texts for text in column.unique().to_pylist() if text})
    buyers = {row["customer"] for row in shop.facts["orders"].to_pylist() if 0 <= row["customer"] < 1_000_000}
    assert len(buyers) > 100
    buyers = set(sorted(buyers)[::3])
    served = json.dumps(
        requests.get(f"{url}/webshop/orders", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).json(),
        ensure_ascii=False,
    )
    for number in buyers | set(range(10)):
        who = person(number)
        assert number < 10 or who.email in served
        for personal in (who.name, who.email, who.phone, who.street, who.id):
            assert personal not in everything
    assert "L100" not in everything
    hashes = {r["customer_hash"] for r in pulled.newest("order", "sandbox_webshop").values()}
    assert len(hashes) == len({row["customer"] for row in shop.facts["orders"].to_pylist() if row["location"] == 4})


def test_the_two_sales_sources_use_other_codes_and_meet_by_gtin_or_by_declared_pair(pulled, url, shop):
    products = {
        source: {r["item_code"]: r["gtin"] for r in pulled.newest("product", source).values()}
        for source in ("sandbox_erp", "sandbox_tills", "sandbox_webshop")
    }
    codes = [set(of) for of in products.values()]
    assert not codes[0] & codes[1]
    assert not codes[0] & codes[2]
    assert not codes[1] & codes[2]
    gtins = {gtin: code for code, gtin in products["sandbox_erp"].items()}
    assert len(gtins) == len(products["sandbox_erp"])
    pairs = declared_pairs(url, TOKEN)
    assert pairs == sorted(shop.declared_pairs)
    declared = {(source, code): other for source, code, _, other in pairs}
    meeting = collections.defaultdict(set)
    unmatched = set()
    for source in ("sandbox_tills", "sandbox_webshop"):
        for code, gtin in products[source].items():
            item = gtins[gtin] if gtin else declared.get((source, code))
            if item is None:
                unmatched.add(code)
            else:
                assert item in products["sandbox_erp"]
                meeting[item].add(source)
    assert unmatched == {code for _, code, *_ in STRAYS}
    assert sum(len(found) == 2 for found in meeting.values()) > len(meeting) / 2
    assert len(pairs) >= 4


def test_unmatched_articles_are_sold_too(pulled):
    sold = collections.Counter(row["item_code"] for row in pulled.newest("order_line").values())
    assert all(sold[code] for _, code, *_ in STRAYS[:2])


def test_orders_lines_and_payments_tie_to_the_cent(pulled):
    net = collections.Counter()
    for line in pulled.newest("order_line").values():
        net[line["order_code"]] += line["quantity"] * line["unit_price"] - line["discount_amount"]
    orders = {row["order_code"]: row for row in pulled.newest("order").values()}
    assert {code: order["total_amount"] for code, order in orders.items()} == dict(net)

    payments = list(pulled.newest("payment").values())
    web = {p["document_code"]: p["amount"] for p in payments if p["party_code"] == "PayHub" and p["kind"] == "receipt"}
    assert web == {code: o["total_amount"] for code, o in orders.items() if o["channel"] == "web"}
    refunds = {p["document_code"]: -p["amount"] for p in payments if p["kind"] == "refund"}
    assert refunds == {r["return_code"]: r["refund_amount"] for r in pulled.newest("return_line").values()}

    taken, rung_up = collections.Counter(), collections.Counter()
    for p in payments:
        if p["party_code"] in ("CASH", "CARD") and p["kind"] == "receipt":
            taken[p["document_code"]] += p["amount"]
    for order in orders.values():
        if order["channel"] == "store":
            rung_up[f"{order['location_code']}/{_business_day(order, 'ordered_at')}"] += order["total_amount"]
    assert taken == rung_up

    settled = [p for p in payments if p["party_code"] == "PayHub"]
    paid_out = sum(p["amount"] for p in settled if p["kind"] == "payout")
    last = max(p["paid_at"] for p in settled if p["kind"] == "payout")
    monday = (last - dt.timedelta(days=2)).date()
    berlin = dt.timedelta(hours=1)
    covered = [p for p in settled if p["kind"] in ("receipt", "refund") and (p["paid_at"] + berlin).date() < monday]
    fees = sum(p["amount"] for p in settled if p["kind"] == "fee")
    assert fees < 0
    assert paid_out == sum(p["amount"] for p in covered) + fees


def test_supplier_payments_are_what_was_received_paid_by_terms(pulled):
    suppliers = {row["supplier_code"]: row for row in pulled.newest("supplier").values()}
    due = collections.Counter()
    for line in pulled.newest("receipt_line").values():
        supplier = suppliers[line["supplier_code"]]
        paid_on = (line["received_at"]).date() + dt.timedelta(days=supplier["payment_terms_days"])
        if paid_on < AS_OF:
            amount = (line["quantity"] * line["unit_cost"]).quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")
            due[line["purchase_order_code"], paid_on] += amount
    payments = [p for p in pulled.newest("payment").values() if p["kind"] == "supplier_payment"]
    paid = {(p["document_code"], p["paid_at"].date()): -p["amount"] for p in payments}
    assert paid == due
    assert len(paid) > 5
    assert len({s["currency"] for s in suppliers.values()}) > 1


def test_units_convert_exactly_and_offers_and_orders_use_them(pulled):
    units = {(u["item_code"], u["unit"]): u["numerator"] for u in pulled.newest("item_unit").values()}
    assert all(units[item, "each"] == 1 for item, _ in units)
    offers = list(pulled.newest("supplier_offer").values())
    assert {o["unit"] for o in offers} == {"each", "case"}
    assert all((o["item_code"], o["unit"]) in units for o in offers)
    assert all(o["moq"] % o["pack_quantity"] == 0 for o in offers)
    ordered, received = collections.Counter(), collections.Counter()
    for line in pulled.newest("purchase_order_line").values():
        if line["status"] == "received":
            base = line["quantity"] * units[line["item_code"], line["unit"]]
            ordered[line["purchase_order_code"], line["line_code"]] += base
    for line in pulled.newest("receipt_line").values():
        key = line["purchase_order_code"], line["purchase_order_line_code"]
        if key in ordered:
            received[key] += line["quantity"]
    assert ordered
    assert ordered == received


def test_two_time_zones_and_a_late_closing_store(pulled):
    places = {row["location_code"]: row for row in pulled.newest("location").values()}
    assert {p["timezone"] for p in places.values()} == {"Europe/Berlin", "Europe/Lisbon"}
    assert places["S4"]["business_day_start"] == 180
    assert (places["WEB"]["kind"], places["WEB"]["supplied_from"]) == ("web", "W1")
    assert places["W1"]["supplied_from"] is None
    closed = {(r["location_code"], r["date_on"]) for r in pulled.newest("opening_day").values()}
    assert ("S1", dt.date(2025, 1, 29)) in closed
    assert max(date for _, date in closed) > AS_OF + dt.timedelta(days=60)


def test_only_what_was_known_on_the_morning_is_served(pulled):
    morning = dt.datetime.combine(AS_OF, dt.time(5), dt.UTC)
    for entity in ("order", "return_line", "stock_level", "stock_movement", "receipt_line", "payment", "weather_day"):
        occurred = "issued_at" if entity == "weather_day" else ENTITIES[entity].occurred
        assert max(row[occurred] for row in pulled.newest(entity).values()) < morning, entity
    forecasts = [w for w in pulled.newest("weather_day").values() if w["date_on"] >= AS_OF]
    assert len({w["date_on"] for w in forecasts}) == 10
    promotions = list(pulled.newest("promotion").values())
    assert all(p["announced_on"] < AS_OF for p in promotions)
    assert any(p["starts_on"] > AS_OF for p in promotions)


def test_a_moved_clock_brings_the_new_day_and_nothing_else(tmp_path):
    with serve(tmp_path / "platform", AS_OF, CONFIG) as url:
        pulled = Pulled(tmp_path / "landing")
        pulled.pull(url)
        daily = ("order", "order_line", "stock_level", "stock_movement", "availability", "receipt_line")
        before = {entity: set(pulled.newest(entity)) for entity in daily}
        assert post(url, "_clock", {"as_of": (AS_OF + dt.timedelta(days=1)).isoformat()}) == {"as_of": "2025-01-31"}
        counts = pulled.pull(url)
        assert counts["accepted"]["sandbox_webshop", "order"] > 0
        assert counts["accepted"]["sandbox_tills", "order"] == 0, "stores are closed on the second day of the new year"
        for entity in daily:
            fresh = [row for key, row in pulled.newest(entity).items() if key not in before[entity]]
            days = {_business_day(row, ENTITIES[entity].occurred) for row in fresh}
            assert days <= {AS_OF}, entity
        truth = generate(CONFIG, AS_OF + dt.timedelta(days=1))
        assert len(pulled.newest("stock_level")) == truth.facts["stock"].num_rows
        # Yesterday's web orders have been sent since.
        versions = collections.Counter(
            row["record_id"]
            for row in pulled.table("order", "sandbox_webshop").to_pylist()
            if ("sandbox_webshop", row["record_id"]) in before["order"]
        )
        assert set(versions.values()) == {1, 2}
        assert pulled.pull(url)["accepted"].total() == 0


def _business_day(row: dict, occurred: str) -> dt.date:
    """In winter Berlin is an hour ahead of UTC, and the late store's day in Lisbon begins at 03:00."""
    if not isinstance(row[occurred], dt.datetime):
        return row[occurred]
    return (row[occurred] + dt.timedelta(hours=-3 if row["location_code"] == "S4" else 1)).date()


def test_a_pull_that_broke_off_goes_on_where_it_landed(url, tmp_path):
    pulled = Pulled(tmp_path)
    [webshop] = [s for s in sources(url, TOKEN, hash_key=KEY) if s.name == "sandbox_webshop"]
    convert, personal = mapping.web_order(KEY), mapping.PERSONAL
    small = changes(SandboxClient(url, TOKEN), "webshop/orders", "order", convert, personal, limit=100)
    steps = pulled.landing.pull("sandbox_webshop", "orders", small)
    first = [next(steps) for _ in range(3)]
    steps.close()
    rest = list(pulled.landing.pull("sandbox_webshop", "orders", webshop.streams["orders"]))
    whole = Pulled(tmp_path / "whole")
    list(whole.landing.pull("sandbox_webshop", "orders", webshop.streams["orders"]))
    assert sum(x.accepted for x in first) > 0
    assert sum(x.accepted for x in rest) > 0
    assert set(pulled.newest("order_line")) == set(whole.newest("order_line"))


def test_small_pages_give_the_same_records(url, pulled):
    client = SandboxClient(url, TOKEN)
    for feed, limit in (
        ("webshop/orders", 100), ("webshop/payments", 200), ("tills/receipts", 500), ("tills/payments", 400),
        ("tills/returns", 8), ("erp/stock-movements", 1000), ("erp/purchase-orders", 4), ("erp/supplier-payments", 3),
    ):  # fmt: skip
        whole = [r for page in client.pages(feed, limit=50_000) for r in page.records]
        pages = list(client.pages(feed, limit=limit))
        assert [r for page in pages for r in page.records] == whole
        assert len(pages) >= 2, feed


def test_a_throttled_read_waits_and_goes_on_and_a_wrong_token_is_permanent(url):
    slept = []
    post(url, "_faults", {"reads": {"throttle_times": 2, "retry_after": "3", "fail_times": 1}})
    session = requests.Session()
    session.trust_env = False
    http = HttpClient(url, token=TOKEN, sleep=slept.append, jitter=lambda: 0.0, session=session)
    erp = sources(url, TOKEN, hash_key=KEY, http=http)[0]
    [suppliers] = list(erp.streams["suppliers"](None))
    assert suppliers.records["supplier"].num_rows == CONFIG.suppliers
    assert slept[:2] == [3.0, 3.0]
    assert len(slept) == 3
    post(url, "_faults", {"reads": {"unavailable_times": 99, "retry_after": "900"}})
    with pytest.raises(TransientError):
        list(erp.streams["suppliers"](None))
    post(url, "_faults", {})
    with pytest.raises(PermanentError, match="token"):
        list(sources(url, "wrong", hash_key=KEY)[0].streams["suppliers"](None))


def test_the_clock_does_not_go_back_and_a_made_up_cursor_is_refused(url):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    back = requests.post(f"{url}/_clock", json={"as_of": "2024-12-01"}, headers=headers, timeout=10)
    assert back.status_code == 422
    assert "only moves forward" in back.json()["detail"]
    for feed in ("webshop/orders", "tills/receipts", "erp/receipts"):
        assert requests.get(f"{url}/{feed}?cursor=x", headers=headers, timeout=10).status_code == 400
