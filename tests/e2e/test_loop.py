"""The whole loop on a small shop: orders in, proposals, approval, orders out, and back in; told once, checked in parts.

The story has three mornings' worth of cycles and takes most of a minute; the tests read what it noted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb
import psycopg
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from connectors.files.importer import import_file
from connectors.files.mapping import load_mapping
from connectors.sandbox.people import STREETS, person
from ml.replenishment.freezing import thaw
from operations import access, approvals, database, identity, outbox, proposals
from operations.proposals import Filter
from orchestration import health
from orchestration.cli import models as model_commands
from orchestration.delivery import delivery_targets
from orchestration.planning import models
from orchestration.planning.cycle import frozen_hash_of
from tests.e2e.small_home import MORNING, Home, small_home

NEXT = MORNING + dt.timedelta(days=1)
OWN = Path(__file__).parent / "mapping_own.yaml"


# -- The story ---------------------------------------------------------------------------------------------------------


@dataclass
class Story:
    home: Home
    first: dict[str, object] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    after_delivery: dict[str, str] = field(default_factory=dict)
    second_day: dict[str, object] = field(default_factory=dict)
    replanned: dict[str, object] = field(default_factory=dict)
    reported: list[tuple[set, set]] = field(default_factory=list)


@pytest.fixture(scope="module")
def story():
    with small_home() as home:
        told = Story(home)
        import_own(home)
        told.reported.append(reported(home.run()))
        told.first = state(home)
        told.documents = approve_and_deliver(home)
        with home.app.engine.connect() as db:
            rows = db.execute(sa.text("SELECT document_key, status FROM operations.outbox")).all()
        told.after_delivery = dict(map(tuple, rows))
        home.pass_days(NEXT)
        import_late_sale(home)
        home.run(day=NEXT)
        told.second_day = state(home)
        told.reported.append(reported(home.run(day=MORNING)))
        told.replanned = state(home)
        yield told


def state(home: Home) -> dict[str, object]:
    """What a rerun must not change, and how much has been landed."""
    files = home.app.manifest.files()
    return {
        "proposals": planned(home, MORNING),
        "landed": sum(f["accepted"] for f in files),
        "newest": max(f["sequence"] for f in files),
        "marts": marts(home),
        "orders": count(home, "purchase_order_line"),
        "frozen": frozen_hash_of(home.app.engine, MORNING),
    }


def planned(home: Home, morning: dt.date) -> bytes:
    """A morning's proposals and what it withheld, all that is decided by the plan, byte for byte."""
    columns = (
        "proposal_id, cycle_date, frozen_hash, kind, item_key, location_key, from_location_key, supplier_id, quantity, "
        "unit, pack_quantity, minimum_quantity, unit_price, currency, amount, expected_on, stockout_risk, reason, "
        "evidence::text"
    )
    with home.app.engine.connect() as db:
        found = [
            db.execute(sa.text(query), {"day": morning}).all()
            for query in (
                f"SELECT {columns} FROM operations.proposal WHERE cycle_date = :day ORDER BY proposal_id",
                "SELECT item_key, location_key, reason, detail, value_at_risk FROM operations.withheld "
                "WHERE cycle_date = :day ORDER BY item_key, location_key",
            )
        ]
    return json.dumps([[list(row) for row in rows] for rows in found], default=str).encode()


def marts(home: Home) -> dict[str, tuple[int, str]]:
    """Rows and content of every published mart but the snapshot's own name and hour."""
    with published(home) as db:
        names = db.execute("SELECT table_name FROM duckdb_tables() WHERE table_name NOT LIKE 'snapshot%'").fetchall()
        return {
            name: db.execute(
                f"SELECT count(*), sum(CAST(hash(t) AS HUGEINT))::VARCHAR FROM marts.{name} AS t"
            ).fetchone()
            for (name,) in names
        }


def published(home: Home) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(home.app.settings.published / "stockflow.duckdb"), read_only=True)


def count(home: Home, table: str) -> int:
    with home.app.engine.connect() as db:
        return db.execute(sa.text(f"SELECT count(*) FROM operations.{table}")).scalar_one()


def import_own(home: Home) -> None:
    """A corner shop of three items: sold and counted but bought nowhere, sold but never counted, kept but never sold."""
    days = [MORNING - dt.timedelta(days=n) for n in range(90, 0, -1)]
    sold = [("NOSUPPLIER", d) for d in days] + [("NOCOUNT", d) for d in days]
    counted = ("NOSUPPLIER", "UNSOLD")
    files = {
        "catalog": ["code,name,price", *(f"{c},{c.title()},4.00" for c in ("NOSUPPLIER", "NOCOUNT", "UNSOLD"))],
        "orders": ["document,code,moment,quantity,price", *(f"{c[:4]}{d:%m%d},{c},{d} 12:00,3,4.00" for c, d in sold)],
        "stock": ["code,moment,quantity", *(f"{c},{days[-1]} 20:00,2" for c in counted)],
    }  # fmt: skip
    for kind, lines in files.items():
        take(home, kind, lines)


