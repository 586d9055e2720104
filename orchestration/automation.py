"""What is requested by itself when something upstream has changed out of schedule, and how fresh things must be.

The daily cycle materialises everything in one run; these conditions see to it that what changed between two cycles, by
an import or by hand, does not wait for the next morning. Each is bounded: once requested it stays quiet until something
upstream is updated again, so that a step that fails is not requested for ever.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from orchestration.settings import Business

INGEST_WARN, INGEST_FAIL = dt.timedelta(hours=3), dt.timedelta(hours=26)
PLANNING_HOURS = 2


def when_files_arrived(files: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    """Once after an import. Only files count: pulls come every hour, and what they bring can wait for the morning."""
    arrived = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated()).allow(
        dg.AssetSelection.assets(*files)
    )
    return _once(arrived).with_label("files arrived")


def when_upstream_changed() -> dg.AutomationCondition:
    """Once after anything it is made from was made anew, by whatever run, unless this was made in the same run."""
    changed = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()
    )
    return (_once(changed) & ~dg.AutomationCondition.any_deps_missing()).with_label("upstream changed")


def _once(trigger: dg.AutomationCondition) -> dg.AutomationCondition:
    """Remembers the trigger until it was answered by a request or a run, and waits while anything is under way.

    `newly_true` matters: a bare condition that stays true after a failure would request a run at every tick.
    """
    condition = dg.AutomationCondition
    return trigger.newly_true().since_last_handled() & ~condition.any_deps_in_progress() & ~condition.in_progress()


def published_condition() -> dg.AutomationCondition:
    """As `when_upstream_changed`, and never while a blocking check of the marts fails."""
    return (when_upstream_changed() & dg.AutomationCondition.all_deps_blocking_checks_passed()).with_label(
        "marts changed and their checks passed"
    )


def raw_freshness() -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.time_window(fail_window=INGEST_FAIL, warn_window=INGEST_WARN)


def published_freshness(business: Business) -> dg.FreshnessPolicy:
    """By two hours after planning began, the marts of this morning are published."""
    hour, minute = deadline(business)
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{minute} {hour} * * *",
        lower_bound_delta=dt.timedelta(hours=PLANNING_HOURS + 1),
        timezone=business.timezone,
    )


def deadline(business: Business) -> tuple[int, int]:
    """(hour, minute) by which a morning's cycle is to have ended; the last minute of the day for late planners."""
    hour, minute = (int(part) for part in business.plan_at.split(":"))
    return (hour + PLANNING_HOURS, minute) if hour + PLANNING_HOURS < 24 else (23, 59)
