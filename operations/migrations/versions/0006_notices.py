"""What other systems call our users, and what was told where."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006_notices"
down_revision = "0005_people"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "login",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["username"], ["operations.app_user.username"], name=op.f("login_username_fkey")),
        sa.PrimaryKeyConstraint("system", "login", name=op.f("login_pkey")),
        schema="operations",
    )
    op.create_table(
        "notice",
        sa.Column("notice_key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="posting", nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('posting', 'posted')", name=op.f("notice_status_known_check")),
        sa.CheckConstraint(
            "status = 'posting' OR reference IS NOT NULL", name=op.f("notice_posted_has_reference_check")
        ),
        sa.PrimaryKeyConstraint("notice_key", name=op.f("notice_pkey")),
        schema="operations",
    )
    op.create_index("notice_reference_idx", "notice", ["channel", "reference"], unique=False, schema="operations")
