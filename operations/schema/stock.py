"""Stock that people move in Stockflow, the record of what landed, and of what was published.

The ledger is opening + typed movements = closing. Here are only the movements posted in Stockflow itself (counts,
write-offs, corrections); those of other systems arrive through landing, and both meet in the warehouse.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Table, Text

from operations.schema.base import Instant, Json, Price, Quantity, created_at, in_currency, metadata, of_party, one_of

movement_kind = Table(
    "movement_kind",
    metadata,
    Column("code", Text, primary_key=True),
    # The sign its quantity must have: 1, -1, or 0 for either.
    Column("sign", sa.SmallInteger, nullable=False),
    # Only sales are demand; returns, transfers, production use and write-offs are not.
    Column("is_demand", sa.Boolean, nullable=False),
    # Whether people may post it here; the others come from the systems that own them.
    Column("is_postable", sa.Boolean, nullable=False),
    Column("description", Text, nullable=False),
    CheckConstraint("sign IN (-1, 0, 1)", name="sign_known"),
)

stock_movement = Table(
    "stock_movement",
    metadata,
    Column("movement_id", Text, primary_key=True),
    Column("kind", Text, ForeignKey("operations.movement_kind.code"), nullable=False),
    Column("location_key", Text, ForeignKey("operations.location.location_key"), nullable=False),
    Column("item_key", Text, ForeignKey("operations.item.item_key"), nullable=False),
    Column("moved_at", Instant, nullable=False),
    Column("business_date", sa.Date, nullable=False),
    # The signed change; empty for a count, whose change against the book balance is known in the warehouse.
    Column("quantity", Quantity),
    Column("counted_quantity", Quantity),
    Column("unit", Text, nullable=False),
    Column("unit_cost", Price),
    in_currency(nullable=True),
    Column("document_code", Text),
    Column("expires_on", sa.Date),
    Column("reason", Text, nullable=False),
    Column("posted_by", Text, nullable=False),
    created_at("posted_at"),
    of_party(),
    CheckConstraint("(kind = 'count') = (counted_quantity IS NOT NULL)", name="count_has_counted"),
    CheckConstraint("(kind = 'count') <> (quantity IS NOT NULL)", name="change_has_quantity"),
    CheckConstraint("counted_quantity >= 0", name="counted_not_negative"),
    CheckConstraint("quantity <> 0", name="change_not_zero"),
    CheckConstraint("(unit_cost IS NULL) = (currency IS NULL)", name="cost_has_currency"),
    sa.Index("stock_movement_item_location_idx", "item_key", "location_key", "moved_at"),
    sa.Index("stock_movement_posted_at_idx", "posted_at"),
)

landing_manifest = Table(
    "landing_manifest",
    metadata,
    Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("path", Text),
    Column("accepted", sa.BigInteger, nullable=False),
    Column("unchanged", sa.BigInteger, nullable=False),
    Column("quarantined", sa.BigInteger, nullable=False),
    Column("reasons", Json, nullable=False, server_default=sa.text("'{}'")),
    Column("landed_at", Instant, nullable=False),
    sa.UniqueConstraint("batch_id", "entity"),
    CheckConstraint("accepted >= 0 AND unchanged >= 0 AND quarantined >= 0", name="counts_not_negative"),
    CheckConstraint("(path IS NULL) = (accepted = 0)", name="file_has_rows"),
    sa.Index("landing_manifest_source_idx", "source", "entity", "sequence"),
)

landing_cursor = Table(
    "landing_cursor",
    metadata,
    Column("source", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("cursor", Text),
    Column("updated_at", Instant, nullable=False),
)

publication = Table(
    "publication",
    metadata,
    Column("publication_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    Column("target", Text, nullable=False),
    Column("snapshot_id", Text, nullable=False),
    Column("cycle_date", sa.Date),
    # Per table: rows and whatever else the publisher counts.
    Column("tables", Json, nullable=False, server_default=sa.text("'{}'")),
    created_at("published_at"),
    sa.UniqueConstraint("target", "snapshot_id"),
    one_of("target", "postgres", "parquet", "duckdb"),
)
