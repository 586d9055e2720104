"""A till's export and its mapping, for the tests of imports: the files they write and what has landed of them."""

from __future__ import annotations

import csv
import datetime as dt

from connectors.files.importer import import_file
from connectors.files.mapping import parse_mapping
from connectors.landing import LandedFile
from connectors.records import ENTITIES

KEY = b"a key of thirty-two bytes length"
NOW = dt.datetime(2026, 5, 2, 12, tzinfo=dt.UTC)
HEADER = ["receipt", "item", "when", "qty", "price", "customer", "phone"]


def mapping(**orders):
    return parse_mapping(
        {
            "source": "till",
            "timezone": "Europe/London",
            "defaults": {"location_code": "S1", "currency": "GBP"},
            "personal": ["customer"],
            "orders": {
                "values": {"code": "upper(trim(item))"},
                "quarantine": {"test_sale": "code = 'TEST'"},
                "skip": {"total_line": "code = 'TOTAL'"},
                "records": [
                    {
                        "entity": "order_line",
                        "when": "not (qty < 0)",
                        "fields": {
                            "order_code": "receipt",
                            "line_code": "line_id(item_code, quantity, unit_price)",
                            "item_code": "code",
                            "ordered_at": "to_instant(\"when\", '%d/%m/%Y %H:%M')",
                            "quantity": "qty",
                            "unit_price": "price",
                            "customer_hash": "hash_customer(customer)",
                        },
                    },
                    {
                        "entity": "return_line",
                        "when": "qty < 0",
                        "fields": {
                            "return_code": "receipt",
                            "line_code": "line_id(item_code, quantity, refund_amount)",
                            "item_code": "code",
                            "returned_at": "to_instant(\"when\", '%d/%m/%Y %H:%M')",
                            "quantity": "-qty",
                            "refund_amount": "-qty * price",
                        },
                    },
                ],
                **orders,
            },
        }
    )


def row(receipt="R1", item="A", qty="1", price="2.50", customer="13085", when="02/01/2026 09:30", phone="0171 123"):
    return [receipt, item, when, qty, price, customer, phone]


def save(path, rows, header=HEADER):
    with path.open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])
    return path


def run(landing, path, chosen=None, kind="orders", **options):
    return import_file(landing, kind, path, chosen or mapping(), hash_key=KEY, clock=lambda: NOW, **options)


def landed(landing, entity="order_line"):
    """Newest version of every record of an entity, by record_id."""
    newest = {}
    for file in landing.manifest.files(entity=entity):
        if file["path"]:
            for record in landing.read(LandedFile(**file)).to_pylist():
                newest[record["record_id"]] = record
    return newest


def contents(landing):
    """What all landed records say, apart from when and where they came from."""
    out = set()
    for entity, model in ENTITIES.items():
        for key, record in landed(landing, entity).items():
            out.add((entity, key, *(str(record[name]) for name in model.model_fields)))
    return out


STOCK = {
    "source": "erp",
    "defaults": {"unit": "each"},
    "stock": {
        "records": [
            {
                "entity": "stock_level",
                "fields": {"location_code": "shop", "item_code": "item", "counted_at": "counted", "on_hand": "qty"},
            }
        ]
    },
    "catalog": {
        "records": [
            {"entity": "product", "one_per": ["item_code"], "fields": {"item_code": "item", "name": "mode(name)"}}
        ]
    },
}
