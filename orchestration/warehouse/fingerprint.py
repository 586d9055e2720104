"""Whether the marts were built by the models that are installed."""

from __future__ import annotations

import hashlib
from pathlib import Path


def models_fingerprint(project: Path) -> str:
    """Changes with any model, macro or setting of the dbt project, not with tests or documentation."""
    digest = hashlib.sha256()
    for path in sorted(
        [project / "dbt_project.yml", *project.glob("models/**/*.sql"), *project.glob("macros/**/*.sql")]
    ):
        digest.update(str(path.relative_to(project)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
