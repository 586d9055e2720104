"""One morning's plan: frozen inputs, proposals, and what is saved of them."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Engine

from operations import proposals
from operations.schema import cycle

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ml.replenishment.inputs import FrozenInputs
    from ml.replenishment.propose import ProposalSet

SEED = 0


def frozen_hash_of(engine: Engine, cycle_date: dt.date) -> str | None:
    """The inputs that this morning was first planned from, None if it has not been planned."""
    with engine.connect() as db:
        return db.execute(sa.select(cycle.c.frozen_hash).where(cycle.c.cycle_date == cycle_date)).scalar()


def frozen_hashes(engine: Engine) -> dict[dt.date, str]:
    """What each morning was planned from."""
    with engine.connect() as db:
        return dict(db.execute(sa.select(cycle.c.cycle_date, cycle.c.frozen_hash)).tuples().all())


def plan(inputs: FrozenInputs, frozen_hash: str, cycle_date: dt.date) -> ProposalSet:
    """The proposals; the same inputs and date give the same ones to the last byte."""
    from ml.replenishment.propose import propose

    return propose(inputs, frozen_hash, cycle_date, sampler(inputs), SEED)


def sampler(inputs: FrozenInputs):
    """`ml.forecast.sample_paths` with the inputs' own dependence, as replenishment takes it."""
    from ml.forecast import Dependence, sample_paths

    dependence = Dependence(**inputs.dependence)

    def sample(forecasts: pd.DataFrame, n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        # Replenishment has chosen one model per series already; their rows are sampled as one.
        paths = sample_paths(forecasts.assign(model="chosen"), n, seed, dependence=dependence, model="chosen")
        return paths.keys, paths.values

    return sample


def save(engine: Engine, plan: ProposalSet, frozen_hash: str, cycle_date: dt.date, actor: str) -> proposals.Saved:
    """Puts a plan before the people who approve it."""
    return proposals.save(
        engine,
        cycle_date=cycle_date,
        frozen_hash=frozen_hash,
        proposals=[_proposal(row) for row in plan.proposals.to_dict("records")],
        withheld_skus=[_withheld(row) for row in plan.withheld.to_dict("records")],
        actor=actor,
    )


def _proposal(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `ProposalSet.proposals` as operations keeps it: in the unit it is ordered in, which its price is for.
    The whole row stays in the evidence, to be explained."""
    pack = Decimal(row["pack"])
    return {
        "proposal_id": row["proposal_id"],
        "kind": row["kind"],
        "item_key": row["item"],
        "location_key": row["location"],
        "from_location_key": row["from_location"] or None,
        "supplier_id": row["supplier"] or None,
        "quantity": row["packs"] * pack,
        "unit": row["order_unit"],
        "pack_quantity": pack,
        "minimum_quantity": Decimal(row["moq"] or 0),
        "unit_price": _decimal(row["unit_price"]),
        "currency": row["currency"] or None,
        "amount": _decimal(row["amount"]),
        "expected_on": dt.date.fromisoformat(str(row["expected_on"])),
        "stockout_risk": row["stockout_risk_without"],
        "reason": row["reason"],
        "evidence": row,
    }


def _withheld(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "item_key": row["item"],
        "location_key": row["location"],
        "reason": row["reason_code"],
        "detail": row["reason"],
        "value_at_risk": _decimal(row["value_at_risk"]),
        "currency": row["currency"] or None,
    }


def _decimal(value: Any) -> Decimal | None:
    return None if value is None or value != value else Decimal(str(value))


def explain(engine: Engine, folder: Path, proposal_id: str) -> dict[str, Any]:
    """A saved proposal recomputed from the inputs frozen below `folder`: matches, differs, lines."""
    from ml.replenishment import explain as recompute
    from ml.replenishment.explain import items_decided_with
    from ml.replenishment.freezing import thaw, thaw_table

    row = proposals.get(engine, proposal_id)["evidence"]
    frozen = json.loads(row["evidence"])["inputs"]["frozen"]
    suppliers, offers = (thaw_table(frozen, str(folder), name).to_pandas() for name in ("suppliers", "offers"))
    inputs = thaw(frozen, str(folder), items_decided_with(row, suppliers, offers))
    explanation = recompute(row, inputs, sampler(inputs))
    return {
        "proposal_id": proposal_id,
        "matches": explanation.matches,
        "differs": list(explanation.differs),
        "lines": list(explanation.lines),
    }
