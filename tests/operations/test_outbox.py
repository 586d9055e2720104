"""One document in, one document there: whatever answers are lost, come late, or whoever dies on the way."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from operations import alerts, approvals, audit, orders, outbox, proposals
from operations.errors import Conflict, NotAllowed, NotFound
from operations.outbox import MAX_ATTEMPTS, MAX_LOOKUPS, Delivered, deliver
from tests.operations.shop import DAY

NOW = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)
LONGEST = 120.0


@dataclass
class Answer:
    status: str
    reference: str | None = None
    reason: str | None = None


class Killed(BaseException):
    """The process dies here: nothing after this line happens in it."""


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


class Target:
    """A system with a memory and no mercy: it does NOT recognise a document it gets twice, so that only the sender's
    care keeps it single. `next_send` and `next_find` say what happens to the next calls."""

    guarantee = "effectively_once"
    longest_processing_seconds = LONGEST

    def __init__(self, clock: Clock, name: str = "erp"):
        self.name, self.clock = name, clock
        self.documents: list[str] = []
        self.refused: set[str] = set()
        self.processing: list[tuple[dt.datetime, str]] = []
        self.next_send: list[str] = []
        self.next_find: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.meanwhile = lambda: None

    def work(self) -> None:
        """Finishes what has had its time."""
        done = [key for due, key in self.processing if due <= self.clock.now]
        self.processing = [(due, key) for due, key in self.processing if due > self.clock.now]
        self.documents += done

    def send(self, document, idempotency_key):
        self.work()
        self.calls.append(("send", idempotency_key))
        how = self.next_send.pop(0) if self.next_send else "ok"
        if idempotency_key in self.refused or how == "refuse":
            self.refused.add(idempotency_key)
            return Answer("rejected", reason="unknown supplier")
        if how == "killed before":
            raise Killed
        if how == "not sent":
            return Answer("not_sent", reason="connection refused")
        if how == "dropped":
            raise TimeoutError("no answer")
        if how in ("late", "killed, late"):
            self.processing.append((self.clock.now + dt.timedelta(seconds=LONGEST), idempotency_key))
            if how == "late":
                return Answer("unknown", reason="timed out")
            raise Killed
        if how == "slow":
            self.clock.pass_(LONGEST)
            self.meanwhile()
        self.documents.append(idempotency_key)
        if how == "killed after":
            raise Killed
        if how == "answer lost":
            raise ConnectionResetError("reset by peer")
        return Answer("delivered", reference=f"R-{idempotency_key}")

    def find(self, idempotency_key):
        self.work()
        self.calls.append(("find", idempotency_key))
        how = self.next_find.pop(0) if self.next_find else "ok"
        if how == "killed":
            raise Killed
        if how == "fails":
            raise TimeoutError("no answer")
        if idempotency_key in self.documents:
            return Answer("delivered", reference=f"R-{idempotency_key}")
        return Answer("unknown") if how == "unsure" else None


def put(engine, key: str, target: str = "erp") -> str:
    with engine.begin() as db:
        db.execute(
            sa.text(
                "INSERT INTO operations.outbox (document_key, kind, target, document, available_at) "
                "VALUES (:key, 'price_change', :target, '{}', :now)"
            ),
            {"key": key, "target": target, "now": NOW},
        )
    return key


def state(engine, key: str) -> str:
    with engine.connect() as db:
        return db.execute(sa.text("SELECT status FROM operations.outbox WHERE document_key = :k"), {"k": key}).scalar()


class Delivery(RuleBasedStateMachine):
    engine: sa.Engine
    approver = None
    numbers = itertools.count()

    @initialize()
    def start(self):
        self.clock = Clock()
        self.target = Target(self.clock, f"erp{next(self.numbers)}")
        self.target.meanwhile = self.another_process
        self.keys: list[str] = []

    def another_process(self):
        calls = self.target.next_send, self.target.next_find
        self.target.next_send, self.target.next_find = [], []
        deliver(self.engine, [self.target], clock=self.clock)
        self.target.next_send, self.target.next_find = calls

    @rule()
    def add(self):
        self.keys.append(put(self.engine, f"d-{uuid.uuid4().hex[:8]}", self.target.name))

    @rule(
        sends=st.lists(
            st.sampled_from(
                ["ok", "answer lost", "late", "dropped", "not sent", "refuse", "slow", "killed before", "killed after",
                 "killed, late"]
            ),
            max_size=3,
        ),
        finds=st.lists(st.sampled_from(["ok", "fails", "unsure", "killed"]), max_size=2),
        limit=st.integers(1, 4),
    )  # fmt: skip
    def run(self, sends, finds, limit):
        self.target.next_send, self.target.next_find = list(sends), list(finds)
        with contextlib.suppress(Killed):
            deliver(self.engine, [self.target], clock=self.clock, limit=limit)
        self.target.next_send, self.target.next_find = [], []

    @rule(seconds=st.sampled_from([1, 40, LONGEST, 2 * LONGEST + 60, 4000]))
    def wait(self, seconds):
        self.clock.pass_(seconds)

    @invariant()
    def what_is_said_is_true(self):
        if not hasattr(self, "keys"):
            return
        self.target.work()
        assert len(self.target.documents) == len(set(self.target.documents)), "a document exists twice"
        for key in self.keys:
            now = state(self.engine, key)
            if now == "sent":
                assert key in self.target.documents
            if now in ("failed", "pending"):
                assert key not in self.target.documents
                assert key not in [k for _, k in self.target.processing]

    def teardown(self):
        """The weather clears: everything arrives, but for what was refused."""
        if not hasattr(self, "keys"):
            return
        for _ in range(40):
            self.clock.pass_(4000)
            deliver(self.engine, [self.target], clock=self.clock)
            for row in outbox.find(self.engine, target=self.target.name):
                key = row["document_key"]
                if row["status"] == "failed" and key not in self.target.refused:
                    outbox.retry(self.engine, self.approver, key)
                if row["needs_person"]:
                    arrived = key in self.target.documents
                    outbox.settle(self.engine, self.approver, key, arrived=arrived, reason="looked")
            # A person retries by the real clock; the test's own has to follow it.
            self.clock.now = max(self.clock.now, dt.datetime.now(dt.UTC))
            states = {key: state(self.engine, key) for key in self.keys}
            if set(states.values()) <= {"sent", "failed"}:
                break
        assert {key for key, now in states.items() if now == "sent"} == set(self.target.documents)
        assert {key for key, now in states.items() if now == "failed"} == self.target.refused
        self.what_is_said_is_true()


def test_never_two_documents_and_never_a_lost_one(shop):
    machine = type("DeliveryHere", (Delivery,), {"engine": shop.engine, "approver": shop.who("ann")})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def target(clock):
    return Target(clock)


def test_the_row_is_marked_before_the_target_is_called(engine, clock, target):
    key = put(engine, "d1")
    seen = []
    target.meanwhile = lambda: seen.append(state(engine, key))
    target.next_send = ["slow"]
    assert deliver(engine, [target], clock=clock) == Delivered(sent=1)
    assert seen == ["sending"]
    (row,) = outbox.find(engine)
    assert (row["reference"], row["attempts"], row["lease"]) == ("R-d1", 1, None)


def test_a_lost_answer_is_looked_up_after_the_longest_processing_time_and_not_resent(engine, clock, target):
    put(engine, "d1")
    target.next_send = ["answer lost"]
    assert deliver(engine, [target], clock=clock) == Delivered(unknown=1)
    clock.pass_(LONGEST - 1)
    assert deliver(engine, [target], clock=clock) == Delivered()
    clock.pass_(1)
    assert deliver(engine, [target], clock=clock) == Delivered(sent=1)
    assert target.calls == [("send", "d1"), ("find", "d1")]
    assert [e["action"] for e in audit.entries(engine, subject="document")] == ["sent", "unknown", "sending"]


def test_what_certainly_did_not_arrive_is_tried_again_with_backoff_and_ends_as_a_dead_letter(shop, clock, target):
    engine = shop.engine
    put(engine, "d1")
    target.next_send = ["not sent"] * MAX_ATTEMPTS
    waits = []
    for _ in range(MAX_ATTEMPTS):
        began = clock.now
        while not sum(vars(deliver(engine, [target], clock=clock)).values()):
            clock.pass_(15)
        waits.append((clock.now - began).total_seconds())
    assert waits == [0, 30, 60, 120, 240, 480, 960, 1920]
    assert state(engine, "d1") == "failed"
    (alert,) = alerts.find(engine)
    assert "could not be reached 8 times: connection refused" in alert["message"]
    with pytest.raises(NotAllowed):
        outbox.retry(engine, shop.who("eve"), "d1")
    outbox.retry(engine, shop.who("ann"), "d1")
    assert deliver(engine, [target]) == Delivered(sent=1)
    assert alerts.find(engine) == []
    with pytest.raises(Conflict, match="is sent"):
        outbox.retry(engine, shop.who("ann"), "d1")
    with pytest.raises(NotFound):
        outbox.retry(engine, shop.who("ann"), "d2")


def test_a_target_that_cannot_tell_is_never_sent_to_twice_without_a_person(shop, clock, target):
    engine = shop.engine
    target.guarantee = "at_least_once"
    put(engine, "d1")
    put(engine, "d2")
    target.next_send = ["dropped", "dropped"]
    assert deliver(engine, [target], clock=clock) == Delivered(unknown=2)
    for _ in range(5):
        clock.pass_(10_000)
        deliver(engine, [target], clock=clock)
    assert [call for call in target.calls if call[0] == "send"] == [("send", "d1"), ("send", "d2")]
    assert len(alerts.find(engine)) == 2
    with pytest.raises(Conflict, match="only one whose fate is unknown"):
        outbox.settle(engine, shop.who("ann"), put(engine, "d3"), arrived=True, reason="x")
    outbox.settle(engine, shop.who("ann"), "d1", arrived=True, reference="SEEN", reason="I saw it")
    outbox.settle(engine, shop.who("ann"), "d2", arrived=False, reason="It is not there")
    assert state(engine, "d1") == "sent"
    assert alerts.find(engine) == []
    clock.now = dt.datetime.now(dt.UTC)
    assert deliver(engine, [target], clock=clock).sent == 2
    assert target.documents == ["d2", "d3"] or target.documents == ["d3", "d2"]


def test_lookups_that_keep_failing_end_with_a_person(engine, clock, target):
    put(engine, "d1")
    target.next_send, target.next_find = ["answer lost"], ["fails"] * MAX_LOOKUPS
    for _ in range(MAX_LOOKUPS + 3):
        deliver(engine, [target], clock=clock)
        clock.pass_(4000)
    assert len([c for c in target.calls if c[0] == "find"]) == MAX_LOOKUPS
    (row,) = outbox.find(engine)
    assert (row["status"], row["needs_person"]) == ("unknown", True)
    assert "Nobody knows whether erp has d1" in alerts.find(engine)[0]["message"]


def test_an_answer_that_comes_after_its_lease_ended_still_counts(engine, clock, target):
    """A process that slept for an hour, mid-call: the document is unknown by then, but the answer is true."""
    put(engine, "d1")

    def asleep():
        clock.pass_(3600)
        outbox._expire(engine, target, clock())
        assert state(engine, "d1") == "unknown"

    target.next_send, target.meanwhile = ["slow"], asleep
    assert deliver(engine, [target], clock=clock).sent == 1
    assert target.documents == ["d1"]


def test_orders_and_proposals_follow_their_document(shop, clock):
    target = Target(clock)
    clock.now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    plan = [shop.buy("A"), shop.buy("B"), shop.buy("C", place="S2")]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=plan)
    decided = approvals.approve(shop.engine, shop.who("ann"), where=proposals.Filter(), via="api")
    target.next_send = ["refuse", "answer lost"]
    deliver(shop.engine, [target], clock=clock)
    by_state = {orders.get(shop.engine, key)["status"]: key for key in decided.documents}
    assert set(by_state) == {"failed", "unknown"}
    clock.pass_(LONGEST)
    deliver(shop.engine, [target], clock=clock)
    sent = orders.get(shop.engine, by_state["unknown"])
    assert (sent["status"], sent["reference"], sent["delivery"]["status"]) == (
        "sent",
        f"R-{sent['document_key']}",
        "sent",
    )
    assert sorted(shop.rows("SELECT status, document_key FROM operations.proposal")) == sorted(
        [("ordered", by_state["unknown"])] * len(sent["lines"])
        + [("approved", by_state["failed"])] * (3 - len(sent["lines"]))
    )
    orders.cancel(shop.engine, shop.who("ann"), by_state["failed"], reason="they refuse")
    assert orders.get(shop.engine, by_state["failed"])["status"] == "cancelled"


def test_many_processes_send_each_document_once(engine, clock):
    target = Target(Clock())
    keys = [put(engine, f"d{n}") for n in range(30)]
    lock = threading.Lock()
    plain = target.send

    def send(document, key):
        time.sleep(0.002)
        with lock:
            return plain(document, key)

    target.send = send
    threads = [threading.Thread(target=deliver, args=(engine, [target]), kwargs={"clock": clock}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(target.documents) == sorted(keys)


def test_a_document_for_a_target_that_is_not_here_waits(engine, clock, target):
    put(engine, "d1", "somewhere else")
    assert deliver(engine, [target], clock=clock) == Delivered()
    assert state(engine, "d1") == "pending"


SENDER = """
import sys, time, sqlalchemy as sa
from operations import database, outbox
class Target:
    name, guarantee, longest_processing_seconds = "erp", "effectively_once", 0.5
    def send(self, document, key):
        open(sys.argv[2], "a").write(key + "\\n")
        print("calling", flush=True)
        time.sleep(600)
outbox._LEASE_MARGIN *= 0
outbox.deliver(database.engine(sa.make_url(sys.argv[1])), [Target()])
"""


def test_a_sender_killed_in_the_call_leaves_one_document_and_one_truth(engine, tmp_path):
    put(engine, "d1")
    arrived = tmp_path / "arrived"
    url = engine.url.render_as_string(hide_password=False)
    sender = subprocess.Popen([sys.executable, "-c", SENDER, url, str(arrived)], stdout=subprocess.PIPE, text=True)
    assert sender.stdout.readline() == "calling\n"
    assert state(engine, "d1") == "sending"
    os.kill(sender.pid, signal.SIGKILL)
    sender.wait()

    class Here(Target):
        longest_processing_seconds = 0.5

        def find(self, key):
            self.documents = arrived.read_text().split()
            return super().find(key)

    target = Here(Clock())
    deadline = time.monotonic() + 20
    while state(engine, "d1") != "sent" and time.monotonic() < deadline:
        deliver(engine, [target])
        time.sleep(0.1)
    assert state(engine, "d1") == "sent"
    assert target.calls == [("find", "d1")]
    assert arrived.read_text().split() == ["d1"]