def import_late_sale(home: Home) -> None:
    late = MORNING - dt.timedelta(days=5)
    take(home, "orders", ["document,code,moment,quantity,price", f"LATE1,NOSUPPLIER,{late} 12:00,500,4.00"])


def take(home: Home, kind: str, lines: list[str]) -> None:
    path = home.path / "in.csv"
    path.write_text("\n".join(lines) + "\n")
    report = import_file(home.app.landing, kind, path, load_mapping(str(OWN)), hash_key=home.app.hash_key)
    assert report.accepted >= len(lines) - 1, report.lines()
    path.unlink()


def approve_and_deliver(home: Home) -> list[str]:
    """Approves everything, and sends it to an ERP that loses answers, breaks and forgets idempotency keys."""
    engine = home.app.engine
    who = access.principal(engine, "admin")
    documents = approvals.approve(engine, who, where=Filter(cycle_date=MORNING), via="cli").documents
    home.post("/_faults", {"idempotency_keys": False, "writes": {"lose_times": 2, "unavailable_times": 1}})
    home.run("push_back_job")
    # What was lost is looked up when the ERP can no longer be at it; here that hour is now.
    for hours in range(1, 6):
        outbox.deliver(
            engine, delivery_targets(home.app.settings),
            clock=lambda h=hours: outbox.utc_now() + dt.timedelta(hours=h),
        )  # fmt: skip
    home.run("push_back_job")
    home.post("/_faults", {})
    return documents


# -- A cycle -----------------------------------------------------------------------------------------------------------


def test_a_whole_cycle_ends_with_proposals_and_good_health(story):
    found, _ = proposals.find(story.home.app.engine, Filter(cycle_date=MORNING), limit=1000)
    assert {row["kind"] for row in found} == {"buy", "transfer"}
    assert all(row["reason"] and 0 <= row["stockout_risk"] <= 1 for row in found)
    assert [check.says for check in health.examine() if not check.ok] == []


def test_items_with_codes_of_their_own_in_each_source_are_one(story):
    with published(story.home) as db:
        sold_in = db.execute(
            "SELECT item_key, list(DISTINCT source ORDER BY source) FROM marts.fct_order_line "
            "WHERE item_key <> 'unmatched' AND source LIKE 'sandbox%' GROUP BY item_key"
        ).fetchall()
        items = db.execute("SELECT count(*) FROM marts.dim_item WHERE item_key <> 'unmatched'").fetchone()[0]
    codes = {
        row["source_id"]: row["key"] for row in identity.xref_table(story.home.app.engine) if row["kind"] == "item"
    }
    assert sum(sources == ["sandbox_tills", "sandbox_webshop"] for _, sources in sold_in) > 10
    assert len(set(codes.values())) == items < len(codes) / 2
    waiting = {row["source_id"] for row in identity.waiting(story.home.app.engine)}
    assert waiting == {"GIFT-WRAP", "90001", "90002"}


def test_what_cannot_be_planned_is_withheld_with_its_reason_and_its_value(story):
    found = {}
    for row in proposals.find_withheld(story.home.app.engine, MORNING):
        name = next((n for n in ("NOSUPPLIER", "NOCOUNT", "UNSOLD") if n in names(story)[row["item_key"]]), None)
        found[name] = (row["reason"], row["value_at_risk"], row["detail"])
    assert {name: reason for name, (reason, _, _) in found.items() if name} == {
        "NOSUPPLIER": "no_source", "NOCOUNT": "no_stock_count",
        "UNSOLD": "no_usable_forecast",
    }  # fmt: skip
    assert all(detail for _, _, detail in found.values())
    assert found["NOSUPPLIER"][1] > 0
    assert found["NOCOUNT"][1] > 0


def names(story: Story) -> dict[str, str]:
    rows = identity.xref_table(story.home.app.engine)
    return {row["key"]: row["source_id"] for row in rows if row["kind"] == "item" and row["source"] == "own_list"} | {
        row["key"]: "" for row in rows if row["source"] != "own_list"
    }


def test_explaining_a_proposal_computes_the_same_number_again(story):
    found, _ = proposals.find(story.home.app.engine, Filter(cycle_date=MORNING), limit=1000)
    kinds = {row["kind"]: row["proposal_id"] for row in found}
    for proposal_id in kinds.values():
        told = story.home.app.explain(proposal_id)
        assert told["matches"], told["differs"]
        assert len(told["lines"]) > 3


