"""Which mornings can be planned: the first one, from which the web UI counts what is planned and what is missing."""

from __future__ import annotations

import datetime as dt
import os
from zoneinfo import ZoneInfo

from orchestration.settings import Settings


def first_morning(settings: Settings) -> dt.date:
    """The earliest of `plan_from` in config.yaml, the day of set-up, and the mornings planned from the command line."""
    known = [day for day in (settings.business.plan_from, _noted(settings)) if day is not None]
    return min(known, default=_today(settings))


def reach_back(settings: Settings, day: dt.date | None = None) -> None:
    """Lets `day`, by default today, be planned. The web UI shows an earlier day once it has reloaded its definitions."""
    day = day or _today(settings)
    noted = _noted(settings)
    if noted is not None and noted <= day:
        return
    path = settings.home / "first_morning"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(day.isoformat())
    fresh.replace(path)


def _noted(settings: Settings) -> dt.date | None:
    try:
        return dt.date.fromisoformat((settings.home / "first_morning").read_text().strip())
    except (OSError, ValueError):
        return None


def _today(settings: Settings) -> dt.date:
    return dt.datetime.now(ZoneInfo(settings.business.timezone)).date()
