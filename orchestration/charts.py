"""Pictures and tables for asset metadata: small enough to stand in an event, plain enough to read at a glance."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

HISTORY_DAYS = 56


def demand_chart(history: pd.DataFrame, forecasts: pd.DataFrame) -> str:
    """Markdown image: total demand of the last weeks, and its forecast for the coming ones."""
    from matplotlib.figure import Figure

    sold = history.groupby("date")["quantity"].sum().sort_index().tail(HISTORY_DAYS)
    blend = forecasts[forecasts["model"] == "blend"]
    naive = forecasts[forecasts["model"] == "seasonal_naive"]
    figure = Figure(figsize=(8, 2.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.plot(sold.index, sold.to_numpy(), color="#44546a", label="sold")
    for frame, colour, label in ((naive, "#bbbbbb", "seasonal naive"), (blend, "#d9730d", "forecast")):
        if len(frame):
            total = frame.groupby("date")["mean"].sum().sort_index()
            axes.plot(total.index, total.to_numpy(), color=colour, label=label)
    axes.set_ylabel("units a day")
    return _image(figure, "sold and forecast")


def accuracy_chart(scored: pd.DataFrame) -> str:
    """Markdown image: WAPE of each day's issued forecasts and of the seasonal naive, as `quality.by_day` gives them."""
    if scored["business_date"].nunique() < 2:
        return "Two days of issued forecasts have to come first."
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.2), dpi=80, layout="constrained")
    axes = figure.subplots()
    for model, colour, label in (("seasonal_naive", "#bbbbbb", "seasonal naive"), ("blend", "#d9730d", "forecast")):
        own = scored[scored["model"] == model]
        axes.plot(own["business_date"], own["wape"], color=colour, label=label, marker=".")
    axes.set_ylabel("WAPE of the day")
    return _image(figure, "error of issued forecasts")


def _image(figure: Any, label: str) -> str:
    (axes,) = figure.axes
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3, loc="lower left", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return f"![{label}](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})"


def risk_table(risk: pd.DataFrame, rows: int = 15) -> str:
    """Markdown table: the series most likely to run out, and what the proposals change."""
    if risk.empty:
        return "none"
    worst = (
        risk.groupby(["item", "location"])
        .agg(
            without=("stockout_risk_without", "max"),
            with_proposals=("stockout_risk_with", "max"),
            lost=("lost_value_without", "sum"),
        )
        .sort_values("lost", ascending=False)
        .head(rows)
    )
    lines = [
        f"| {item} | {location} | {row.without:.0%} | {row.with_proposals:.0%} | {row.lost:,.0f} |"
        for (item, location), row in zip(worst.index, worst.itertuples(), strict=True)
    ]
    head = "| item | location | risk now | with proposals | sales at risk |\n| --- | --- | ---: | ---: | ---: |\n"
    return head + "\n".join(lines)


def proposal_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table of proposals as `operations.proposals.find` gives them."""
    if not rows:
        return "none"
    lines = [
        f"| {row['kind']} {row['quantity'].normalize():f} {row['unit']} | {_cell(row['item_name'])} "
        f"| {_cell(row['location_name'])} | {_percent(row['stockout_risk'])} |"
        for row in rows
    ]
    return "| what | item | location | risk without |\n| --- | --- | --- | ---: |\n" + "\n".join(lines)


def amounts_by_supplier(proposals: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Markdown table: what approving all purchases would order from each supplier. `names` by supplier key."""
    bought = proposals[proposals["kind"] == "buy"]
    if bought.empty:
        return "none"
    bought = bought.assign(amount=bought["amount"].astype(float))
    total = bought.groupby(["supplier", "currency"]).agg(items=("proposal_id", "size"), amount=("amount", "sum"))
    lines = [
        f"| {_cell(names.get(supplier, supplier))} | {row.items} | {row.amount:,.2f} {currency} |"
        for (supplier, currency), row in zip(total.index, total.itertuples(index=False), strict=True)
    ]
    return "| supplier | lines | amount |\n| --- | ---: | ---: |\n" + "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _cell(text: str) -> str:
    return str(text).replace("|", "/").replace("\n", " ")
