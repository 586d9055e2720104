"""What people are told in Slack, and what their presses there do.

Belongs here: the digest of what awaits approval, alerts, and the handler of pressed buttons, each wiring operations to
the Slack connector. Does not belong here: rules of approval (`operations.approvals` checks role, limit and segregation
of duties on every press), nor layout (`connectors.slack.messages`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine

from connectors.errors import PermanentError
from connectors.slack import Press, SlackClient
from connectors.slack.messages import (
    APPROVE,
    GROUPS_PER_MESSAGE,
    REJECT,
    Alarm,
    Block,
    Digest,
    Group,
    Line,
    alarm_blocks,
    digest_blocks,
)
from ml.wording import how_many
from operations import access, alerts, approvals, notices, proposals
from operations.errors import DatabaseUnavailable, OperationsError
from orchestration.settings import SlackSettings

log = logging.getLogger(__name__)

HIGH_RISK = 0.3
REMEMBERED = dt.timedelta(days=90)
# A message found by our key may have been stamped by a clock behind ours.
_CLOCKS_DIFFER = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Slack:
    """The channel that people are told in."""

    client: SlackClient
    channel: str

    @classmethod
    def of(cls, settings: SlackSettings) -> Slack:
        return cls(SlackClient(settings.token, settings.api_url), settings.channel)


@dataclass(frozen=True)
class _Wall:
    """One message in Slack, as `operations.notices` asks for it."""

    slack: Slack
    key: str
    text: str
    blocks: list[Block]
    thread_ts: str | None = None

    def find(self, since: dt.datetime) -> tuple[str, str] | None:
        found = self.slack.client.find(
            self.slack.channel, self.key, since=since - _CLOCKS_DIFFER, thread_ts=self.thread_ts
        )
        return None if found is None else (found.channel, found.ts)

    def post(self) -> tuple[str, str]:
        posted = self.slack.client.post(
            self.slack.channel, self.text, self.blocks, key=self.key, thread_ts=self.thread_ts
        )
        return posted.channel, posted.ts

    def change(self, channel: str, reference: str) -> None:
        from connectors.slack import Posted

        self.slack.client.update(Posted(channel, reference), self.text, self.blocks, key=self.key)


# -- What awaits approval ----------------------------------------------------------------------------------------------


def post_digest(engine: Engine, slack: Slack, cycle_date: dt.date) -> int:
    """Tells what a cycle proposes, and who has decided what; returns the number of messages that tell it.

    Posted once: afterwards, and however often the cycle is planned, those messages are changed.
    """
    digests, meanings = _digests(engine, cycle_date)
    prefix = f"digest:{cycle_date.isoformat()}:"
    stand = list(notices.told(engine, prefix, dt.datetime.min.replace(tzinfo=dt.UTC)))
    if not any(digest.groups for digest in digests) and not stand:
        return 0
    thread_ts = None
    # What a former plan needed more messages for is emptied, not left with buttons.
    for part in range(max(len(digests), len(stand))):
        digest = digests[part] if part < len(digests) else replace(digests[0], groups=(), part=part + 1)
        key = f"{prefix}{part + 1}"
        blocks = digest_blocks(digest)
        meaning = {group.value: meanings[group.value] for group in digest.groups if group.value is not None}
        wall = _Wall(slack, key, f"{digest.title}: {digest.summary}", blocks, thread_ts)
        told = notices.tell(engine, key, slack.channel, _hash(blocks), wall, meaning)
        thread_ts = thread_ts or told.reference
    return len(digests)


def refresh_earlier(engine: Engine, slack: Slack, cycle_date: dt.date) -> None:
    """Takes the buttons off the digest before this one: its open proposals were superseded."""
    since = dt.datetime.now(dt.UTC) - REMEMBERED
    days = {dt.date.fromisoformat(key.split(":")[1]) for key in notices.told(engine, "digest:", since)}
    earlier = [day for day in days if day < cycle_date]
    if earlier:
        post_digest(engine, slack, max(earlier))


def _digests(engine: Engine, cycle_date: dt.date) -> tuple[list[Digest], dict[str, dict[str, Any]]]:
    """The messages, at least one, and what each button's value means."""
    decided = approvals.decisions_of(engine, cycle_date)
    rows = _rows(engine, cycle_date)
    by_group: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(_group_key(row), []).append(row)
    ordered = sorted(by_group.items(), key=lambda one: (-max(_risk(row) for row in one[1]), one[0]))
    groups, meanings = [], {}
    for key, members in ordered:
        open_ids = sorted(row["proposal_id"] for row in members if row["status"] == "proposed")
        value = _hash([cycle_date.isoformat(), *key, open_ids])[:32] if open_ids else None
        groups.append(_group(members, decided, value))
        if value is not None:
            meanings[value] = {"ids": open_ids}
    is_open = [row for row in rows if row["status"] == "proposed"]
    summary = _summary(is_open)
    parts = [groups[i : i + GROUPS_PER_MESSAGE] for i in range(0, len(groups), GROUPS_PER_MESSAGE)] or [[]]
    title = f"Orders to approve for {cycle_date.isoformat()}"
    return [Digest(title, summary, part, number, len(parts)) for number, part in enumerate(parts, 1)], meanings


