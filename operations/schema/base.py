"""What all tables share: the metadata with its naming rule, and the column types of the field.

quantity    numeric(18, 6), in the row's `unit`         price   numeric(18, 6) per `unit`
amount      numeric(18, 4), money in the row's currency  instants timestamptz, UTC
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData(
    schema="operations",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

Quantity = sa.Numeric(18, 6)
Price = sa.Numeric(18, 6)
Amount = sa.Numeric(18, 4)
Instant = sa.DateTime(timezone=True)
Json = JSONB


def created_at(name: str = "created_at") -> Column:
    return Column(name, Instant, nullable=False, server_default=sa.func.now())


def one_of(column: str, *values: str) -> sa.CheckConstraint:
    """The column holds one of these words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def of_party() -> Column:
    """The party a document is shared with, the company itself where it is shared with nobody."""
    return Column(
        "party_id",
        sa.Text,
        sa.ForeignKey("operations.party.party_id"),
        nullable=False,
        server_default=sa.text("'pty_own'"),
    )


def in_currency(nullable: bool = False) -> Column:
    return Column("currency", sa.Text, sa.ForeignKey("operations.currency.code"), nullable=nullable)
