"""Users, roles, tokens, audit log, alerts and settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_people"
down_revision = "0004_delivery"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("alert_key", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name=op.f("alert_severity_known_check")),
        sa.CheckConstraint("status IN ('open', 'acknowledged', 'resolved')", name=op.f("alert_status_known_check")),
        sa.PrimaryKeyConstraint("alert_key", name=op.f("alert_pkey")),
        schema="operations",
    )
    op.create_index("alert_status_idx", "alert", ["status", "last_at"], unique=False, schema="operations")
    op.create_table(
        "app_user",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("username ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'", name=op.f("app_user_username_is_plain_check")),
        sa.PrimaryKeyConstraint("username", name=op.f("app_user_pkey")),
        schema="operations",
    )
    op.create_table(
        "audit_log",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("audit_log_pkey")),
        schema="operations",
    )
    op.create_index("audit_log_happened_at_idx", "audit_log", ["happened_at"], unique=False, schema="operations")
    op.create_index("audit_log_subject_idx", "audit_log", ["subject", "subject_id"], unique=False, schema="operations")
    op.create_table(
        "setting",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("setting_pkey")),
        schema="operations",
    )
    op.create_table(
        "api_token",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["username"], ["operations.app_user.username"], name=op.f("api_token_username_fkey")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("api_token_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("api_token_token_hash_key")),
        schema="operations",
    )
    op.create_index("api_token_username_idx", "api_token", ["username"], unique=False, schema="operations")
    op.create_table(
        "role_grant",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("amount_limit", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "amount_limit IS NULL OR (role = 'approver' AND amount_limit > 0)",
            name=op.f("role_grant_limit_is_an_approvers_check"),
        ),
        sa.CheckConstraint(
            "role IN ('viewer', 'planner', 'approver', 'admin')", name=op.f("role_grant_role_known_check")
        ),
        sa.CheckConstraint(
            "(amount_limit IS NULL) = (currency IS NULL)", name=op.f("role_grant_limit_has_currency_check")
        ),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("role_grant_currency_fkey")),
        sa.ForeignKeyConstraint(["username"], ["operations.app_user.username"], name=op.f("role_grant_username_fkey")),
        sa.PrimaryKeyConstraint("username", "role", name=op.f("role_grant_pkey")),
        schema="operations",
    )
