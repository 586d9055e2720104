"""Messages in Block Kit, within its limits: 50 blocks a message, 3,000 characters a text, 2,000 a button's value.

What awaits approval is told supplier by supplier, each with its own buttons. More suppliers than fit one message go
on in the message's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Block = dict[str, Any]

APPROVE, REJECT = "stockflow_approve", "stockflow_reject"
GROUPS_PER_MESSAGE = 15
"""Three blocks each, and room for the head."""
SHOWN_LINES = 8
_TEXT, _HEADER = 2900, 150


@dataclass(frozen=True)
class Line:
    """One proposal: what, how much it costs ("" where it costs nothing), and the risk of running out without it."""

    what: str
    amount: str
    risk: float | None


@dataclass(frozen=True)
class Group:
    """What is decided together, as one supplier's order. `decided` are sentences such as "3 approved by ann";
    with `value` None there is nothing left to press."""

    title: str
    total: str
    lines: Sequence[Line]
    decided: Sequence[str] = ()
    value: str | None = None


@dataclass(frozen=True)
class Digest:
    """One message of what awaits approval. `part` counts from 1; later parts stand in the first one's thread."""

    title: str
    summary: str
    groups: Sequence[Group]
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class Alarm:
    """Something people should look at."""

    severity: str
    message: str
    count: int = field(default=1)


def escape(text: str) -> str:
    """Text that means nothing to Slack but itself (no mention, no link)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def digest_blocks(digest: Digest) -> list[Block]:
    more = f" ({digest.part} of {digest.parts})" if digest.parts > 1 else ""
    blocks: list[Block] = [_header(digest.title + more)]
    if digest.part == 1:
        blocks.append(_section(escape(digest.summary)))
    for group in digest.groups:
        blocks.append({"type": "divider"})
        blocks.append(_section(_group_text(group)))
        if group.value is not None:
            blocks.append(_buttons(group))
    return blocks


def _group_text(group: Group) -> str:
    rows = [f"*{escape(group.title)}*   {escape(group.total)}"]
    rows += [f"_{escape(one)}_" for one in group.decided]
    for line in group.lines[:SHOWN_LINES]:
        risk = "" if line.risk is None else f"   {':red_circle: ' if line.risk >= 0.3 else ''}{line.risk:.0%} risk"
        amount = f"   {line.amount}" if line.amount else ""
        rows.append(f"• {escape(_short(line.what, 180))}{escape(amount)}{risk}")
    if len(group.lines) > SHOWN_LINES:
        rows.append(f"… and {len(group.lines) - SHOWN_LINES} more")
    return "\n".join(rows)


def _buttons(group: Group) -> Block:
    count = f"{len(group.lines)} line" + ("" if len(group.lines) == 1 else "s")
    return {
        "type": "actions",
        "elements": [
            _button("Approve", APPROVE, group, "primary", f"Approve {count} of {group.title}, {group.total}?"),
            _button("Reject", REJECT, group, "danger", f"Reject {count} of {group.title}?"),
        ],
    }


def _button(label: str, action: str, group: Group, style: str, question: str) -> Block:
    return {
        "type": "button",
        "text": {"type": "plain_text", "text": label},
        "action_id": action,
        "value": group.value,
        "style": style,
        "confirm": {
            "title": {"type": "plain_text", "text": label},
            "text": {"type": "plain_text", "text": _short(question, 300)},
            "confirm": {"type": "plain_text", "text": label},
            "deny": {"type": "plain_text", "text": "Not now"},
        },
    }


def alarm_blocks(alarms: Sequence[Alarm], shown: int = 20) -> list[Block]:
    """One message for however many alarms came at once."""
    marks = {"error": ":red_circle:", "warning": ":large_orange_circle:"}
    blocks = [_header("Stockflow needs somebody" if len(alarms) == 1 else f"Stockflow: {len(alarms)} new alerts")]
    for alarm in alarms[:shown]:
        times = f" ({alarm.count} times)" if alarm.count > 1 else ""
        mark = marks.get(alarm.severity, ":large_blue_circle:")
        blocks.append(_section(f"{mark} {escape(_short(alarm.message, 600))}{times}"))
    if len(alarms) > shown:
        blocks.append(_section(f"… and {len(alarms) - shown} more: `stockflow doctor` lists them."))
    return blocks


def _header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": _short(text, _HEADER)}}


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _short(text, _TEXT)}}


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
