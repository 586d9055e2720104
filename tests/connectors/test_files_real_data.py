"""The two real data sets: every row accounted for, quantities and money to the cent, overlaps without effect."""

from __future__ import annotations

import duckdb
import pytest

from connectors.files.importer import import_file
from connectors.files.mapping import load_mapping
from connectors.records import ENTITIES

pytestmark = pytest.mark.real_data
KEY = b"a key of thirty-two bytes length"

PRODUCT = "regexp_full_match(upper(trim(stock_code)), '[0-9]{5}[A-Z]{0,2}|DCGS[A-Z0-9]+|SP[0-9]+|PADS')"
NOTE = "coalesce(NOT regexp_matches(description, '[A-Z]{3}'), TRUE)"
CANCELLED = "invoice LIKE 'C%'"


def newest(landing, db, entity):
    """SQL of the newest version of each landed record of an entity."""
    files = [landing.duckdb_path(f["path"]) for f in landing.manifest.files(entity=entity) if f["path"]]
    return (
        f"(SELECT * FROM read_parquet({files}) QUALIFY row_number() OVER (PARTITION BY record_id "
        "ORDER BY ingested_at DESC, ordinal DESC) = 1)"
    )


def digest(landing, db, entity):
    """(records, order-independent fingerprint of everything they say)."""
    fields = ", ".join(f'"{name}"' for name in ENTITIES[entity].model_fields)
    return db.execute(
        f"SELECT count(*), bit_xor(hash(record_id, {fields})), sum(hash(record_id, {fields})::HUGEINT) "
        f"FROM {newest(landing, db, entity)}"
    ).fetchone()


@pytest.fixture(scope="module")
def retail(make_landing, real_data):
    """The order lines of the UK shop, imported once for the tests of this module: (landing, report)."""
    landing, mapping = make_landing(), load_mapping("online_retail_ii")
    return landing, import_file(landing, "orders", real_data / "online_retail_ii.parquet", mapping, hash_key=KEY)


@pytest.fixture
def db():
    with duckdb.connect() as session:
        session.execute("SET TimeZone = 'UTC'")
        session.execute("SET threads = 2")
        yield session


def test_online_retail_is_accounted_for_row_by_row_and_cent_by_cent(retail, real_data, db):
    file = real_data / "online_retail_ii.parquet"
    landing, report = retail
    assert report.received == 873_869
    assert (report.accepted, report.unchanged, report.quarantined) == (873_852, 0, 17)
    assert report.reasons == {"test_product": 17}

    source = f"(SELECT *, CAST(unit_price AS DECIMAL(18, 4)) AS price FROM read_parquet('{file}'))"

    def rows(rule, value="quantity * price"):
        return db.execute(f"SELECT count(*), sum({value}) FROM {source} WHERE {rule}").fetchone()

    def records(entity, value):
        return db.execute(f"SELECT count(*), sum({value}) FROM {newest(landing, db, entity)}").fetchone()

    sold = f"{PRODUCT} AND quantity > 0 AND NOT (unit_price = 0 AND customer_id IS NULL AND {NOTE})"
    for file_value, record_value in (("quantity * price", "quantity * unit_price"), ("quantity", "quantity")):
        assert records("order_line", record_value) == rows(sold, file_value)
    returned = f"{PRODUCT} AND {CANCELLED}"
    assert records("return_line", "refund_amount") == rows(returned, "-quantity * price")
    assert records("return_line", "quantity") == rows(returned, "-quantity")
    charged = f"NOT {PRODUCT} AND NOT upper(trim(stock_code)) LIKE 'TEST%'"
    assert records("order_charge", "amount") == rows(charged)
    moved = f"{PRODUCT} AND NOT {CANCELLED} AND unit_price = 0 AND (quantity < 0 OR (customer_id IS NULL AND {NOTE}))"
    assert records("stock_movement", "quantity") == rows(moved, "quantity")

    # The whole file is there: all its money, and all its goods, in one of the four.
    tested = rows("upper(trim(stock_code)) LIKE 'TEST%'")[1]
    landed_money = (
        records("order_line", "quantity * unit_price")[1]
        - records("return_line", "refund_amount")[1]
        + records("order_charge", "amount")[1]
    )
    assert landed_money + tested == rows("TRUE")[1]
    goods = (
        records("order_line", "quantity")[1]
        - records("return_line", "quantity")[1]
        + records("stock_movement", "quantity")[1]
    )
    assert goods == rows(PRODUCT, "quantity")[1]
    codes = db.execute(f"SELECT count(*) FROM {newest(landing, db, 'order_line')} WHERE item_code <> upper(item_code)")
    assert codes.fetchone() == (0,)

    again = import_file(landing, "orders", file, load_mapping("online_retail_ii"), hash_key=KEY)
    assert (again.accepted, again.unchanged, again.quarantined) == (0, 873_852, 17)