# -- Out and in again --------------------------------------------------------------------------------------------------


def in_the_erp(story: Story, key: str) -> list[dict]:
    path = "/erp/transfers" if key.startswith("to_") else "/erp/purchase-orders"
    return story.home.get(path, reference=key)["records"]


def test_a_forecast_is_explained_in_words(story):
    app = story.home.app
    with app.warehouse.connect() as db:
        item, place = db.execute(
            "SELECT item_code, l.name FROM intermediate.int_demand__stocked AS d JOIN marts.dim_item USING (item_key) "
            "JOIN marts.dim_location AS l USING (location_key) WHERE is_active AND NOT is_kit "
            "GROUP BY ALL ORDER BY sum(quantity) DESC LIMIT 1"
        ).fetchone()
    commands = typer.Typer()
    model_commands.register(commands, lambda: contextlib.nullcontext(app), lambda: None)
    told = CliRunner().invoke(commands, ["models", "explain", item, place, "--days", "3"])
    assert told.exit_code == 0, (told.output, told.exception)
    head, *days = told.output.splitlines()
    assert head.startswith(f"{item} at {place} by the model ")
    assert len(days) == 3
    assert all("the level of what was sold" in line for line in days)
    nowhere = CliRunner().invoke(commands, ["models", "explain", item, "Atlantis"]).exception
    assert str(nowhere) == "There is no location 'Atlantis'; marts.dim_location lists those there are."


def test_models_are_tuned_on_the_history_of_the_home(story):
    commands = typer.Typer()
    model_commands.register(commands, lambda: contextlib.nullcontext(story.home.app), lambda: None)
    told = CliRunner().invoke(commands, ["models", "tune", "--minutes", "0.1"])
    assert told.exit_code == 0, (told.output, told.exception)
    assert any(line.startswith("xgboost: ") for line in told.output.splitlines())


def test_each_approved_document_is_in_the_erp_once_whatever_was_lost(story):
    assert len(story.documents) > 2
    assert set(story.after_delivery.values()) == {"sent"}
    assert {key: len(in_the_erp(story, key)) for key in story.documents} == dict.fromkeys(story.documents, 1)


def test_what_was_ordered_is_on_order_the_next_morning_and_once(story):
    engine = story.home.app.engine
    inputs = thaw(frozen_hash_of(engine, NEXT), str(story.home.app.settings.frozen))
    with engine.connect() as db:
        ordered = Counter()
        lines = db.execute(
            sa.text("SELECT p.location_key, l.item_key, l.quantity, l.unit FROM operations.purchase_order p "
                    "JOIN operations.purchase_order_line l USING (document_key)")
        ).all()  # fmt: skip
        references = set(db.execute(sa.text("SELECT reference FROM operations.purchase_order")).scalars())
    assert lines
    for line in lines:
        ordered[line.item_key, line.location_key] += 1
    ours = inputs.open_orders[inputs.open_orders["document"].isin(references | set(story.documents))]
    bought = ours[ours["supplier"].notna()]
    found = Counter(zip(bought["item"], bought["location"], strict=True))
    arrived = {place for place in ordered if place not in found}
    assert set(found) | arrived == set(ordered)
    assert max(found.values()) == 1
    assert len(arrived) < len(ordered)
    with published(story.home) as db:
        seen = db.execute(
            "SELECT DISTINCT reference FROM marts.fct_purchase_order_line WHERE reference <> ''"
        ).fetchall()
    assert {key for (key,) in seen} == {key for key in story.documents if key.startswith("po")}


def test_the_next_day_lands_and_publishes_the_day_and_not_the_history(story):
    files = story.home.app.manifest.files()
    new = [f for f in files if story.first["newest"] < f["sequence"] <= story.second_day["newest"]]
    assert 0 < sum(f["accepted"] for f in new) < story.first["landed"] * 0.05


def test_the_next_day_scores_what_the_morning_forecast_as_it_was_frozen(story):
    with published(story.home) as db:
        found = db.execute(
            "SELECT DISTINCT cycle_date, business_date, lead_day, model_id FROM marts.fct_forecast_accuracy"
        ).fetchall()
        series = db.execute(
            "SELECT item_key, location_key, CAST(sales AS DOUBLE) FROM marts.fct_forecast_accuracy WHERE model = 'blend'"
        ).fetchall()
        sold = db.execute(
            "SELECT d.item_key, l.stock_location_key, CAST(sum(d.quantity) AS DOUBLE) FROM marts.fct_demand_daily AS d "
            "JOIN marts.dim_location AS l USING (location_key) WHERE d.business_date = ? GROUP BY ALL", [MORNING]
        ).fetchall()  # fmt: skip
    in_use = models.champion(story.home.app.settings.models)
    assert found == [(MORNING, MORNING, 1, in_use.model_id)]
    assert in_use.since == MORNING
    frozen = thaw(story.first["frozen"], str(story.home.app.settings.frozen)).forecasts
    forecast = set(frozen[["sku", "location"]].itertuples(index=False, name=None))
    # Where a location was closed there is nothing to score.
    assert sorted(series) == sorted(row for row in sold if row[:2] in forecast)
    assert series


