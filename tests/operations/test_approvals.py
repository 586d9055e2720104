"""A decision is one transaction: proposals, documents, outbox and audit, by somebody who may."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal

import pytest
import sqlalchemy as sa

from operations import access, approvals, audit, orders, proposals
from operations.errors import Conflict, Invalid, NotAllowed, NotFound
from operations.proposals import Filter
from tests.operations.shop import DAY


def save(shop, *plan, actor="system:planner"):
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="sha256:1", proposals=plan, actor=actor)
    return [row["proposal_id"] for row in plan]


def approve(shop, ids=None, name="ann", **more):
    return approvals.approve(shop.engine, shop.who(name), ids=ids, via="api", **more)


def outbox(shop):
    return shop.rows("SELECT document_key, kind, target, status, document FROM operations.outbox ORDER BY outbox_id")


def test_approving_groups_lines_into_one_document_per_supplier_place_and_date(shop):
    ids = save(
        shop,
        shop.buy("A"), shop.buy("B"), shop.buy("C", place="S2"), shop.buy("D", supplier="V2"),
        shop.buy("E", expected_on=DAY + dt.timedelta(days=9)), shop.transfer("A"), shop.transfer("B"),
    )  # fmt: skip
    decided = approve(shop, ids)
    assert sorted(decided.decided) == sorted(ids)
    documents = [row[4] for row in outbox(shop)]
    assert sorted((d["kind"], len(d["lines"])) for d in documents) == [
        ("purchase_order", 1), ("purchase_order", 1), ("purchase_order", 1), ("purchase_order", 2),
        ("transfer_order", 2),
    ]  # fmt: skip
    assert decided.documents == sorted(d["document_key"] for d in documents)
    both = next(d for d in documents if d["kind"] == "purchase_order" and len(d["lines"]) == 2)
    assert both["supplier"] == {"party_id": shop.supplier["V1"], "name": "Supplier V1", "codes": {"erp": "V1"}}
    assert both["location"]["codes"] == {"erp": "S1"}
    assert sorted((line["codes"]["erp"], line["quantity"], line["amount"]) for line in both["lines"]) == [
        ("A", "24", "30"), ("B", "24", "30")
    ]  # fmt: skip
    assert {line["line_key"] for line in both["lines"]} <= set(ids)
    order = orders.get(shop.engine, both["document_key"])
    assert (order["amount"], order["status"], order["approved_by"]) == (Decimal(60), "approved", "user:ann")
    assert [line["line_number"] for line in order["lines"]] == [1, 2]
    assert order["party_id"] == shop.supplier["V1"]
    assert shop.rows("SELECT status FROM operations.cycle") == [("decided",)]


def test_repeating_an_approval_gives_the_same_and_writes_nothing(shop):
    ids = save(shop, shop.buy("A"), shop.buy("B"))
    first = approve(shop, ids)
    before = shop.rows("SELECT * FROM operations.audit_log ORDER BY 1"), outbox(shop)
    again = approve(shop, ids, name="bob")
    assert (again.decided, again.already, again.documents) == ([], sorted(ids), first.documents)
    assert (shop.rows("SELECT * FROM operations.audit_log ORDER BY 1"), outbox(shop)) == before


def test_what_is_approved_later_joins_an_order_that_nobody_has_begun_to_send(shop):
    one, two, three = save(shop, shop.buy("A"), shop.buy("B"), shop.buy("C"))
    (key,) = approve(shop, [one]).documents
    assert approve(shop, [two]).documents == [key]
    assert len(orders.get(shop.engine, key)["lines"]) == 2
    assert orders.get(shop.engine, key)["amount"] == 60
    assert len(outbox(shop)[0][4]["lines"]) == 2
    with shop.engine.begin() as db:
        db.execute(sa.text("UPDATE operations.outbox SET attempts = 1"))
    (other,) = approve(shop, [three]).documents
    assert other != key
    assert [len(row[4]["lines"]) for row in outbox(shop)] == [2, 1]
    assert sorted(approve(shop, [one, three]).documents) == sorted([key, other])


def test_another_quantity_is_recorded_with_who_and_why(shop):
    first, second = save(shop, shop.buy("A", unit_price=Decimal("0.333333")), shop.buy("B"))
    approve(shop, [first, second], quantities={first: Decimal(36)}, reason="Easter")
    (key,) = {row[0] for row in outbox(shop)}
    assert {line["quantity"]: line["amount"] for line in outbox(shop)[0][4]["lines"]} == {"36": "12", "24": "30"}
    assert orders.get(shop.engine, key)["amount"] == Decimal("42")
    found = proposals.get(shop.engine, first)
    assert (found["quantity"], found["approved_quantity"], found["approved_amount"]) == (24, 36, Decimal("12"))
    (decision,) = found["decisions"]
    assert (decision["action"], decision["actor"], decision["reason"]) == ("override", "user:ann", "Easter")
    assert proposals.get(shop.engine, second)["decisions"][0]["action"] == "approve"
    with pytest.raises(Conflict, match="has been approved with 36"):
        approve(shop, [first], quantities={first: Decimal(48)}, reason="more")


@pytest.mark.parametrize(
    ("quantity", "reason", "message"),
    [(25, "why", "multiple of the pack"), (6, "why", "minimum is 12"), (0, "why", "more than 0"), (36, " ", "Say why")],
)
def test_an_override_that_cannot_be_ordered_changes_nothing(shop, quantity, reason, message):
    ids = save(shop, shop.buy("A"), shop.buy("B"))
    with pytest.raises(Invalid, match=message):
        approve(shop, ids, quantities={ids[0]: Decimal(quantity)}, reason=reason)
    assert shop.rows("SELECT DISTINCT status FROM operations.proposal") == [("proposed",)]
    assert outbox(shop) == []


def test_nobody_approves_what_they_proposed(shop):
    (mine,) = save(shop, shop.buy(), actor="user:bob")
    with pytest.raises(NotAllowed, match="nobody approves what they proposed"):
        approve(shop, [mine], name="bob")
    assert approve(shop, [mine], name="ann").decided == [mine]


def test_only_approvers_decide(shop):
    ids = save(shop, shop.buy())
    access.create_user(shop.engine, "adm", ["admin"], actor="user:root")
    for name in ("eve", "adm"):
        for decide in (approvals.approve, approvals.reject):
            with pytest.raises(NotAllowed, match="lacks the role approver"):
                decide(shop.engine, shop.who(name), ids=ids, via="api")


def test_a_limit_holds_for_the_whole_document_in_its_own_currency(shop):
    one, two, dollars = save(shop, shop.buy("A"), shop.buy("B"), shop.buy("C", currency="USD"))
    access.grant(shop.engine, "ann", "approver", limit=(Decimal(50), "EUR"), actor="user:root")
    assert approve(shop, [one]).decided == [one]
    with pytest.raises(NotAllowed, match=r"comes to 60.00 EUR, above the 50.00 EUR"):
        approve(shop, [two])
    with pytest.raises(NotAllowed, match="No exchange rate from USD to EUR"):
        approve(shop, [dollars])
    rate = "INSERT INTO operations.exchange_rate VALUES ('EUR', 'USD', :day, :rate, 'test')"
    with shop.engine.begin() as db:
        db.execute(sa.text(rate), {"day": dt.date(2020, 1, 1), "rate": Decimal("0.5")})
    with pytest.raises(NotAllowed, match=r"comes to 60\.00 EUR"):
        approve(shop, [dollars])
    with shop.engine.begin() as db:
        db.execute(sa.text(rate), {"day": dt.date(2020, 1, 2), "rate": Decimal("1.25")})
    assert approve(shop, [dollars]).decided == [dollars]
    assert approve(shop, [two], name="bob").decided == [two]


def test_a_filter_decides_on_what_is_open_only(shop):
    a, b, c = save(shop, shop.buy("A", stockout_risk=0.9), shop.buy("B"), shop.buy("C", stockout_risk=0.8))
    approvals.reject(shop.engine, shop.who("ann"), ids=[c], reason="too late", via="cli")
    assert approve(shop, where=Filter(cycle_date=DAY, minimum_risk=0.5)).decided == [a]
    assert approve(shop, where=Filter(cycle_date=DAY)).decided == [b]
    assert approve(shop, where=Filter(cycle_date=DAY)).decided == []


def test_decisions_that_contradict_are_conflicts_and_leave_the_others_alone(shop):
    a, b, c = save(shop, shop.buy("A"), shop.buy("B"), shop.buy("C"))
    ann = shop.who("ann")
    approve(shop, [a])
    approvals.reject(shop.engine, ann, ids=[b], via="api")
    assert approvals.reject(shop.engine, ann, ids=[b], via="api").already == [b]
    with pytest.raises(Conflict, match=f"{b} is rejected"):
        approve(shop, [b, c])
    with pytest.raises(Conflict, match=f"{a} is approved"):
        approvals.reject(shop.engine, ann, ids=[a, c], via="api")
    with pytest.raises(NotFound, match="no proposal prp_x"):
        approve(shop, ["prp_x", c])
    for ids, where in ((None, None), ([c], Filter())):
        with pytest.raises(Invalid, match="one of both"):
            approve(shop, ids, where=where)
    assert proposals.get(shop.engine, c)["status"] == "proposed"


def test_approvers_at_once_make_one_order_and_no_line_twice(shop):
    ids = save(shop, *(shop.buy(code) for code in "ABCDEF"))
    failures = []

    def run(name, some):
        try:
            for one in some:
                approve(shop, [one], name=name)
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(n, i)) for n, i in (("ann", ids), ("bob", ids[::-1]), ("ann", ids[2:]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ((_, _, _, _, document),) = outbox(shop)
    assert sorted(line["line_key"] for line in document["lines"]) == sorted(ids)
    assert shop.rows("SELECT count(*), count(DISTINCT proposal_id) FROM operations.decision") == [(6, 6)]


def test_without_a_delivery_target_nothing_is_approved(shop):
    from operations import settings

    ids = save(shop, shop.buy())
    settings.put(shop.engine, "delivery_targets", {"transfer_order": "wms"}, actor="user:root")
    with pytest.raises(Conflict, match="where a purchase order goes"):
        approve(shop, ids)
    assert proposals.get(shop.engine, ids[0])["status"] == "proposed"


def test_an_order_is_cancelled_only_before_it_is_sent(shop):
    ids = save(shop, shop.buy("A"), shop.buy("B", place="S2"))
    keys = approve(shop, ids).documents
    orders.cancel(shop.engine, shop.who("ann"), keys[0], reason="mistake")
    orders.cancel(shop.engine, shop.who("ann"), keys[0], reason="mistake")
    assert orders.get(shop.engine, keys[0])["status"] == "cancelled"
    assert sorted(r[0] for r in shop.rows("SELECT status FROM operations.proposal")) == ["approved", "rejected"]
    with shop.engine.begin() as db:
        db.execute(sa.text("UPDATE operations.outbox SET status = 'sent' WHERE document_key = :key"), {"key": keys[1]})
    with pytest.raises(Conflict, match="is sent: only one that waits"):
        orders.cancel(shop.engine, shop.who("ann"), keys[1], reason="mistake")
    with pytest.raises(NotFound):
        orders.cancel(shop.engine, shop.who("ann"), "po_x", reason="mistake")


def test_every_step_names_its_actor_in_the_audit_log(shop):
    (one,) = save(shop, shop.buy())
    (key,) = approve(shop, [one]).documents
    orders.cancel(shop.engine, shop.who("bob"), key, reason="mistake")
    steps = [(e["actor"], e["action"], e["detail"]["from"]) for e in audit.entries(shop.engine, subject_id=one)]
    assert steps == [("user:bob", "rejected", "approved"), ("user:ann", "approved", "proposed")]