def test_local_times_become_utc_across_both_clock_changes(retail, real_data, db):
    file, (landing, _) = real_data / "online_retail_ii.parquet", retail
    offsets = db.execute(
        f"SELECT date_diff('minute', l.ordered_at, timezone('UTC', s.invoice_ts)) AS minutes, "
        "min(s.invoice_ts)::DATE::VARCHAR, max(s.invoice_ts)::DATE::VARCHAR "
        f"FROM {newest(landing, db, 'order_line')} AS l "
        f"JOIN (SELECT invoice, min(invoice_ts) AS invoice_ts FROM read_parquet('{file}') GROUP BY 1 "
        "HAVING min(invoice_ts) = max(invoice_ts)) AS s ON s.invoice = l.order_code "
        "WHERE s.invoice_ts BETWEEN '2010-01-01' AND '2010-12-31' GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert [minutes for minutes, *_ in offsets] == [0, 60]
    assert "2010-03-28" <= offsets[1][1] <= offsets[1][2] < "2010-10-31"


@pytest.mark.parametrize(
    ("first_day", "last_day"),
    [("2010-11-15", "2010-12-31"), pytest.param("2009-01-01", "2011-12-31", marks=pytest.mark.long)],
)
def test_overlapping_and_shuffled_halves_land_what_the_whole_lands(
    make_landing, real_data, db, tmp_path, first_day, last_day
):
    db.execute(
        f"CREATE TABLE whole AS FROM read_parquet('{real_data / 'online_retail_ii.parquet'}') "
        f"WHERE invoice_ts::DATE BETWEEN '{first_day}' AND '{last_day}'"
    )
    db.execute(f"COPY whole TO '{tmp_path / 'whole.parquet'}'")
    mapping = load_mapping("online_retail_ii")
    whole, parts = make_landing(), make_landing()
    import_file(whole, "orders", tmp_path / "whole.parquet", mapping, hash_key=KEY)
    for name, rule in (("first", "< '2010-12-10'"), ("second", ">= '2010-12-01'")):
        some = f"SELECT * FROM whole WHERE invoice_ts::DATE {rule} ORDER BY hash(invoice, stock_code, quantity)"
        db.execute(f"COPY ({some}) TO '{tmp_path / name}.csv' (HEADER)")
        report = import_file(parts, "orders", tmp_path / f"{name}.csv", mapping, hash_key=KEY, chunk_rows=300_000)
        assert (report.received,) == db.execute(f"SELECT count(*) FROM ({some})").fetchone()
        assert (report.unchanged > 20_000) == (name == "second")
    for entity in ("order_line", "return_line", "order_charge", "stock_movement", "location"):
        assert digest(parts, db, entity) == digest(whole, db, entity), entity
    again = import_file(parts, "orders", tmp_path / "whole.parquet", mapping, hash_key=KEY)
    assert again.accepted == 0


def test_every_product_of_the_shop_has_one_name(make_landing, real_data, db):
    landing = make_landing()
    report = import_file(
        landing, "catalog", real_data / "online_retail_ii.parquet", load_mapping("online_retail_ii"), hash_key=KEY
    )
    assert (report.received, report.quarantined) == (873_869, 17)
    assert report.skipped == {"not_a_product": 5_049}
    names = dict(db.execute(f"SELECT item_code, name FROM {newest(landing, db, 'product')}").fetchall())
    assert len(names) == report.records["product"] == 4_960
    assert names["84879"] == "ASSORTED COLOUR BIRD ORNAMENT"
    assert names["22197"] == "SMALL POPCORN HOLDER"
    assert not {"damaged", "?", "nan"} & set(names.values())
    assert "POST" not in names


def test_fresh_grocery_is_accounted_for_row_by_row(make_landing, real_data, db):
    file = real_data / "freshretailnet_dev.parquet"
    landing, mapping = make_landing(), load_mapping("freshretailnet")
    report = import_file(landing, "orders", file, mapping, hash_key=KEY)
    assert (report.received, report.accepted, report.quarantined) == (928_796, 928_796, 0)
    assert report.records == {"order_line": 885_936, "availability": 928_796, "weather_day": 17_100, "location": 225}

    def one(sql):
        return db.execute(sql).fetchone()

    source = f"read_parquet('{file}')"
    exact = "CAST(round(CAST(sale_amount AS DOUBLE), 6) AS DECIMAL(18, 6))"
    assert one(f"SELECT sum(quantity) FROM {newest(landing, db, 'order_line')}") == one(
        f"SELECT sum({exact}) FROM {source}"
    )
    out_of_stock = one(f"SELECT round(sum((1 - in_stock_share) * 16)) FROM {newest(landing, db, 'availability')}")
    assert out_of_stock == one(f"SELECT CAST(sum(stock_hour6_22_cnt) AS DOUBLE) FROM {source}")
    # Noon in Shanghai: the business date is the file's day.
    wrong = one(
        f"SELECT count(*) FROM {newest(landing, db, 'order_line')} "
        "WHERE timezone('Asia/Shanghai', ordered_at)::DATE::VARCHAR <> split_part(order_code, '|', 2)"
    )
    assert wrong == (0,)
    stock = import_file(landing, "stock", file, mapping, hash_key=KEY)
    assert (stock.accepted, stock.unchanged) == (0, 928_796)


def test_fresh_grocery_promotions_and_products(make_landing, real_data, db):
    file = real_data / "freshretailnet_dev.parquet"
    landing, mapping = make_landing(), load_mapping("freshretailnet")
    report = import_file(landing, "promotions", file, mapping, hash_key=KEY)
    assert (report.received, report.accepted, report.quarantined) == (928_796, 479_222, 0)
    assert report.skipped == {"no_promotion": 449_574}
    (wrong,) = db.execute(
        f"SELECT count(*) FROM {newest(landing, db, 'promotion')} "
        "WHERE ends_on <> starts_on OR discount NOT BETWEEN 0 AND 1"
    ).fetchone()
    assert wrong == 0
    products = import_file(landing, "catalog", file, mapping, hash_key=KEY)
    assert (products.accepted, products.records["product"]) == (928_796, 618)
