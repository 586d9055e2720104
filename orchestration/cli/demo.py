"""`stockflow demo`: a generated shop, one whole daily cycle, and what it shows."""

from __future__ import annotations

import datetime as dt
import socket
import time
from typing import TYPE_CHECKING

import duckdb
from rich.console import Console
from rich.table import Table

from connectors.errors import PermanentError
from ml.wording import how_many
from orchestration.cli.project import prepare_project, run_job
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.application import Application

console = Console(soft_wrap=True, highlight=False)
if not console.is_terminal:
    console.width = 150  # what is read from a log need not be folded to a terminal's width

HIGH_RISK = 0.3

CONFIG = """\
# The generated shop. Replace `sources` by your own systems, or leave them out and use `stockflow import`.
timezone: Europe/Berlin
reporting_currency: EUR
plan_at: "05:30"
sources:
  - connector: sandbox
    url: http://127.0.0.1:{port}
    token: sandbox-token
    managed: true
    as_of: 2026-11-02
"""


def demo() -> None:
    """A generated shop through one whole daily cycle, then what it found and where to look."""
    from orchestration import sandbox_process
    from orchestration.application import Application

    started = time.monotonic()
    prepare_project()
    settings = Settings.from_environment()
    config = settings.home / "config.yaml"
    if not config.exists():
        settings.home.mkdir(parents=True, exist_ok=True)
        config.write_text(CONFIG.format(port=_free_port()), encoding="utf-8")
        settings = Settings.from_environment()
    source = sandbox_process.managed(settings)
    if source is None:
        raise PermanentError(
            f"{config} is not the demo's: set STOCKFLOW_HOME to an empty folder for the demo, or use `stockflow run`."
        )
    console.print(f"State is below {settings.home}")
    console.print("  starting PostgreSQL ...", end="")
    with Application(settings) as app:
        app.set_up()
        console.print(f" {time.monotonic() - started:.1f} s")
        moment = time.monotonic()
        console.print("  starting the generated shop's web shop, tills and ERP ...", end="")
        with sandbox_process.running(settings):
            console.print(f" {time.monotonic() - moment:.1f} s")
            since = _newest_batch(app)
            run_job(app, "daily_planning_job", source.as_of)
        summary(app, source.as_of, since)
    console.print(f"\n[bold]Done in {time.monotonic() - started:.0f} s.[/]")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _newest_batch(app: Application) -> int:
    return max((f["sequence"] for f in app.manifest.files()), default=0)


# -- What a person wants to know afterwards ----------------------------------------------------------------------------


def summary(app: Application, cycle_date: dt.date, since: int) -> None:
    from orchestration.warehouse.stock_value import stock_value

    _loaded(app, since)
    _quality(app)
    published = app.settings.published / "stockflow.duckdb"
    with duckdb.connect(str(published), read_only=True) as db:
        _purchases(db, cycle_date)
        _risks(db)
        console.print(f"  Stock worth {stock_value(db)}")
    _waiting(app, cycle_date)
    console.print("\n[bold]Where to look next[/]")
    for what, where in (
        ("web UI, with schedules and sensors on", "make ui, then http://127.0.0.1:3000"),
        ("what awaits approval", ".venv/bin/stockflow proposals"),
        ("why this number", ".venv/bin/stockflow explain PROPOSAL"),
        ("approve, and send to the ERP", ".venv/bin/stockflow approve PROPOSAL; .venv/bin/stockflow run push_back_job"),
        ("all is well?", ".venv/bin/stockflow doctor"),
        ("marts for BI tools", f"PostgreSQL schema marts, or {published}"),
    ):
        console.print(f"  {what:<40} {where}", markup=False)


def _loaded(app: Application, since: int) -> None:
    rows = app.manifest.files(after=since)
    table = _table("Pulled", "source", "accepted >", "unchanged >", "quarantined >", "why")
    for source in sorted({row["source"] for row in rows}):
        own = [row for row in rows if row["source"] == source]
        reasons: dict[str, int] = {}
        for row in own:
            for reason, count in row["reasons"].items():
                reasons[reason] = reasons.get(reason, 0) + count
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
        table.add_row(
            source, *(f"{sum(row[n] for row in own):,}" for n in ("accepted", "unchanged", "quarantined")), why
        )
    console.print(table)


