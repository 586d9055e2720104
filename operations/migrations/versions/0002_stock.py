"""The ledger of posted movements, what landed and what was published."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002_stock"
down_revision = "0001_master"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "landing_cursor",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "stream", name=op.f("landing_cursor_pkey")),
        schema="operations",
    )
    op.create_table(
        "landing_manifest",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), nullable=False),
        sa.Column("reasons", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("landed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(path IS NULL) = (accepted = 0)", name=op.f("landing_manifest_file_has_rows_check")),
        sa.CheckConstraint(
            "accepted >= 0 AND unchanged >= 0 AND quarantined >= 0",
            name=op.f("landing_manifest_counts_not_negative_check"),
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("landing_manifest_pkey")),
        sa.UniqueConstraint("batch_id", "entity", name=op.f("landing_manifest_batch_id_entity_key")),
        schema="operations",
    )
    op.create_index(
        "landing_manifest_source_idx",
        "landing_manifest",
        ["source", "entity", "sequence"],
        unique=False,
        schema="operations",
    )
    op.create_table(
        "movement_kind",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("sign", sa.SmallInteger(), nullable=False),
        sa.Column("is_demand", sa.Boolean(), nullable=False),
        sa.Column("is_postable", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.CheckConstraint("sign IN (-1, 0, 1)", name=op.f("movement_kind_sign_known_check")),
        sa.PrimaryKeyConstraint("code", name=op.f("movement_kind_pkey")),
        schema="operations",
    )
    op.create_table(
        "publication",
        sa.Column("publication_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("cycle_date", sa.Date(), nullable=True),
        sa.Column("tables", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("target IN ('postgres', 'parquet', 'duckdb')", name=op.f("publication_target_known_check")),
        sa.PrimaryKeyConstraint("publication_id", name=op.f("publication_pkey")),
        sa.UniqueConstraint("target", "snapshot_id", name=op.f("publication_target_snapshot_id_key")),
        schema="operations",
    )
    op.create_table(
        "stock_movement",
        sa.Column("movement_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("location_key", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("counted_quantity", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("unit_cost", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("document_code", sa.Text(), nullable=True),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("posted_by", sa.Text(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.CheckConstraint(
            "(kind = 'count') <> (quantity IS NOT NULL)", name=op.f("stock_movement_change_has_quantity_check")
        ),
        sa.CheckConstraint(
            "(kind = 'count') = (counted_quantity IS NOT NULL)", name=op.f("stock_movement_count_has_counted_check")
        ),
        sa.CheckConstraint(
            "(unit_cost IS NULL) = (currency IS NULL)", name=op.f("stock_movement_cost_has_currency_check")
        ),
        sa.CheckConstraint("counted_quantity >= 0", name=op.f("stock_movement_counted_not_negative_check")),
        sa.CheckConstraint("quantity <> 0", name=op.f("stock_movement_change_not_zero_check")),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("stock_movement_currency_fkey")),
        sa.ForeignKeyConstraint(["item_key"], ["operations.item.item_key"], name=op.f("stock_movement_item_key_fkey")),
        sa.ForeignKeyConstraint(["kind"], ["operations.movement_kind.code"], name=op.f("stock_movement_kind_fkey")),
        sa.ForeignKeyConstraint(
            ["location_key"], ["operations.location.location_key"], name=op.f("stock_movement_location_key_fkey")
        ),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("stock_movement_party_id_fkey")),
        sa.PrimaryKeyConstraint("movement_id", name=op.f("stock_movement_pkey")),
        schema="operations",
    )
    op.create_index(
        "stock_movement_item_location_idx",
        "stock_movement",
        ["item_key", "location_key", "moved_at"],
        unique=False,
        schema="operations",
    )
    op.create_index("stock_movement_posted_at_idx", "stock_movement", ["posted_at"], unique=False, schema="operations")
    op.execute(
        """
        INSERT INTO operations.movement_kind (code, sign, is_demand, is_postable, description) VALUES
            ('opening',      0, false, false, 'Stock when a location was taken into the ledger'),
            ('sale',        -1, true,  false, 'Sold to a customer: the only demand'),
            ('return',       1, false, false, 'Came back from a customer and went into stock'),
            ('receipt',      1, false, false, 'Received from a supplier'),
            ('transfer_in',  1, false, false, 'Arrived from another location of ours'),
            ('transfer_out',-1, false, false, 'Left for another location of ours'),
            ('adjustment',   0, false, true,  'A correction with its reason'),
            ('count',        0, false, true,  'A person counted: the ledger is adjusted to it'),
            ('write_off',   -1, false, true,  'Expired, broken, stolen'),
            ('production',   1, false, false, 'Made here'),
            ('consumption', -1, false, false, 'Used to make something')
        """
    )
