"""Users, tokens, alerts, settings, audit and publications."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal

import pytest
import sqlalchemy as sa

from operations import access, alerts, audit, publications, settings
from operations.errors import Conflict, Invalid, NotAllowed, NotAuthenticated, NotFound


def test_the_first_administrator_is_made_once_whoever_tries(engine):
    made, refused = [], []

    def run(n):
        try:
            made.append(access.create_first_admin(engine, f"root{n}"))
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    root = access.authenticate(engine, made[0])
    assert root.roles == set(access.ROLES)
    with engine.connect() as db:
        assert made[0] not in str(db.execute(sa.text("SELECT * FROM operations.api_token")).all())


def test_a_token_works_until_it_expires_is_revoked_or_its_user_is_shut_out(engine):
    access.create_first_admin(engine)
    access.create_user(engine, "ann", ["approver"], actor="user:admin")
    token_id, token = access.issue_token(engine, "ann", label="a", actor="user:admin")
    assert access.authenticate(engine, token).username == "ann"
    assert access.tokens(engine, "ann")[0]["last_used_at"] is not None
    _, expired = access.issue_token(engine, "ann", label="b", valid_for=dt.timedelta(seconds=-1), actor="user:admin")
    access.revoke_token(engine, token_id, actor="user:admin")
    access.revoke_token(engine, token_id, actor="user:admin")
    _, third = access.issue_token(engine, "ann", label="c", actor="user:admin")
    access.authenticate(engine, third)
    access.deactivate(engine, "ann", actor="user:admin")
    for useless in (token, expired, third, "sf_nonsense", "nonsense", "", None, "sf_" + "x" * 10_000):
        with pytest.raises(NotAuthenticated):
            access.authenticate(engine, useless)
    with pytest.raises(NotAuthenticated):
        access.principal(engine, "ann")
    with pytest.raises(NotFound):
        access.revoke_token(engine, "tok_x", actor="user:admin")
    assert [e["action"] for e in audit.entries(engine, subject="token", subject_id=token_id)] == ["revoke", "issue"]


def test_roles_are_given_limited_and_taken(engine):
    access.create_first_admin(engine)
    access.create_user(engine, "ann", actor="user:admin")
    with pytest.raises(NotAllowed):
        access.principal(engine, "ann").need("viewer")
    access.grant(engine, "ann", "approver", limit=(Decimal(500), "EUR"), actor="user:admin")
    ann = access.principal(engine, "ann")
    ann.need("viewer")
    ann.need("approver")
    assert ann.limit == (Decimal(500), "EUR")
    access.grant(engine, "ann", "approver", actor="user:admin")
    assert access.principal(engine, "ann").limit is None
    access.withdraw(engine, "ann", "approver", actor="user:admin")
    assert access.principal(engine, "ann").roles == set()
    for role, limit in (("emperor", None), ("viewer", (Decimal(1), "EUR")), ("approver", (Decimal(0), "EUR"))):
        with pytest.raises(Invalid):
            access.grant(engine, "ann", role, limit=limit, actor="user:admin")
    with pytest.raises(NotFound):
        access.grant(engine, "nobody", "viewer", actor="user:admin")
    for name in ("Ann", "ann smith", "", "a" * 101):
        with pytest.raises(Invalid):
            access.create_user(engine, name, actor="user:admin")
    with pytest.raises(Conflict):
        access.create_user(engine, "ann", actor="user:admin")


def test_the_last_administrator_stays(engine):
    access.create_first_admin(engine)
    for remove in (access.deactivate, lambda *a, **k: access.withdraw(*a, "admin", **k)):
        with pytest.raises(Conflict, match="only administrator"):
            remove(engine, "admin", actor="user:admin")
    access.create_user(engine, "second", ["admin"], actor="user:admin")
    access.deactivate(engine, "admin", actor="user:second")
    with pytest.raises(Conflict, match="only administrator"):
        access.withdraw(engine, "second", "admin", actor="user:second")


def test_the_same_trouble_counts_up_instead_of_shouting_again(engine):
    told = []
    with engine.begin() as db:
        for _ in range(3):
            told.append(alerts.raise_alert(db, "disk", "The disk is full.", severity="warning"))
    assert told == [True, False, False]
    (alert,) = alerts.find(engine)
    assert (alert["count"], alert["severity"]) == (3, "warning")
    alerts.settle(engine, "disk", "acknowledged", actor="user:ann")
    with engine.begin() as db:
        assert not alerts.raise_alert(db, "disk", "The disk is full.")
        alerts.resolve(db, "disk")
        assert alerts.raise_alert(db, "disk", "Again.")
    (alert,) = alerts.find(engine)
    assert (alert["count"], alert["message"], alert["settled_by"]) == (1, "Again.", None)
    assert len(alerts.find(engine, status=None)) == 1


def test_settings_remember_who_changed_them(engine):
    settings.put(engine, "reporting_currency", "EUR", actor="user:ann")
    settings.put(engine, "reporting_currency", "EUR", actor="user:bob")
    settings.put(engine, "reporting_currency", "GBP", actor="user:bob")
    with engine.connect() as db:
        assert settings.get(db, "reporting_currency") == "GBP"
        assert settings.get(db, "nosuch", "default") == "default"
    assert [(e["actor"], e["detail"]["before"]) for e in audit.entries(engine, subject="setting")] == [
        ("user:bob", "EUR"), ("user:ann", None)
    ]  # fmt: skip


def test_audit_pages_backwards(engine):
    with engine.begin() as db:
        audit.record(db, actor="user:a", action="x", subject="s", subject_ids=[str(n) for n in range(5)])
    first = audit.entries(engine, limit=3)
    rest = audit.entries(engine, limit=3, before=first[-1]["audit_id"])
    assert [e["subject_id"] for e in first + rest] == ["4", "3", "2", "1", "0"]


def test_an_entry_goes_with_its_deed_or_not_at_all(engine):
    with engine.connect() as db:
        audit.record(db, actor="user:a", action="x", subject="s", subject_ids=["1"])
        db.rollback()
    assert audit.entries(engine) == []


def test_each_target_shows_one_snapshot(engine):
    assert publications.current(engine) == {}
    assert publications.record(engine, "postgres", "s1", tables={"dim_item": 3})
    assert publications.record(engine, "postgres", "s2", cycle_date=dt.date(2026, 3, 2))
    assert not publications.record(engine, "postgres", "s2")
    assert publications.record(engine, "duckdb", "s1")
    assert {t: p["snapshot_id"] for t, p in publications.current(engine).items()} == {"duckdb": "s1", "postgres": "s2"}
