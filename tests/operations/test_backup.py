"""What was committed is in the backup, and comes back; a backup or restore that fails changes nothing."""

from __future__ import annotations

import stat
import threading

import pytest
import sqlalchemy as sa

from operations import access, approvals, backup, orders, proposals
from operations.errors import DatabaseUnavailable, Invalid
from tests.operations.shop import DAY

TABLES = ("proposal", "purchase_order", "outbox", "audit_log", "decision", "xref", "api_token")


def content(shop):
    return [shop.rows(f"SELECT * FROM operations.{table} ORDER BY 1") for table in TABLES]


@pytest.fixture
def approved(shop):
    plan = [shop.buy("A"), shop.buy("B")]
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="x", proposals=plan)
    return approvals.approve(shop.engine, shop.who("ann"), ids=[plan[0]["proposal_id"]], via="cli")


def test_what_was_committed_comes_back_and_work_goes_on(shop, owner, approved, server, tmp_path):
    before = content(shop)
    path = backup.dump(owner.url, tmp_path / "deep" / "down.backup")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    approvals.reject(shop.engine, shop.who("ann"), where=proposals.Filter(), via="cli")
    with owner.begin() as db:
        db.execute(sa.text("TRUNCATE operations.xref; CREATE TABLE operations.of_a_newer_release (a int)"))
    shop.engine.dispose()
    backup.restore(owner.url, path, app_role=server.names.role("app"))
    assert content(shop) == before
    # Grants, identities and the append-only rule are back too.
    orders.cancel(shop.engine, shop.who("ann"), approved.documents[0], reason="x")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), shop.engine.begin() as db:
        db.execute(sa.text("DELETE FROM operations.audit_log"))
    assert shop.rows("SELECT count(*) FROM pg_class WHERE relname = 'of_a_newer_release'") == [(0,)]


def test_a_damaged_file_is_refused_and_changes_nothing(shop, owner, approved, server, tmp_path):
    before = content(shop)
    path = backup.dump(owner.url, tmp_path / "good.backup")
    whole = path.read_bytes()
    for name, damaged in (("empty", b""), ("text", b"hello"), ("cut", whole[: len(whole) // 2])):
        bad = tmp_path / name
        bad.write_bytes(damaged)
        with pytest.raises((Invalid, DatabaseUnavailable), match=r"damaged|nothing was changed"):
            backup.restore(owner.url, bad, app_role=server.names.role("app"))
        assert content(shop) == before
    with pytest.raises(Invalid, match="There is no backup"):
        backup.restore(owner.url, tmp_path / "nosuch")


def test_a_backup_that_cannot_be_written_leaves_no_file(owner, server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid, match="Cannot write the backup"):
        backup.dump(owner.url, tmp_path / "file" / "x.backup")
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        backup.dump(owner.url.set(port=1), tmp_path / "x.backup")
    with pytest.raises(DatabaseUnavailable, match="may lack SELECT privilege"):
        backup.dump(server.url("app", owner.url.database), tmp_path / "x.backup")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_backup_under_way_is_one_instant(shop, owner, tmp_path):
    """Users are made in pairs while it runs: a restored copy has both of each pair."""
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            with shop.engine.begin() as db:
                for half in "ab":
                    db.execute(
                        sa.text("INSERT INTO operations.app_user (username) VALUES (:name)"),
                        {"name": f"pair{number}{half}"},
                    )
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    path = backup.dump(owner.url, tmp_path / "x.backup")
    stop.set()
    worker.join()
    shop.engine.dispose()
    backup.restore(owner.url, path, app_role=owner.url.username.replace("_owner", "_app"))
    names = [user["username"] for user in access.users(shop.engine) if user["username"].startswith("pair")]
    assert len(names) % 2 == 0
