"""However often a cycle is planned, nothing doubles, and what people decided stands."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operations import approvals, audit, proposals
from operations.errors import Invalid, NotFound
from operations.proposals import Filter, Saved
from tests.operations.shop import DAY, ITEMS, with_id

WITHHELD = {
    "item_key": "itm_unknown", "location_key": "loc_unknown", "reason": "no_stock_count",
    "detail": "Nobody has counted it yet.", "value_at_risk": Decimal("12.50"), "currency": "EUR",
}  # fmt: skip


def save(shop, plan, day=DAY, frozen="sha256:1", withheld=(), actor="system:planner") -> Saved:
    return proposals.save(
        shop.engine, cycle_date=day, frozen_hash=frozen, proposals=plan, withheld_skus=withheld, actor=actor
    )


def states(shop) -> dict[str, str]:
    return dict(shop.rows("SELECT proposal_id, status FROM operations.proposal"))


def test_ten_reruns_double_nothing(shop):
    plan = [shop.buy(code) for code in ITEMS] + [shop.transfer("B")]
    assert save(shop, plan, withheld=[WITHHELD]) == Saved(7, 0, 0, 0, 0, 1)
    tables = ("proposal", "cycle", "withheld", "audit_log")
    before = [shop.rows(f"SELECT * FROM operations.{table} ORDER BY 1") for table in tables]
    for _ in range(10):
        assert save(shop, reversed(plan), withheld=[WITHHELD]) == Saved(0, 7, 0, 0, 0, 1)
    assert [shop.rows(f"SELECT * FROM operations.{table} ORDER BY 1") for table in tables] == before


def test_a_plan_with_other_numbers_supersedes_what_is_open_and_never_what_was_decided(shop):
    first = [shop.buy("A"), shop.buy("B"), shop.buy("C")]
    save(shop, first)
    approved, rejected, left = (p["proposal_id"] for p in first)
    approvals.approve(shop.engine, shop.who("ann"), ids=[approved], via="api")
    approvals.reject(shop.engine, shop.who("ann"), ids=[rejected], via="api")
    second = [shop.buy("A", quantity=36), shop.buy("B", quantity=36), shop.buy("C", quantity=36)]
    assert save(shop, second, frozen="sha256:2") == Saved(1, 0, 0, 1, 2, 0)
    assert states(shop) == {
        approved: "approved", rejected: "rejected", left: "superseded",
        second[0]["proposal_id"]: "superseded", second[1]["proposal_id"]: "superseded",
        second[2]["proposal_id"]: "proposed",
    }  # fmt: skip
    assert save(shop, first) == Saved(0, 2, 1, 1, 0, 0)
    assert states(shop)[left] == "proposed"


def test_todays_plan_stands_for_yesterdays_open_proposals(shop):
    yesterday, today = shop.buy("A", expected_on=DAY), shop.buy("A")
    save(shop, [yesterday], day=DAY - dt.timedelta(days=1))
    assert save(shop, [today]).superseded == 1
    assert states(shop) == {yesterday["proposal_id"]: "superseded", today["proposal_id"]: "proposed"}
    again = save(shop, [yesterday], day=DAY - dt.timedelta(days=1))
    assert again == Saved(0, 0, 0, 0, 1, 0)
    assert states(shop)[today["proposal_id"]] == "proposed"
    late = save(shop, [shop.buy("B")], day=DAY - dt.timedelta(days=9))
    assert (late.new, late.held_back) == (0, 1)
    assert [(c["cycle_date"].isoformat(), c["status"], c["proposals"]) for c in proposals.cycles(shop.engine)] == [
        ("2026-03-02", "proposed", {"proposed": 1}),
        ("2026-03-01", "superseded", {"superseded": 1}),
        ("2026-02-21", "superseded", {"superseded": 1}),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": Decimal(25)}, "not a multiple of the pack of 6"),
        ({"quantity": Decimal(6)}, "minimum is 12"),
        ({"quantity": Decimal(0)}, "more than 0"),
        ({"item_key": "itm_unknown"}, "itm_unknown"),
        ({"supplier_id": None}, "buy is complete"),
        ({"stockout_risk": 1.5}, "stockout risk is share"),
        ({"currency": "ZZZ"}, "ZZZ"),
        ({"reason": None}, "lacks reason"),
        ({"colour": "red"}, "unknown fields colour"),
    ],
)
def test_a_proposal_that_contradicts_itself_saves_nothing(shop, change, message):
    with pytest.raises(Invalid, match=message):
        save(shop, [shop.buy("B"), shop.buy("A", **change) if "item_key" not in change else shop.buy("A") | change])
    assert states(shop) == {}
    assert proposals.cycles(shop.engine) == []


def test_an_id_of_another_cycle_is_refused(shop):
    save(shop, [shop.buy()])
    with pytest.raises(Invalid, match="belongs to the cycle of 2026-03-02"):
        save(shop, [shop.buy()], day=DAY + dt.timedelta(days=1))


def test_pages_hold_each_proposal_once_the_riskiest_first(shop):
    risks = [0.1, 0.9, None, 0.5, 0.5, 0.7]
    save(shop, [shop.buy(code, stockout_risk=risk) for code, risk in zip(ITEMS, risks, strict=True)])
    seen, after = [], None
    while True:
        page, after = proposals.find(shop.engine, Filter(status="proposed"), after=after, limit=2)
        seen += page
        if after is None:
            break
    assert [row["stockout_risk"] for row in seen] == [0.9, 0.7, 0.5, 0.5, 0.1, None]
    assert len({row["proposal_id"] for row in seen}) == 6
    assert {row["item_name"] for row in seen} == {f"Product {code}" for code in ITEMS}
    with pytest.raises(Invalid, match="page cursor"):
        proposals.find(shop.engine, after="nonsense")
    found, _ = proposals.find(shop.engine, Filter(minimum_risk=0.7, item_key=shop.item["B"]))
    assert [row["item_name"] for row in found] == ["Product B"]


def test_one_proposal_comes_with_its_evidence(shop):
    proposal = shop.buy()
    save(shop, [proposal])
    found = proposals.get(shop.engine, proposal["proposal_id"])
    assert found["evidence"] == {"frozen": "sha256:1", "quantile": "0.95"}
    assert found["quantity"] == 24
    assert found["party_id"] == "pty_own"
    with pytest.raises(NotFound):
        proposals.get(shop.engine, "prp_nosuch")


def test_what_is_withheld_is_listed_by_value_and_belongs_to_its_newest_plan(shop):
    cheap = {**WITHHELD, "item_key": "itm_cheap", "value_at_risk": Decimal(1)}
    unknown = {**WITHHELD, "item_key": "itm_x", "value_at_risk": None, "currency": None}
    save(shop, [], withheld=[cheap, WITHHELD, unknown])
    assert [row["item_key"] for row in proposals.find_withheld(shop.engine)] == ["itm_unknown", "itm_cheap", "itm_x"]
    save(shop, [], withheld=[cheap])
    assert [row["item_key"] for row in proposals.find_withheld(shop.engine, DAY)] == ["itm_cheap"]


@pytest.mark.long
def test_a_plan_of_twelve_thousand_takes_seconds(shop):
    plan = [with_id(shop.buy(ITEMS[n % 6], expected_on=DAY + dt.timedelta(days=n // 6))) for n in range(12_000)]
    started = time.perf_counter()
    assert save(shop, plan).new == 12_000
    first = time.perf_counter() - started
    assert save(shop, plan).unchanged == 12_000
    print(f"12,000 proposals saved in {first:.1f} s, again in {time.perf_counter() - started - first:.1f} s")
    decided = approvals.approve(shop.engine, shop.who("ann"), where=Filter(cycle_date=DAY), via="cli")
    print(f"approved into {len(decided.documents)} orders, {time.perf_counter() - started:.1f} s in all")
    assert len(decided.decided) == 12_000
    assert time.perf_counter() - started < 90


STEP = st.tuples(
    st.integers(0, 2), st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([12, 24])), unique=True, max_size=3)
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(STEP, st.just("approve"), st.just("reject")), max_size=8))
def test_in_any_order_of_plans_and_decisions(shop, owner, steps):
    """At most one way of buying an item is ever open or decided per cycle; decisions never change; only the newest
    cycle is open."""
    with owner.begin() as db:  # the application cannot unmake a decision
        db.exec_driver_sql("TRUNCATE operations.cycle, operations.outbox CASCADE")
    decided: dict[str, str] = {}
    newest = None
    for step in steps:
        if step == "approve":
            approvals.approve(shop.engine, shop.who("ann"), where=Filter(), via="api")
        elif step == "reject":
            approvals.reject(shop.engine, shop.who("ann"), where=Filter(), via="api")
        else:
            offset, lines = step
            day = DAY + dt.timedelta(days=offset)
            plan = {item: shop.buy(item, quantity=quantity, expected_on=day) for item, quantity in lines}
            newest = max(filter(None, (newest, day)))
            save(shop, plan.values(), day=day)
        rows = shop.rows("SELECT proposal_id, status, cycle_date, item_key FROM operations.proposal")
        now = {row[0]: row[1] for row in rows}
        assert decided.items() <= now.items()
        decided = {key: status for key, status in now.items() if status in ("approved", "rejected")}
        assert {row[2] for row in rows if row[1] == "proposed"} <= {newest}
        live = [row[2:] for row in rows if row[1] != "superseded"]
        assert len(live) == len(set(live))


def test_the_plan_is_in_the_audit_log_with_its_counts(shop):
    save(shop, [shop.buy()], actor="user:bob")
    (entry,) = audit.entries(shop.engine, subject="cycle")
    assert (entry["actor"], entry["subject_id"], entry["detail"]["new"]) == ("user:bob", "2026-03-02", 1)
