"""kill -9 in the middle of a transition: afterwards it has happened as a whole, or not at all, and can be done again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from operations import approvals, proposals
from operations.proposals import Filter
from tests.operations.shop import DAY, ITEMS, with_id

WORKER = """
import sys, sqlalchemy as sa
from operations import access, approvals, database
from operations.proposals import Filter
engine = database.engine(sa.make_url(sys.argv[1]))
ann = access.principal(engine, "ann")
print("ready", flush=True)
approvals.approve(engine, ann, where=Filter(), via="cli")
"""

TRUTHS = {
    "an approved proposal has its decision": """
        SELECT count(*) FROM operations.proposal p FULL JOIN operations.decision d USING (proposal_id)
        WHERE (p.status = 'approved') <> (d.decision_id IS NOT NULL)""",
    "an approved proposal is a line of an order": """
        SELECT count(*) FROM operations.proposal p LEFT JOIN operations.purchase_order_line l
            ON l.proposal_id = p.proposal_id AND l.document_key = p.document_key
        WHERE (p.status = 'approved') <> (l.proposal_id IS NOT NULL)""",
    "an order is in the outbox with all its lines": """
        SELECT count(*) FROM operations.purchase_order o LEFT JOIN operations.outbox b USING (document_key)
        WHERE jsonb_array_length(b.document -> 'lines') IS DISTINCT FROM
            (SELECT count(*) FROM operations.purchase_order_line l WHERE l.document_key = o.document_key)""",
    "an order's amount is that of its lines": """
        SELECT count(*) FROM operations.purchase_order o WHERE amount <>
            (SELECT sum(amount) FROM operations.purchase_order_line l WHERE l.document_key = o.document_key)""",
    "an approval is in the audit log": """
        SELECT count(*) FROM operations.proposal p WHERE (p.status = 'approved') <> EXISTS (
            SELECT FROM operations.audit_log a WHERE a.subject_id = p.proposal_id AND a.action = 'approved')""",
}


def broken(shop) -> list[str]:
    return [truth for truth, query in TRUTHS.items() if shop.rows(query) != [(0,)]]


def test_an_approver_killed_anywhere_leaves_all_or_nothing(shop):
    plan = [with_id(shop.buy(ITEMS[n % 6], expected_on=DAY.replace(day=1 + n % 28))) for n in range(600)]
    plan = list({row["proposal_id"]: row for row in plan}.values())
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=plan)
    url = shop.engine.url.render_as_string(hide_password=False)
    dice = random.Random(7)
    for _ in range(4):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, url], stdout=subprocess.PIPE, text=True)
        assert worker.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0, 0.3))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        assert broken(shop) == []
    approvals.approve(shop.engine, shop.who("ann"), where=Filter(), via="cli")
    assert broken(shop) == []
    assert shop.rows("SELECT count(*) FROM operations.proposal WHERE status = 'approved'") == [(len(plan),)]


def test_the_truths_above_are_able_to_fail(shop, owner):
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=[shop.buy("A")])
    approvals.approve(shop.engine, shop.who("ann"), where=Filter(), via="cli")
    with owner.begin() as db:
        db.exec_driver_sql("DELETE FROM operations.audit_log")
        db.exec_driver_sql("DELETE FROM operations.decision")
        db.exec_driver_sql("UPDATE operations.outbox SET document = '{\"lines\": []}'")
        db.exec_driver_sql("UPDATE operations.purchase_order SET amount = 1")
        db.exec_driver_sql("UPDATE operations.proposal SET document_key = 'po_other'")
    assert broken(shop) == list(TRUTHS)