def _rows(engine: Engine, cycle_date: dt.date) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page, after = proposals.find(engine, proposals.Filter(cycle_date=cycle_date), after=after, limit=1000)
        rows += [row for row in page if row["status"] != "superseded"]
        if after is None:
            return rows


def _group_key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    other = row["supplier_id"] or row["from_location_key"] or row["location_key"]
    return row["kind"], other, row["currency"] or ""


def _group(members: Sequence[Mapping[str, Any]], decided: Mapping[str, tuple[str, str]], value: str | None) -> Group:
    first = members[0]
    waiting = [row for row in members if row["status"] == "proposed"]
    title = {
        "buy": f"Buy from {first['supplier_name']}",
        "transfer": "Move between own locations",
        "markdown": f"Mark down at {first['location_name']}",
    }[first["kind"]]
    counts: Counter[tuple[str, str]] = Counter()
    for row in members:
        if row["status"] != "proposed" and row["proposal_id"] in decided:
            action, actor = decided[row["proposal_id"]]
            counts[_PAST[action], actor.removeprefix("user:")] += 1
    return Group(
        title=title,
        total=_total(waiting or members),
        lines=[_line(row) for row in waiting],
        decided=[f"{count} {action} by {actor}" for (action, actor), count in sorted(counts.items())],
        value=value,
    )


_PAST = {"approve": "approved", "override": "approved with another quantity", "reject": "rejected"}


def _line(row: Mapping[str, Any]) -> Line:
    amount = "" if not row["amount"] else f"{row['amount']:,.2f} {row['currency']}"
    what = f"{row['quantity'].normalize():f} {row['unit']} {row['item_name']} for {row['location_name']}"
    return Line(what, amount, row["stockout_risk"])


def _total(rows: Sequence[Mapping[str, Any]]) -> str:
    totals: dict[str, Decimal] = {}
    for row in rows:
        if row["amount"] and row["currency"] is not None:
            totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + row["amount"]
    return ", ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(totals.items())) or "no cost"


def _summary(waiting: Sequence[Mapping[str, Any]]) -> str:
    if not waiting:
        return "Nothing is left to decide."
    high = sum(_risk(row) >= HIGH_RISK for row in waiting)
    return (
        f"{how_many(len(waiting), 'proposal waits', 'proposals wait')}, {_total(waiting)} in all, {high} of them against a high"
        " risk of a stock-out. "
        "Line by line: `stockflow proposals`."
    )


def _risk(row: Mapping[str, Any]) -> float:
    return -1.0 if row["stockout_risk"] is None else row["stockout_risk"]


# -- Alerts ------------------------------------------------------------------------------------------------------------


def post_alerts(engine: Engine, slack: Slack) -> int:
    """Tells the alerts that were opened since the last time, all in one message; returns how many."""
    now = dt.datetime.now(dt.UTC)
    known = notices.told(engine, "alert:", now - REMEMBERED)
    waiting = {f"alert:{row['alert_key']}:{row['first_at'].isoformat()}": row for row in alerts.find(engine)}
    fresh = [key for key in waiting if known.get(key) != "posted"]
    if not fresh:
        return 0
    # One that was begun before, and whose fate is unknown, is looked up under its own key.
    key = next((key for key in fresh if known.get(key) == "posting"), fresh[0])
    alarms = [Alarm(row["severity"], row["message"], row["count"]) for row in (waiting[one] for one in fresh)]
    blocks = alarm_blocks(alarms)
    wall = _Wall(slack, key, alarms[0].message, blocks)
    notices.tell(engine, key, slack.channel, _hash(blocks), wall, {"told": fresh})
    return len(fresh)


# -- Presses -----------------------------------------------------------------------------------------------------------


def press_handler(engine: Engine, slack: Slack) -> Callable[[Connection, str, Any], None]:
    """Decides as the person who pressed, tells them alone when they may not, and shows in the message who decided.

    A press handled again after a crash changes nothing: approving and rejecting may be repeated.
    """

    def handle(db: Connection, topic: str, payload: Any) -> None:
        press = Press.read(payload)
        notice = notices.at(engine, press.channel, press.message_ts)
        if notice is None or not notice.notice_key.startswith("digest:"):
            _whisper(slack, press, "This message is none that can be decided on.")
            return
        try:
            _decide(engine, notice, press)
        except DatabaseUnavailable:
            raise
        except OperationsError as error:
            _whisper(slack, press, str(error))
        post_digest(engine, slack, dt.date.fromisoformat(notice.notice_key.split(":")[1]))

    return handle


def _decide(engine: Engine, notice: notices.Notice, press: Press) -> None:
    who = access.principal_of_login(engine, "slack", press.user)
    meaning = notice.detail.get(press.value)
    if meaning is None:
        raise OperationsError("The plan has changed since this was shown: look at the message again.")
    act = {APPROVE: approvals.approve, REJECT: approvals.reject}.get(press.action)
    if act is not None:
        act(engine, who, ids=meaning["ids"], via="slack")


def _whisper(slack: Slack, press: Press, text: str) -> None:
    try:
        slack.client.whisper(press.channel, press.user, text)
    except PermanentError as error:
        # They left the channel, say; what they pressed is settled all the same.
        log.warning("%s", error)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
