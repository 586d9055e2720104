"""Who, where and what: parties, locations, items, units and currencies, and which source calls each of them what."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Computed, ForeignKey, ForeignKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from operations.schema.base import Instant, created_at, in_currency, metadata, of_party, one_of

party = Table(
    "party",
    metadata,
    Column("party_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    in_currency(nullable=True),
    Column("origin_source", Text),
    Column("origin_code", Text),
    created_at(),
    one_of("kind", "own", "supplier", "customer", "partner"),
)

currency = Table(
    "currency",
    metadata,
    Column("code", Text, primary_key=True),
    # Digits after the point of an amount that is paid; amounts are rounded to them, half to even, once: when invoiced.
    Column("minor_digits", sa.SmallInteger, nullable=False),
    CheckConstraint("code ~ '^[A-Z]{3}$'", name="code_is_iso"),
    CheckConstraint("minor_digits BETWEEN 0 AND 4", name="minor_digits_sane"),
)

exchange_rate = Table(
    "exchange_rate",
    metadata,
    Column("from_currency", Text, ForeignKey("operations.currency.code"), primary_key=True),
    Column("to_currency", Text, ForeignKey("operations.currency.code"), primary_key=True),
    Column("date_on", sa.Date, primary_key=True),
    # One unit of from_currency is `rate` units of to_currency.
    Column("rate", sa.Numeric(18, 8), nullable=False),
    Column("source", Text, nullable=False),
    CheckConstraint("rate > 0", name="rate_positive"),
)

location = Table(
    "location",
    metadata,
    Column("location_key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="store"),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    # Minutes after local midnight at which the business day begins.
    Column("business_day_start", sa.SmallInteger, nullable=False, server_default="0"),
    Column("country", Text),
    in_currency(nullable=True),
    Column("origin_source", Text),
    Column("origin_code", Text),
    of_party(),
    created_at(),
    one_of("kind", "store", "web", "warehouse", "plant", "supplier"),
    CheckConstraint("business_day_start BETWEEN 0 AND 1439", name="business_day_start_in_day"),
)

item = Table(
    "item",
    metadata,
    Column("item_key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # 14 digits, shorter ones padded with zeros: the same product always has the same text.
    Column("gtin", Text),
    Column("category", Text),
    Column("base_unit", Text, nullable=False, server_default="each"),
    # The first code that became this item; its source keeps the name up to date.
    Column("origin_source", Text),
    Column("origin_code", Text),
    created_at(),
    CheckConstraint("gtin ~ '^[0-9]{14}$'", name="gtin_is_padded"),
    sa.Index("item_gtin_key", "gtin", unique=True),
    sa.Index("item_origin_idx", "origin_source", "origin_code"),
)

item_unit = Table(
    "item_unit",
    metadata,
    Column("item_key", Text, ForeignKey("operations.item.item_key"), primary_key=True),
    Column("unit", Text, primary_key=True),
    # numerator / denominator base units make one `unit`: exact, never a float.
    Column("numerator", sa.BigInteger, nullable=False),
    Column("denominator", sa.BigInteger, nullable=False, server_default="1"),
    CheckConstraint("numerator > 0 AND denominator > 0", name="conversion_positive"),
)

_KINDS = ("item", "location", "party")

xref = Table(
    "xref",
    metadata,
    Column("xref_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    # From this date until before that one; a first mapping holds since ever.
    Column("valid_from", sa.Date, nullable=False, server_default=sa.text("'0001-01-01'")),
    Column("valid_to", sa.Date),
    Column("matched_by", Text, nullable=False),
    Column("actor", Text, nullable=False),
    created_at("matched_at"),
    # The key's table depends on the kind: three computed columns let the database check each.
    *(
        Column(f"{kind}_ref", Text, Computed(f"CASE WHEN kind = '{kind}' THEN key END", persisted=True))
        for kind in _KINDS
    ),
    ForeignKeyConstraint(["item_ref"], ["operations.item.item_key"]),
    ForeignKeyConstraint(["location_ref"], ["operations.location.location_key"]),
    ForeignKeyConstraint(["party_ref"], ["operations.party.party_id"]),
    one_of("kind", *_KINDS),
    one_of("matched_by", "gtin", "declared", "assigned", "manual"),
    CheckConstraint("valid_to > valid_from", name="validity_not_empty"),
    # A code means one thing at a time. Equality of text inside a GiST index needs a contributed extension, which many
    # servers lack; ranges of one text each compare equal exactly when the texts are, and need nothing.
    ExcludeConstraint(
        (sa.text("operations.textrange(kind || chr(31) || source || chr(31) || source_id, "
                 "kind || chr(31) || source || chr(31) || source_id, '[]')"), "&&"),
        (sa.text("daterange(valid_from, valid_to)"), "&&"),
        using="gist",
        name="xref_one_meaning_at_a_time_excl",
    ),
    sa.Index("xref_source_id_idx", "kind", "source", "source_id"),
    sa.Index("xref_key_idx", "kind", "key"),
)  # fmt: skip

TEXT_RANGE = 'CREATE TYPE operations.textrange AS RANGE (subtype = text, collation = "C")'
sa.event.listen(xref, "before_create", sa.DDL(TEXT_RANGE))

unmatched = Table(
    "unmatched",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("source_id", Text, primary_key=True),
    Column("name", Text),
    Column("gtin", Text),
    Column("status", Text, nullable=False, server_default="open"),
    created_at("first_seen_at"),
    created_at("last_seen_at"),
    Column("settled_at", Instant),
    Column("settled_by", Text),
    one_of("kind", *_KINDS),
    one_of("status", "open", "matched", "ignored"),
    sa.Index("unmatched_open_idx", "kind", "source", postgresql_where=sa.text("status = 'open'")),
)

declared_pair = Table(
    "declared_pair",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("source_a", Text, primary_key=True),
    Column("code_a", Text, primary_key=True),
    Column("source_b", Text, primary_key=True),
    Column("code_b", Text, primary_key=True),
    Column("declared_by", Text, nullable=False),
    created_at("declared_at"),
    one_of("kind", *_KINDS),
    CheckConstraint("(source_a, code_a) < (source_b, code_b)", name="stated_once"),
    sa.Index("declared_pair_b_idx", "kind", "source_b", "code_b"),
)
