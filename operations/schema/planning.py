"""What was planned, what people decided, and the orders that follow."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Table, Text

from operations.schema.base import (
    Amount,
    Json,
    Price,
    Quantity,
    created_at,
    in_currency,
    metadata,
    of_party,
    one_of,
)

cycle = Table(
    "cycle",
    metadata,
    Column("cycle_date", sa.Date, primary_key=True),
    # Content address of the inputs that the newest plan of this date was made from.
    Column("frozen_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("planned_by", Text, nullable=False),
    created_at("planned_at"),
    one_of("status", "proposed", "decided", "superseded"),
)

proposal = Table(
    "proposal",
    metadata,
    Column("proposal_id", Text, primary_key=True),
    Column("cycle_date", sa.Date, ForeignKey("operations.cycle.cycle_date"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("item_key", Text, ForeignKey("operations.item.item_key"), nullable=False),
    Column("location_key", Text, ForeignKey("operations.location.location_key"), nullable=False),
    Column("from_location_key", Text, ForeignKey("operations.location.location_key")),
    Column("supplier_id", Text, ForeignKey("operations.party.party_id")),
    Column("quantity", Quantity, nullable=False),
    Column("unit", Text, nullable=False),
    Column("pack_quantity", Quantity, nullable=False, server_default="1"),
    Column("minimum_quantity", Quantity, nullable=False, server_default="0"),
    Column("unit_price", Price),
    in_currency(nullable=True),
    Column("amount", Amount),
    Column("expected_on", sa.Date),
    Column("stockout_risk", sa.Double),
    Column("reason", Text, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("frozen_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    # What was approved; differs from `quantity` where a person overrode it.
    Column("approved_quantity", Quantity),
    Column("approved_amount", Amount),
    Column("document_key", Text),
    Column("proposed_by", Text, nullable=False),
    created_at(),
    created_at("status_at"),
    of_party(),
    one_of("kind", "buy", "transfer", "markdown"),
    one_of("status", "proposed", "approved", "rejected", "superseded", "ordered"),
    CheckConstraint("quantity > 0", name="quantity_positive"),
    CheckConstraint("pack_quantity > 0 AND minimum_quantity >= 0", name="pack_positive"),
    CheckConstraint("approved_quantity > 0", name="approved_quantity_positive"),
    CheckConstraint("stockout_risk BETWEEN 0 AND 1", name="stockout_risk_is_share"),
    CheckConstraint(
        "kind <> 'buy' OR (supplier_id IS NOT NULL AND unit_price IS NOT NULL AND currency IS NOT NULL "
        "AND amount IS NOT NULL)",
        name="buy_is_complete",
    ),
    CheckConstraint(
        "kind <> 'transfer' OR (from_location_key IS NOT NULL AND from_location_key <> location_key)",
        name="transfer_is_complete",
    ),
    CheckConstraint(
        "kind <> 'markdown' OR (unit_price IS NOT NULL AND currency IS NOT NULL)", name="markdown_is_complete"
    ),
    CheckConstraint("status NOT IN ('approved', 'ordered') OR document_key IS NOT NULL", name="approved_has_document"),
    sa.Index("proposal_cycle_date_status_idx", "cycle_date", "status"),
    sa.Index("proposal_open_idx", "status", "proposal_id", postgresql_where=sa.text("status = 'proposed'")),
    sa.Index("proposal_document_key_idx", "document_key"),
    sa.Index("proposal_item_location_idx", "item_key", "location_key", "cycle_date"),
)

withheld = Table(
    "withheld",
    metadata,
    Column("cycle_date", sa.Date, ForeignKey("operations.cycle.cycle_date"), primary_key=True),
    # No foreign keys: what is withheld may be withheld because we do not know it.
    Column("item_key", Text, primary_key=True),
    Column("location_key", Text, primary_key=True),
    # A short stable code to count by, and the sentence for a person.
    Column("reason", Text, primary_key=True),
    Column("detail", Text, nullable=False),
    Column("value_at_risk", Amount),
    in_currency(nullable=True),
    of_party(),
    CheckConstraint("value_at_risk >= 0", name="value_at_risk_not_negative"),
)

decision = Table(
    "decision",
    metadata,
    Column("decision_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    Column("proposal_id", Text, ForeignKey("operations.proposal.proposal_id"), nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    # Where it was taken: cli, api, slack.
    Column("via", Text, nullable=False),
    Column("proposed_quantity", Quantity, nullable=False),
    Column("decided_quantity", Quantity, nullable=False),
    Column("reason", Text),
    created_at("decided_at"),
    of_party(),
    one_of("action", "approve", "override", "reject"),
    CheckConstraint("(action = 'override') = (proposed_quantity <> decided_quantity) OR action = 'reject'",
                    name="override_differs"),
    CheckConstraint("action <> 'override' OR reason IS NOT NULL", name="override_has_reason"),
    sa.Index("decision_proposal_id_idx", "proposal_id"),
)  # fmt: skip

purchase_order = Table(
    "purchase_order",
    metadata,
    # Also the document's key in the outbox and the idempotency key at the target.
    Column("document_key", Text, primary_key=True),
    Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    Column("cycle_date", sa.Date, ForeignKey("operations.cycle.cycle_date"), nullable=False),
    Column("supplier_id", Text, ForeignKey("operations.party.party_id"), nullable=False),
    Column("location_key", Text, ForeignKey("operations.location.location_key"), nullable=False),
    Column("expected_on", sa.Date),
    in_currency(),
    Column("amount", Amount, nullable=False),
    Column("status", Text, nullable=False),
    # The number the target gave it.
    Column("reference", Text),
    Column("approved_by", Text, nullable=False),
    created_at(),
    created_at("status_at"),
    of_party(),
    one_of("status", "draft", "approved", "sending", "unknown", "sent", "failed", "cancelled"),
    sa.Index("purchase_order_status_idx", "status", "document_key"),
    sa.Index("purchase_order_supplier_idx", "supplier_id", "location_key", "expected_on"),
)

purchase_order_line = Table(
    "purchase_order_line",
    metadata,
    Column("document_key", Text, ForeignKey("operations.purchase_order.document_key"), primary_key=True),
    Column("line_number", sa.Integer, primary_key=True),
    # Its proposal's id is the line's own idempotency key.
    Column("proposal_id", Text, ForeignKey("operations.proposal.proposal_id"), nullable=False, unique=True),
    Column("item_key", Text, ForeignKey("operations.item.item_key"), nullable=False),
    Column("quantity", Quantity, nullable=False),
    Column("unit", Text, nullable=False),
    Column("unit_price", Price, nullable=False),
    Column("amount", Amount, nullable=False),
    of_party(),
    CheckConstraint("quantity > 0", name="quantity_positive"),
)
