"""A backup is whole, and comes back whole: what people decided, what landed, and what was decided from."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
from pathlib import Path

import pytest

from connectors.errors import PermanentError
from connectors.extract import Collector
from connectors.landing import named_paths
from connectors.records import Product
from operations import approvals, proposals
from orchestration import backup
from orchestration.application import Application
from orchestration.settings import Business, Settings
from tests.e2e.small_home import temporary_folder
from tests.operations.shop import DAY, Shop, found

OWN = {
    "config.yaml": "timezone: UTC\n",
    "parameters.yaml": "{}\n",
    "mappings/shop.yaml": "source: shop\n",
    "models/champion.json": '{"model_id": "m"}',
    "models/m/weights.bin": "weights",
    "frozen/cycles/x.json": "{}",
}


def settings(home: Path) -> Settings:
    return Settings(home, str(home / "landing"), Business())


def land(app: Application, *codes: str) -> None:
    collector = Collector()
    for code in codes:
        collector.add(Product, {"item_code": code, "name": code}, payload={}, position=code)
    collector.reject("product", "9", "no_code", None, "{}")
    app.landing.land("test", collector.extract("all"), cursor_before=None)


def content(app: Application) -> dict:
    shop = Shop(app.engine)
    tables = ("proposal", "purchase_order", "outbox", "audit_log", "decision", "xref", "landing_manifest", "api_token")
    rows = {table: shop.rows(f"SELECT * FROM operations.{table} ORDER BY 1") for table in tables}
    folder = app.settings.home / "landing"
    landed = {path: (folder / path).read_bytes() for path in named_paths(app.manifest.files())}
    own = {name: (app.settings.home / name).read_text() for name in OWN}
    return {**rows, "landed": landed, "own": own, "key": app.hash_key}


@pytest.fixture(scope="module")
def deployed():
    """(folder of a backup, what the deployment held when it was made, a folder to restore into)."""
    with temporary_folder() as folder:
        home = folder / "home"
        for name, text in OWN.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        (home / "models" / ".m2.77").mkdir()
        (home / "models" / ".m2.77" / "half.bin").write_text("half")
        with Application(settings(home)) as app:
            found(app.engine)
            shop = Shop(app.engine)
            assert app.hash_key
            land(app, "A", "B")
            land(app, "C")
            plan = [shop.buy("A"), shop.buy("B")]
            proposals.save(app.engine, cycle_date=DAY, frozen_hash="x", proposals=plan)
            approvals.approve(app.engine, shop.who("ann"), ids=[plan[0]["proposal_id"]], via="cli")
            before = content(app)
            summary = backup.make(app, folder / "saved")
            # What comes later is not in it, and a file that landed without its manifest row never was.
            land(app, "D")
            with pytest.raises(PermanentError, match="exists already"):
                backup.make(app, folder / "saved")
            with pytest.raises(PermanentError, match="lies below"):
                backup.make(app, home / "saved")
            with pytest.raises(PermanentError, match="is running in"):
                backup.restore(app.settings, folder / "saved", force=True)
        assert summary.files["landing"] == len(before["landed"])
        yield folder / "saved", before, folder


def test_only_its_owner_can_read_it(deployed):
    saved, _, _ = deployed
    for path in [saved, *saved.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    names = {path.name for path in saved.rglob("*")}
    assert "weights.bin" in names
    assert "half.bin" not in names, "it was only being written"


def test_everything_comes_back_into_an_empty_home(deployed):
    saved, before, folder = deployed
    target = settings(folder / "anew")
    backup.restore(target, saved)
    with Application(target) as app:
        assert content(app) == before
        shop = Shop(app.engine)
        assert shop.rows("SELECT status, count(*) FROM operations.proposal GROUP BY 1 ORDER BY 1") == [
            ("approved", 1), ("proposed", 1)
        ]  # fmt: skip
        # Work goes on.
        approvals.approve(app.engine, shop.who("ann"), where=proposals.Filter(), via="cli")
        land(app, "E")


def test_a_home_in_use_is_refused_without_force(deployed):
    saved, before, folder = deployed
    home = folder / "home"
    (home / "warehouse").mkdir()
    (home / "warehouse" / "stockflow.duckdb").write_text("of another time")
    with pytest.raises(PermanentError, match=r"is not empty .* --force"):
        backup.restore(settings(home), saved)
    backup.restore(settings(home), saved, force=True)
    assert not (home / "warehouse").exists(), "rebuilt from landing, for it knew batches that are no more"
    with Application(settings(home)) as app:
        assert content(app) == before


def test_a_restore_that_was_interrupted_is_finished_by_running_it_again(deployed, monkeypatch):
    saved, before, folder = deployed
    target = settings(folder / "interrupted")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(backup.database_backup, "restore", killed)
        with pytest.raises(KeyboardInterrupt):
            backup.restore(target, saved)
    with pytest.raises(PermanentError, match=r"restore into .* was interrupted"):
        Application(target).open()
    backup.restore(target, saved)
    with Application(target) as app:
        assert content(app) == before


@pytest.mark.parametrize("harm", ["alter", "remove", "manifest", "newer", "escape", "forget"])
def test_a_damaged_backup_is_refused_and_nothing_is_touched(deployed, tmp_path, harm):
    saved, _, folder = deployed
    bad = tmp_path / "bad"
    shutil.copytree(saved, bad)
    manifest = json.loads((bad / "manifest.json").read_text())
    victim = next(name for name in manifest["files"] if name.startswith("landing/"))
    if harm == "alter":
        whole = bytearray((bad / victim).read_bytes())
        whole[len(whole) // 2] ^= 1
        (bad / victim).write_bytes(whole)
    elif harm == "remove":
        (bad / victim).unlink()
    elif harm == "manifest":
        (bad / "manifest.json").write_text("{")
    else:
        if harm == "newer":
            manifest["format"] = 2
        elif harm == "escape":
            manifest["files"]["../outside"] = {"sha256": "", "bytes": 0}
        else:
            del manifest["files"][victim]
        (bad / "manifest.json").write_text(json.dumps(manifest))
    target = settings(folder / "untouched")
    with pytest.raises(PermanentError, match=r"damaged|not a backup|newer release") as caught:
        backup.restore(target, bad)
    assert "\n" not in str(caught.value)
    assert not target.home.exists()


def test_a_landed_file_that_is_gone_makes_no_backup(deployed):
    saved, _, folder = deployed
    home = folder / "lacking"
    backup.restore(settings(home), saved)
    with Application(settings(home)) as app:
        path = next(f["path"] for f in app.manifest.files() if f["path"])
        (home / "landing" / path).unlink()
        with pytest.raises(PermanentError, match="is missing"):
            backup.make(app, folder / "lacking-saved")
    assert not [path for path in folder.iterdir() if "lacking-saved" in path.name]


def test_it_can_be_restored_onto_object_storage(deployed):
    saved, before, folder = deployed
    target = dataclasses.replace(settings(folder / "remote"), landing="memory://landing-of-the-test")
    backup.restore(target, saved)
    with Application(target) as app:
        assert named_paths(app.manifest.files()) == set(before["landed"])
        assert all(app.landing.exists(path) for path in before["landed"])
        again = backup.make(app, folder / "from-remote")
    assert again.files["landing"] == len(before["landed"])
