"""Cycles, proposals, decisions and purchase orders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_planning"
down_revision = "0002_stock"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cycle",
        sa.Column("cycle_date", sa.Date(), nullable=False),
        sa.Column("frozen_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("planned_by", sa.Text(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('proposed', 'decided', 'superseded')", name=op.f("cycle_status_known_check")),
        sa.PrimaryKeyConstraint("cycle_date", name=op.f("cycle_pkey")),
        schema="operations",
    )
    op.create_table(
        "withheld",
        sa.Column("cycle_date", sa.Date(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("location_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("value_at_risk", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint("value_at_risk >= 0", name=op.f("withheld_value_at_risk_not_negative_check")),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("withheld_currency_fkey")),
        sa.ForeignKeyConstraint(["cycle_date"], ["operations.cycle.cycle_date"], name=op.f("withheld_cycle_date_fkey")),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("withheld_party_id_fkey")),
        sa.PrimaryKeyConstraint("cycle_date", "item_key", "location_key", "reason", name=op.f("withheld_pkey")),
        schema="operations",
    )
    op.create_table(
        "proposal",
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("cycle_date", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("location_key", sa.Text(), nullable=False),
        sa.Column("from_location_key", sa.Text(), nullable=True),
        sa.Column("supplier_id", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("pack_quantity", sa.Numeric(precision=18, scale=6), server_default="1", nullable=False),
        sa.Column("minimum_quantity", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("expected_on", sa.Date(), nullable=True),
        sa.Column("stockout_risk", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("frozen_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("approved_quantity", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("approved_amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("document_key", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint(
            "kind <> 'buy' OR (supplier_id IS NOT NULL AND unit_price IS NOT NULL AND currency IS NOT NULL AND amount IS NOT NULL)",
            name=op.f("proposal_buy_is_complete_check"),
        ),
        sa.CheckConstraint(
            "kind <> 'markdown' OR (unit_price IS NOT NULL AND currency IS NOT NULL)",
            name=op.f("proposal_markdown_is_complete_check"),
        ),
        sa.CheckConstraint(
            "kind <> 'transfer' OR (from_location_key IS NOT NULL AND from_location_key <> location_key)",
            name=op.f("proposal_transfer_is_complete_check"),
        ),
        sa.CheckConstraint("kind IN ('buy', 'transfer', 'markdown')", name=op.f("proposal_kind_known_check")),
        sa.CheckConstraint(
            "status IN ('proposed', 'approved', 'rejected', 'superseded', 'ordered')",
            name=op.f("proposal_status_known_check"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('approved', 'ordered') OR document_key IS NOT NULL",
            name=op.f("proposal_approved_has_document_check"),
        ),
        sa.CheckConstraint("approved_quantity > 0", name=op.f("proposal_approved_quantity_positive_check")),
        sa.CheckConstraint("pack_quantity > 0 AND minimum_quantity >= 0", name=op.f("proposal_pack_positive_check")),
        sa.CheckConstraint("quantity > 0", name=op.f("proposal_quantity_positive_check")),
        sa.CheckConstraint("stockout_risk BETWEEN 0 AND 1", name=op.f("proposal_stockout_risk_is_share_check")),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("proposal_currency_fkey")),
        sa.ForeignKeyConstraint(["cycle_date"], ["operations.cycle.cycle_date"], name=op.f("proposal_cycle_date_fkey")),
        sa.ForeignKeyConstraint(
            ["from_location_key"], ["operations.location.location_key"], name=op.f("proposal_from_location_key_fkey")
        ),
        sa.ForeignKeyConstraint(["item_key"], ["operations.item.item_key"], name=op.f("proposal_item_key_fkey")),
        sa.ForeignKeyConstraint(
            ["location_key"], ["operations.location.location_key"], name=op.f("proposal_location_key_fkey")
        ),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("proposal_party_id_fkey")),
        sa.ForeignKeyConstraint(["supplier_id"], ["operations.party.party_id"], name=op.f("proposal_supplier_id_fkey")),
        sa.PrimaryKeyConstraint("proposal_id", name=op.f("proposal_pkey")),
        schema="operations",
    )
    op.create_index(
        "proposal_cycle_date_status_idx", "proposal", ["cycle_date", "status"], unique=False, schema="operations"
    )
    op.create_index("proposal_document_key_idx", "proposal", ["document_key"], unique=False, schema="operations")
    op.create_index(
        "proposal_item_location_idx",
        "proposal",
        ["item_key", "location_key", "cycle_date"],
        unique=False,
        schema="operations",
    )
    op.create_index(
        "proposal_open_idx",
        "proposal",
        ["status", "proposal_id"],
        unique=False,
        schema="operations",
        postgresql_where=sa.text("status = 'proposed'"),
    )
    op.create_table(
        "purchase_order",
        sa.Column("document_key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("cycle_date", sa.Date(), nullable=False),
        sa.Column("supplier_id", sa.Text(), nullable=False),
        sa.Column("location_key", sa.Text(), nullable=False),
        sa.Column("expected_on", sa.Date(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'approved', 'sending', 'unknown', 'sent', 'failed', 'cancelled')",
            name=op.f("purchase_order_status_known_check"),
        ),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("purchase_order_currency_fkey")),
        sa.ForeignKeyConstraint(
            ["cycle_date"], ["operations.cycle.cycle_date"], name=op.f("purchase_order_cycle_date_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["location_key"], ["operations.location.location_key"], name=op.f("purchase_order_location_key_fkey")
        ),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("purchase_order_party_id_fkey")),
        sa.ForeignKeyConstraint(
            ["supplier_id"], ["operations.party.party_id"], name=op.f("purchase_order_supplier_id_fkey")
        ),
        sa.PrimaryKeyConstraint("document_key", name=op.f("purchase_order_pkey")),
        sa.UniqueConstraint("number", name=op.f("purchase_order_number_key")),
        schema="operations",
    )
    op.create_index(
        "purchase_order_status_idx", "purchase_order", ["status", "document_key"], unique=False, schema="operations"
    )
    op.create_index(
        "purchase_order_supplier_idx",
        "purchase_order",
        ["supplier_id", "location_key", "expected_on"],
        unique=False,
        schema="operations",
    )
    op.create_table(
        "decision",
        sa.Column("decision_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("proposed_quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("decided_quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint(
            "(action = 'override') = (proposed_quantity <> decided_quantity) OR action = 'reject'",
            name=op.f("decision_override_differs_check"),
        ),
        sa.CheckConstraint(
            "action <> 'override' OR reason IS NOT NULL", name=op.f("decision_override_has_reason_check")
        ),
        sa.CheckConstraint("action IN ('approve', 'override', 'reject')", name=op.f("decision_action_known_check")),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("decision_party_id_fkey")),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["operations.proposal.proposal_id"], name=op.f("decision_proposal_id_fkey")
        ),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("decision_pkey")),
        schema="operations",
    )
    op.create_index("decision_proposal_id_idx", "decision", ["proposal_id"], unique=False, schema="operations")
    op.create_table(
        "purchase_order_line",
        sa.Column("document_key", sa.Text(), nullable=False),
        sa.Column("line_number", sa.Integer(), nullable=False),
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("purchase_order_line_quantity_positive_check")),
        sa.ForeignKeyConstraint(
            ["document_key"],
            ["operations.purchase_order.document_key"],
            name=op.f("purchase_order_line_document_key_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["item_key"], ["operations.item.item_key"], name=op.f("purchase_order_line_item_key_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["operations.party.party_id"], name=op.f("purchase_order_line_party_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["operations.proposal.proposal_id"], name=op.f("purchase_order_line_proposal_id_fkey")
        ),
        sa.PrimaryKeyConstraint("document_key", "line_number", name=op.f("purchase_order_line_pkey")),
        sa.UniqueConstraint("proposal_id", name=op.f("purchase_order_line_proposal_id_key")),
        schema="operations",
    )
