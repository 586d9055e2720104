"""Outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004_delivery"
down_revision = "0003_planning"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="received", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('received', 'processed', 'failed')", name=op.f("inbox_status_known_check")),
        sa.PrimaryKeyConstraint("source", "event_id", name=op.f("inbox_pkey")),
        schema="operations",
    )
    op.create_index(
        "inbox_due_idx",
        "inbox",
        ["available_at"],
        unique=False,
        schema="operations",
        postgresql_where=sa.text("status = 'received'"),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lookups", sa.Integer(), server_default="0", nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("needs_person", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('purchase_order', 'transfer_order', 'price_change')", name=op.f("outbox_kind_known_check")
        ),
        sa.CheckConstraint("status <> 'sending' OR lease IS NOT NULL", name=op.f("outbox_sending_is_leased_check")),
        sa.CheckConstraint(
            "status IN ('pending', 'sending', 'unknown', 'sent', 'failed', 'cancelled')",
            name=op.f("outbox_status_known_check"),
        ),
        sa.CheckConstraint("(lease IS NULL) = (leased_until IS NULL)", name=op.f("outbox_lease_is_whole_check")),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("outbox_party_id_fkey")),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("outbox_pkey")),
        sa.UniqueConstraint("document_key", name=op.f("outbox_document_key_key")),
        schema="operations",
    )
    op.create_index(
        "outbox_due_idx",
        "outbox",
        ["target", "available_at"],
        unique=False,
        schema="operations",
        postgresql_where=sa.text("status IN ('pending', 'sending', 'unknown')"),
    )