def _quality(app: Application) -> None:
    from orchestration.planning.models import load_champion

    model, model_id = load_champion(app.settings.models)
    pooled = model.scores[model.scores["segment"] == "all"].sort_values("wape")
    naive = pooled.set_index("model")["wape"].get("seasonal_naive")
    table = _table(
        f"Forecast quality on held-out days (model {model_id}; lower is better)",
        "model", "WAPE >", "against seasonal naive >", "pinball >", "bias >",
    )  # fmt: skip
    for row in pooled.itertuples():
        table.add_row(
            row.model,
            f"{row.wape:.3f}",
            f"{row.wape / naive - 1:+.1%}",
            f"{row.pinball:.3f}",
            f"{row.bias_in_stock:+.1%}",
        )
    console.print(table)


def _purchases(db: duckdb.DuckDBPyConnection, cycle_date: dt.date) -> None:
    rows = db.execute(
        """
        SELECT order_on, supplier_name, count(*), sum(amount), currency, max(stockout_risk),
               count(*) FILTER (stockout_risk >= ?)
        FROM marts.rpt_purchase_plan GROUP BY order_on, supplier_name, currency ORDER BY order_on, supplier_name
        """,
        [HIGH_RISK],
    ).fetchall()
    table = _table(
        f"Expected purchases of the four weeks from {cycle_date} (first 15 orders; all in marts.rpt_purchase_plan)",
        "order on", "supplier", "items >", "amount >", "highest stock-out risk >", "",
    )  # fmt: skip
    for day, supplier, items, amount, currency, risk, high in rows[:15]:
        mark = f"[red]{high} at high risk[/]" if high else ""
        table.add_row(str(day), supplier, str(items), f"{amount:,.0f} {currency}", f"{risk:.0%}", mark)
    console.print(table)
    console.print(f"  {how_many(len(rows), 'order')} in all")


def _risks(db: duckdb.DuckDBPyConnection) -> None:
    rows = db.execute(
        """
        SELECT item_name, location_name, max(stockout_risk_without), max(stockout_risk_with), sum(lost_value_without)
        FROM marts.rpt_stockout_risk GROUP BY ALL ORDER BY 5 DESC LIMIT 8
        """
    ).fetchall()
    table = _table(
        "Likeliest losses by stock-outs", "item", "location", "risk now >", "with proposals >", "sales at risk >"
    )
    for item, location, without, with_, lost in rows:
        table.add_row(item, location, f"{without:.0%}", f"{with_:.0%}", f"{lost:,.0f}")
    console.print(table)


def _waiting(app: Application, cycle_date: dt.date) -> None:
    from operations import proposals
    from operations.proposals import Filter

    found, _ = proposals.find(app.engine, Filter(cycle_date=cycle_date, status="proposed"), limit=1000)
    table = _table(
        f"Awaiting approval: {how_many(len(found), 'proposal')} (the most urgent)", "id", "what", "risk >", "why"
    )
    for row in found[:6]:
        what = f"{row['kind']} {row['quantity'].normalize():f} {row['unit']} {row['item_name']}"
        table.add_row(row["proposal_id"], what, f"{row['stockout_risk']:.0%}", row["reason"])
    console.print(table)
    withheld = proposals.find_withheld(app.engine, cycle_date)
    reasons: dict[str, int] = {}
    for row in withheld:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
    console.print(f"  withheld: {len(withheld)} series" + (f" ({told})" if told else ""))


def _table(title: str, *columns: str) -> Table:
    """A table; a column whose name ends in > is right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=True)
    for column in columns:
        name = column.removesuffix(" >")
        table.add_column(name, justify="right" if name != column else "left", overflow="fold", no_wrap=name == "id")
    return table
