"""Who acts, what they did, and what they should look at."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Table, Text

from operations.schema.base import Amount, Instant, Json, created_at, in_currency, metadata, one_of

app_user = Table(
    "app_user",
    metadata,
    Column("username", Text, primary_key=True),
    Column("display_name", Text),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    created_at(),
    CheckConstraint("username ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'", name="username_is_plain"),
)

role_grant = Table(
    "role_grant",
    metadata,
    Column("username", Text, ForeignKey("operations.app_user.username"), primary_key=True),
    Column("role", Text, primary_key=True),
    # The most an approver may approve in one document; no limit where empty.
    Column("amount_limit", Amount),
    in_currency(nullable=True),
    Column("granted_by", Text, nullable=False),
    created_at("granted_at"),
    one_of("role", "viewer", "planner", "approver", "admin"),
    CheckConstraint("(amount_limit IS NULL) = (currency IS NULL)", name="limit_has_currency"),
    CheckConstraint("amount_limit IS NULL OR (role = 'approver' AND amount_limit > 0)", name="limit_is_an_approvers"),
)

login = Table(
    "login",
    metadata,
    # How another system (slack, say) knows our user; it has proved to us who they are.
    Column("system", Text, primary_key=True),
    Column("login", Text, primary_key=True),
    Column("username", Text, ForeignKey("operations.app_user.username"), nullable=False),
    Column("granted_by", Text, nullable=False),
    created_at("granted_at"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("username", Text, ForeignKey("operations.app_user.username"), nullable=False),
    # SHA-256 of 32 random bytes: there is nothing to guess, so nothing to slow down.
    Column("token_hash", Text, nullable=False, unique=True),
    Column("label", Text, nullable=False),
    created_at(),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    sa.Index("api_token_username_idx", "username"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    created_at("happened_at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("detail", Json, nullable=False, server_default=sa.text("'{}'")),
    sa.Index("audit_log_subject_idx", "subject", "subject_id"),
    sa.Index("audit_log_happened_at_idx", "happened_at"),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_key", Text, primary_key=True),
    Column("severity", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("detail", Json, nullable=False, server_default=sa.text("'{}'")),
    Column("status", Text, nullable=False, server_default="open"),
    # Times it was raised since it was last resolved.
    Column("count", sa.Integer, nullable=False, server_default="1"),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("settled_by", Text),
    one_of("severity", "info", "warning", "error"),
    one_of("status", "open", "acknowledged", "resolved"),
    sa.Index("alert_status_idx", "status", "last_at"),
)

setting = Table(
    "setting",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Json, nullable=False),
    Column("updated_by", Text, nullable=False),
    created_at("updated_at"),
)
