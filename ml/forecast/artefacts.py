"""Trained models as files: XGBoost's own format, safetensors and JSON, under a manifest of SHA-256 hashes.

Belongs here: what a model folder holds and when it is refused. Nothing in it is ever unpickled. A folder holds

    manifest.json      format, code version, hash of the training data, parameters, and the SHA-256 of every other file
    model.json         weights, spreads, chances of a sale, calibrated levels, categories, scores
    booster.ubj        the trees, if there are any
    network.safetensors, network.json    the LSTM, if there is one
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from ml.forecast.config import ForecastConfig
from ml.forecast.distribution import Spread
from ml.forecast.errors import ArtefactError, OtherVersionError
from ml.forecast.heldout import SCORE_COLUMNS, Lessons
from ml.forecast.panel import Columns, Panel
from ml.forecast.paths import Dependence

FORMAT = 7
"""Raised, too, when parameters are renamed, or features change: a model asked without one that it was taught would go on and forecast worse."""
MANIFEST = "manifest.json"
_LESSONS = ("correction", "weights", "units", "shapes", "levels", "edges", "chances")


def snapshot_hash(panel: Panel) -> str:
    """SHA-256 of the aligned training data, whatever the order of the rows it came in."""
    digest = hashlib.sha256()
    digest.update("\x1e".join(panel.keys["sku"] + "\x1f" + panel.keys["location"]).encode())
    for array in (panel.dates.astype(np.int64), panel.sales, panel.stocked, panel.known, panel.past, panel.static):
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def code_version() -> str:
    """SHA-256 over the modules that forecasting consists of: the same code gives the same version anywhere."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), here.parent / "demand.py", here.parent / "phantom.py"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def new_folder(folder) -> Path:
    """`folder`, made if it is not there. Raises `ArtefactError` where a model cannot be saved in it."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as error:
        raise ArtefactError(
            f"No model can be saved in {folder} ({error.strerror}); name a new folder where you may write."
        ) from None
    if full:
        raise ArtefactError(f"The folder {folder} is not empty; give each model a folder of its own.")
    return folder


def save(model, folder) -> Path:
    """Write `model` to `folder`, which must be new or empty; the manifest comes last, so half a folder has none."""
    folder = new_folder(folder)
    lessons = model.lessons
    content = {
        "horizon": model.horizon,
        "seed": model.seed,
        "columns": vars(model.columns),
        "config": model.config.model_dump(mode="json"),
        "missing_days": model.missing_days,
        "dispersion": [float(value) for value in model.dispersion],
        "categories": model.categories,
        "names": list(model.names),
        **_lessons(lessons),
        "newcomers": _lessons(model.newcomers),
        "base_spread": vars(model.base_spread),
        "dependence": vars(model.dependence),
        "scores": json.loads(model.scores.to_json(orient="records", double_precision=15)),
        "notes": list(model.notes),
        "timings": model.timings,
        "boosted_names": list(model.boosted.names) if model.boosted else None,
        "boosted_damping": model.boosted.damping if model.boosted else None,
        "boosted_scale": model.boosted.scale if model.boosted else None,
    }
    (folder / "model.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    if model.boosted:
        model.boosted.booster.save_model(folder / "booster.ubj")
    if model.recurrent:
        model.recurrent.save(folder)
    manifest = {
        "format": FORMAT,
        "code_version": code_version(),
        "data_sha256": model.data_hash,
        "trained_until": model.trained_until,
        "parameters": content["config"] | {"horizon": model.horizon, "seed": model.seed},
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir())},
    }
    temporary = folder / (MANIFEST + ".part")
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(temporary, folder / MANIFEST)
    return folder


def _lessons(lessons: Lessons) -> dict[str, list]:
    return {name: getattr(lessons, name).tolist() for name in _LESSONS}


def checked_manifest(folder) -> dict:
    """The manifest of a model folder. Raises `ArtefactError` where a file that it lists is not the one that was saved."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = Path(folder) / name
        if Path(name).name != name or not path.is_file():
            raise ArtefactError(f"The model in {folder} lacks its file {name}; train it again.")
        if _sha256(path) != expected:
            raise ArtefactError(
                f"The file {name} of the model in {folder} is not the one that was saved; train it again."
            )
    return manifest


def load(folder):
    """The model in `folder`, after every hash has been checked; `ArtefactError` says what is wrong with it."""
    from ml.forecast.boosted import Boosted
    from ml.forecast.model import Model

    folder = Path(folder)
    manifest = checked_manifest(folder)
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    boosted = None
    if content["boosted_names"]:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(folder / "booster.ubj")
        boosted = Boosted(
            booster, tuple(content["boosted_names"]), content["boosted_damping"], content["boosted_scale"]
        )
    recurrent = None
    if "network.safetensors" in manifest["files"]:
        from ml.forecast.recurrent import Recurrent

        recurrent = Recurrent.load(folder)
    columns = Columns(**{k: tuple(v) if isinstance(v, list) else v for k, v in content["columns"].items()})
    lessons, of_newcomers = (
        Lessons(*(np.array(told[name]) for name in _LESSONS)) for told in (content, content["newcomers"])
    )
    return Model(
        columns, content["horizon"], ForecastConfig(**content["config"]), content["seed"], content["missing_days"],
        tuple(content["dispersion"]), content["categories"], tuple(content["names"]), lessons,
        Spread(**content["base_spread"]), Dependence(**content["dependence"]), pd.DataFrame(content["scores"], columns=SCORE_COLUMNS),
        of_newcomers, boosted, recurrent, tuple(content["notes"]), manifest["data_sha256"], manifest["trained_until"], content["timings"],
    )  # fmt: skip


def read_scores(folder) -> pd.DataFrame:
    """`Model.scores` of the model in `folder`, without loading the rest of it."""
    folder = Path(folder)
    path, expected = folder / "model.json", read_manifest(folder)["files"]["model.json"]
    if not path.is_file() or _sha256(path) != expected:
        raise ArtefactError(f"The file {path} is not the one that was saved; train the model again.")
    return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["scores"], columns=SCORE_COLUMNS)


def read_manifest(folder) -> dict:
    """The manifest of a model folder. Raises `OtherVersionError` for a model of another format, else `ArtefactError`."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"There is no complete model in {folder} (no {MANIFEST}); train one.") from None
    except (ValueError, UnicodeDecodeError):
        raise ArtefactError(f"The manifest {path} cannot be read; train the model again.") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtefactError(f"The manifest {path} is not that of a model; train the model again.")
    if manifest.get("format") != FORMAT:
        raise OtherVersionError(
            f"The model in {folder} was saved by another version of Stockflow (in format {manifest.get('format')}, and this "
            f"one reads {FORMAT}); train it again."
        )
    if "model.json" not in manifest["files"]:
        raise ArtefactError(f"The model in {folder} lacks its file model.json; train it again.")
    return manifest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
