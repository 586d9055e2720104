"""Documents and messages on their way out, and events that came in."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Table, Text

from operations.schema.base import Instant, Json, created_at, metadata, of_party, one_of

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    # The idempotency key at the target.
    Column("document_key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("document", Json, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    # Times it was handed to the target, and times the target was asked about it.
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("lookups", sa.Integer, nullable=False, server_default="0"),
    # Not looked at before then: backoff, or the target's longest processing time.
    Column("available_at", Instant, nullable=False),
    # The process at work on it, and until when that is believed; both empty when nobody is.
    Column("lease", Text),
    Column("leased_until", Instant),
    Column("reference", Text),
    Column("reason", Text),
    # Only a person can settle it: the target cannot tell whether it has the document.
    Column("needs_person", sa.Boolean, nullable=False, server_default=sa.false()),
    created_at(),
    created_at("status_at"),
    of_party(),
    one_of("kind", "purchase_order", "transfer_order", "price_change"),
    one_of("status", "pending", "sending", "unknown", "sent", "failed", "cancelled"),
    CheckConstraint("(lease IS NULL) = (leased_until IS NULL)", name="lease_is_whole"),
    CheckConstraint("status <> 'sending' OR lease IS NOT NULL", name="sending_is_leased"),
    sa.Index(
        "outbox_due_idx",
        "target",
        "available_at",
        postgresql_where=sa.text("status IN ('pending', 'sending', 'unknown')"),
    ),
)

inbox = Table(
    "inbox",
    metadata,
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("topic", Text, nullable=False),
    # As the source's verifier returns it: without personal data.
    Column("payload", Json, nullable=False),
    Column("status", Text, nullable=False, server_default="received"),
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("available_at", Instant, nullable=False),
    Column("reason", Text),
    Column("received_at", Instant, nullable=False),
    Column("processed_at", Instant),
    one_of("status", "received", "processed", "failed"),
    sa.Index("inbox_due_idx", "available_at", postgresql_where=sa.text("status = 'received'")),
)

notice = Table(
    "notice",
    metadata,
    # What is told, as digest:2026-03-02:1; told once, and changed from then on.
    Column("notice_key", Text, primary_key=True),
    Column("status", Text, nullable=False, server_default="posting"),
    # Where it stands: the other system's ids of channel and message.
    Column("channel", Text, nullable=False),
    Column("reference", Text),
    Column("content_hash", Text),
    # What its buttons mean, by their values.
    Column("detail", Json, nullable=False, server_default=sa.text("'{}'")),
    created_at(),
    Column("posted_at", Instant),
    one_of("status", "posting", "posted"),
    CheckConstraint("status = 'posting' OR reference IS NOT NULL", name="posted_has_reference"),
    sa.Index("notice_reference_idx", "channel", "reference"),
)
