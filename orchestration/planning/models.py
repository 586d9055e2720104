"""Which trained model is in use, since when, and every decision about it.

    <home>/models/<id>/            one trained model, as `ml.forecast.artefacts` writes it
    <home>/models/champion.json    the one in use: model_id, since (the first morning it forecast), previous
    <home>/models/decisions.jsonl  every decision: what was trained, compared, put into use, kept or taken back

Belongs here: that state. Does not belong here: training and comparing (`forecasting`), judging (`quality`).
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from sqlalchemy import Engine

from connectors.errors import PermanentError
from operations import alerts, audit

if TYPE_CHECKING:
    from ml.forecast import Model

CHAMPION, DECISIONS = "champion.json", "decisions.jsonl"
ALERT = "forecast-model:"


@dataclass(frozen=True)
class Champion:
    """`since`: the morning from which on it forecasts; `previous`: the one before it, to go back to."""

    model_id: str
    since: dt.date | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Decision:
    """`model_id` is in use after it. `action`: promote, keep, roll_back or use. `figures`: what was compared, by model
    id, over `days`. `message`: one sentence for people."""

    action: str
    model_id: str
    morning: dt.date
    message: str
    actor: str = "system:training"
    other: str | None = None
    days: tuple[str, str] | None = None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        return {**asdict(self), "morning": self.morning.isoformat()}


# -- Reading -----------------------------------------------------------------------------------------------------------


def champion(models: Path) -> Champion | None:
    """The model in use, None before the first training."""
    try:
        found = json.loads((models / CHAMPION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    since = found.get("since")
    return Champion(found["model_id"], None if since is None else dt.date.fromisoformat(since), found.get("previous"))


def load_champion(models: Path) -> tuple[Model, str] | None:
    """The model in use and its id. Raises ArtefactError when a file does not match its hash, and of these
    OtherVersionError when another version of the code wrote it."""
    from ml.forecast import ArtefactError, OtherVersionError, load

    found = champion(models)
    if found is None:
        return None
    try:
        return load(models / found.model_id), found.model_id
    except OtherVersionError:
        raise
    except ArtefactError as error:
        raise ArtefactError(f"{error} `stockflow run weekly_training_job` does.") from error


def model_ids(models: Path) -> list[str]:
    """The models that are kept, newest first."""
    folders = [path for path in models.glob("[!.]*") if path.is_dir()]
    return [path.name for path in sorted(folders, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)]


def decisions(models: Path) -> list[dict[str, Any]]:
    """Every decision, oldest first."""
    try:
        lines = (models / DECISIONS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


@dataclass(frozen=True)
class Listed:
    """A kept model as people see it; `wape` of its blend on the days held out of its training."""

    model_id: str
    trained_until: str
    data_sha256: str
    wape: float | None
    champion_since: dt.date | None
    is_champion: bool
    problem: str | None = None


def listed(models: Path) -> list[Listed]:
    """The kept models, newest first; one whose files do not match their hashes is listed with what is wrong."""
    from ml.forecast import ArtefactError
    from ml.forecast.artefacts import checked_manifest, read_scores

    in_use = champion(models)
    rows = []
    for model_id in model_ids(models):
        is_champion = in_use is not None and in_use.model_id == model_id
        since = in_use.since if is_champion else None
        try:
            manifest, scores = checked_manifest(models / model_id), read_scores(models / model_id)
        except ArtefactError as error:
            rows.append(Listed(model_id, "", "", None, since, is_champion, str(error)))
            continue
        blend = scores[(scores["model"] == "blend") & (scores["segment"] == "all")] if len(scores) else scores
        wape = float(blend["wape"].iat[0]) if len(blend) else None
        until, content = manifest["trained_until"], manifest["data_sha256"]
        rows.append(Listed(model_id, until, content, wape, since, is_champion))
    return rows


# -- Deciding ----------------------------------------------------------------------------------------------------------


def decide(engine: Engine, models: Path, decision: Decision) -> Champion:
    """Puts `decision.model_id` into use, or leaves it there, writes the decision down and tells people.

    The alert that tells it is no fault and stands until the next decision; a model taken back is a warning.
    """
    with FileLock(models / ".lock"):
        before = champion(models)
        content = decision.content()
        with engine.begin() as db:
            audit.record(
                db, actor=decision.actor, action=decision.action, subject="model", subject_ids=[decision.model_id],
                detail=content,
            )  # fmt: skip
            if before is not None:
                for row in alerts.find(engine):
                    if row["alert_key"].startswith(ALERT):
                        alerts.resolve(db, row["alert_key"])
                severity = "warning" if decision.action == "roll_back" else "info"
                key = f"{ALERT}{decision.action}:{decision.other}:{decision.morning}"
                alerts.raise_alert(db, key, decision.message, severity=severity, detail=content)
            if before is None or before.model_id != decision.model_id:
                # Who was taken back is not gone back to.
                previous = None if before is None or decision.action == "roll_back" else before.model_id
                _write(models, Champion(decision.model_id, decision.morning, previous))
            with (models / DECISIONS).open("a", encoding="utf-8") as out:
                out.write(json.dumps({"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), **content}) + "\n")
    return champion(models)


def use(engine: Engine, models: Path, model_id: str, morning: dt.date, *, actor: str) -> Decision:
    """A person puts a kept model into use, once every file of it has been found to be what was saved."""
    from ml.forecast import load

    if model_id not in model_ids(models):
        raise PermanentError(f"There is no model {model_id}: `stockflow models` lists those that are kept.")
    before = champion(models)
    if before is not None and before.model_id == model_id:
        raise PermanentError(f"The model {model_id} is in use already.")
    load(models / model_id)
    replaced = before.model_id if before else None
    message = f"{actor.removeprefix('user:')} put the model {model_id} into use in place of {replaced}."
    decision = Decision("use", model_id, morning, message, actor, replaced)
    decide(engine, models, decision)
    return decision


def prune(models: Path, keep: int) -> list[str]:
    """Deletes all but the newest `keep` models, the one in use and the one before it; returns what was deleted."""
    with FileLock(models / ".lock"):
        in_use = champion(models)
        needed = set() if in_use is None else {in_use.model_id, in_use.previous}
        gone = [model_id for model_id in model_ids(models)[keep:] if model_id not in needed]
        for model_id in gone:
            shutil.rmtree(models / model_id)
    return gone


def _write(models: Path, fresh: Champion) -> None:
    path = models / f"{CHAMPION}.{os.getpid()}"
    path.write_text(json.dumps({**asdict(fresh), "since": fresh.since.isoformat() if fresh.since else None}))
    os.replace(path, models / CHAMPION)