# -- Again -------------------------------------------------------------------------------------------------------------


def test_a_past_morning_planned_again_after_late_data_gives_the_original_proposals(story):
    assert story.replanned["frozen"] == story.first["frozen"]
    assert story.replanned["proposals"] == story.second_day["proposals"] == story.first["proposals"]
    # The late sale is in the marts all the same.
    with published(story.home) as db:
        most = db.execute("SELECT max(quantity) FROM marts.fct_demand_daily").fetchone()[0]
    assert most >= 500


def test_running_again_lands_and_orders_nothing_twice(story):
    assert story.replanned["landed"] == story.second_day["landed"]
    assert story.replanned["marts"] == story.second_day["marts"]
    assert story.replanned["orders"] == story.second_day["orders"] > 0


def test_what_a_rerun_need_not_build_is_reported_all_the_same(story):
    """Downstream steps, and whoever looks at the web UI, need each asset and each check of a run that built nothing."""
    first, again = story.reported
    assert again == first
    assets, checks = again
    assert "fct_demand_daily" in assets
    assert "cash_flow_ties_to_payments" in {check.name for check in checks}
    assert len(checks) > 15


def reported(result: dg.ExecuteInProcessResult) -> tuple[set[str], set[dg.AssetCheckKey]]:
    assets = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    return assets, {found.asset_check_key for found in result.get_asset_check_evaluations() if found.passed}


# -- Personal data -----------------------------------------------------------------------------------------------------

PEOPLE = [person(n) for n in range(120)]
NEEDLES = sorted({" " + p.name.split()[-1] for p in PEOPLE} | set(STREETS) | {"@example.org", "+49 30 555"})
CUSTOMER = re.compile(r"\bC000\d{3}\b")


def personal(text: str) -> str | None:
    """The first piece of a customer's data in it."""
    found = next((needle for needle in NEEDLES if needle in text), None)
    return found or ((match := CUSTOMER.search(text)) and match.group())


def test_no_customer_is_known_anywhere_below_home(story):
    home = story.home
    sent = json.dumps(home.get("/webshop/orders", limit="50"), ensure_ascii=False)
    assert all(any(needle in sent for needle in kind) for kind in (NEEDLES, STREETS, ["@example.org"], ["+49 30 555"]))
    assert CUSTOMER.search(sent)  # they are there to be found
    found = {}
    for path in sorted(home.path.rglob("*")):
        if path.is_file() and "postgres" not in path.relative_to(home.path).parts:
            for text in decoded(path):
                if piece := personal(text):
                    found[str(path.relative_to(home.path))] = piece
    for name, text in tables(home):
        if piece := personal(text):
            found[name] = piece
    assert found == {}


def decoded(path: Path):
    """The file's text: as bytes read as they are, and as the tables that it holds."""
    yield path.read_bytes().decode("utf-8", "replace")
    if path.suffix == ".parquet":
        with duckdb.connect() as db:
            yield from (
                row[0]
                for row in db.execute("SELECT CAST(t AS VARCHAR) FROM read_parquet(?) AS t", [str(path)]).fetchall()
            )
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as db:
            names = db.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            for schema, name in names:
                for (text,) in db.execute(f'SELECT CAST(t AS VARCHAR) FROM "{schema}"."{name}" AS t').fetchall():
                    yield text


def tables(home: Home):
    """Every row of every table of PostgreSQL, Dagster's included."""
    server = home.app.postgres
    for role in ("owner", "dagster"):
        with database.connect(server.url("postgres", server.names.database(role))) as db:
            found = db.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in found:
                with db.cursor(name="all") as cursor:
                    cursor.execute(
                        psycopg.sql.SQL("SELECT t::text FROM {} AS t").format(psycopg.sql.Identifier(schema, table))
                    )
                    for (text,) in cursor:
                        yield f"{schema}.{table}", text


# -- Long --------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_ten_reruns_double_nothing():
    with small_home() as home:
        home.run()
        before = state(home)
        for _ in range(10):
            home.run()
            after = state(home)
            assert {**after, "newest": 0} == {**before, "newest": 0}
