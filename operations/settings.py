"""Named choices that people make while the system runs, and who made them; JSON values.

delivery_targets   {document kind or "default": name of the delivery target}
reporting_currency the currency reports and limits are compared in
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from operations import audit
from operations.schema import setting


def get(db: Connection, name: str, default: Any = None) -> Any:
    """The value of a setting, or `default` where nobody has set it."""
    row = db.execute(sa.select(setting.c.value).where(setting.c.name == name)).first()
    return default if row is None else row.value


def put(engine: Engine, name: str, value: Any, *, actor: str) -> None:
    """Sets a value; the one before stays in the audit log."""
    with engine.begin() as db:
        before = get(db, name)
        if before == value:
            return
        values = {"value": value, "updated_by": actor, "updated_at": sa.func.now()}
        db.execute(
            insert(setting).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
        )
        audit.record(
            db, actor=actor, action="set", subject="setting", subject_ids=[name],
            detail={"before": before, "after": value},
        )  # fmt: skip
