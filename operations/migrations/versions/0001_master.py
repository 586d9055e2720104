"""Parties, locations, items, units, currencies and their identity across sources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001_master"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Equality of text inside a GiST index needs a contributed extension; a range of one text needs nothing.
    op.execute('CREATE TYPE operations.textrange AS RANGE (subtype = text, collation = "C")')
    op.create_table(
        "currency",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("minor_digits", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("code ~ '^[A-Z]{3}$'", name=op.f("currency_code_is_iso_check")),
        sa.CheckConstraint("minor_digits BETWEEN 0 AND 4", name=op.f("currency_minor_digits_sane_check")),
        sa.PrimaryKeyConstraint("code", name=op.f("currency_pkey")),
        schema="operations",
    )
    op.create_table(
        "declared_pair",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source_a", sa.Text(), nullable=False),
        sa.Column("code_a", sa.Text(), nullable=False),
        sa.Column("source_b", sa.Text(), nullable=False),
        sa.Column("code_b", sa.Text(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=False),
        sa.Column("declared_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('item', 'location', 'party')", name=op.f("declared_pair_kind_known_check")),
        sa.CheckConstraint("(source_a, code_a) < (source_b, code_b)", name=op.f("declared_pair_stated_once_check")),
        sa.PrimaryKeyConstraint("kind", "source_a", "code_a", "source_b", "code_b", name=op.f("declared_pair_pkey")),
        schema="operations",
    )
    op.create_index(
        "declared_pair_b_idx", "declared_pair", ["kind", "source_b", "code_b"], unique=False, schema="operations"
    )
    op.create_table(
        "item",
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("gtin", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("base_unit", sa.Text(), server_default="each", nullable=False),
        sa.Column("origin_source", sa.Text(), nullable=True),
        sa.Column("origin_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("gtin ~ '^[0-9]{14}$'", name=op.f("item_gtin_is_padded_check")),
        sa.PrimaryKeyConstraint("item_key", name=op.f("item_pkey")),
        schema="operations",
    )
    op.create_index("item_gtin_key", "item", ["gtin"], unique=True, schema="operations")
    op.create_index("item_origin_idx", "item", ["origin_source", "origin_code"], unique=False, schema="operations")
    op.create_table(
        "unmatched",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("gtin", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('item', 'location', 'party')", name=op.f("unmatched_kind_known_check")),
        sa.CheckConstraint("status IN ('open', 'matched', 'ignored')", name=op.f("unmatched_status_known_check")),
        sa.PrimaryKeyConstraint("kind", "source", "source_id", name=op.f("unmatched_pkey")),
        schema="operations",
    )
    op.create_index(
        "unmatched_open_idx",
        "unmatched",
        ["kind", "source"],
        unique=False,
        schema="operations",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "exchange_rate",
        sa.Column("from_currency", sa.Text(), nullable=False),
        sa.Column("to_currency", sa.Text(), nullable=False),
        sa.Column("date_on", sa.Date(), nullable=False),
        sa.Column("rate", sa.Numeric(precision=18, scale=8), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("rate > 0", name=op.f("exchange_rate_rate_positive_check")),
        sa.ForeignKeyConstraint(
            ["from_currency"], ["operations.currency.code"], name=op.f("exchange_rate_from_currency_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["to_currency"], ["operations.currency.code"], name=op.f("exchange_rate_to_currency_fkey")
        ),
        sa.PrimaryKeyConstraint("from_currency", "to_currency", "date_on", name=op.f("exchange_rate_pkey")),
        schema="operations",
    )
    op.create_table(
        "item_unit",
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("numerator", sa.BigInteger(), nullable=False),
        sa.Column("denominator", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("numerator > 0 AND denominator > 0", name=op.f("item_unit_conversion_positive_check")),
        sa.ForeignKeyConstraint(["item_key"], ["operations.item.item_key"], name=op.f("item_unit_item_key_fkey")),
        sa.PrimaryKeyConstraint("item_key", "unit", name=op.f("item_unit_pkey")),
        schema="operations",
    )
    op.create_table(
        "party",
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("origin_source", sa.Text(), nullable=True),
        sa.Column("origin_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('own', 'supplier', 'customer', 'partner')", name=op.f("party_kind_known_check")),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("party_currency_fkey")),
        sa.PrimaryKeyConstraint("party_id", name=op.f("party_pkey")),
        schema="operations",
    )
    op.create_table(
        "location",
        sa.Column("location_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="store", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("business_day_start", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("origin_source", sa.Text(), nullable=True),
        sa.Column("origin_code", sa.Text(), nullable=True),
        sa.Column("party_id", sa.Text(), server_default=sa.text("'pty_own'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('store', 'web', 'warehouse', 'plant', 'supplier')", name=op.f("location_kind_known_check")
        ),
        sa.CheckConstraint(
            "business_day_start BETWEEN 0 AND 1439", name=op.f("location_business_day_start_in_day_check")
        ),
        sa.ForeignKeyConstraint(["currency"], ["operations.currency.code"], name=op.f("location_currency_fkey")),
        sa.ForeignKeyConstraint(["party_id"], ["operations.party.party_id"], name=op.f("location_party_id_fkey")),
        sa.PrimaryKeyConstraint("location_key", name=op.f("location_pkey")),
        schema="operations",
    )
    op.create_table(
        "xref",
        sa.Column("xref_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), server_default=sa.text("'0001-01-01'"), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("matched_by", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("matched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "item_ref", sa.Text(), sa.Computed("CASE WHEN kind = 'item' THEN key END", persisted=True), nullable=True
        ),
        sa.Column(
            "location_ref",
            sa.Text(),
            sa.Computed("CASE WHEN kind = 'location' THEN key END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "party_ref", sa.Text(), sa.Computed("CASE WHEN kind = 'party' THEN key END", persisted=True), nullable=True
        ),
        postgresql.ExcludeConstraint(
            (
                sa.text(
                    "operations.textrange(kind || chr(31) || source || chr(31) || source_id, kind || chr(31) || source || chr(31) || source_id, '[]')"
                ),
                "&&",
            ),
            (sa.text("daterange(valid_from, valid_to)"), "&&"),
            using="gist",
            name="xref_one_meaning_at_a_time_excl",
        ),
        sa.CheckConstraint("kind IN ('item', 'location', 'party')", name=op.f("xref_kind_known_check")),
        sa.CheckConstraint(
            "matched_by IN ('gtin', 'declared', 'assigned', 'manual')", name=op.f("xref_matched_by_known_check")
        ),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("xref_validity_not_empty_check")),
        sa.ForeignKeyConstraint(["item_ref"], ["operations.item.item_key"], name=op.f("xref_item_ref_fkey")),
        sa.ForeignKeyConstraint(
            ["location_ref"], ["operations.location.location_key"], name=op.f("xref_location_ref_fkey")
        ),
        sa.ForeignKeyConstraint(["party_ref"], ["operations.party.party_id"], name=op.f("xref_party_ref_fkey")),
        sa.PrimaryKeyConstraint("xref_id", name=op.f("xref_pkey")),
        schema="operations",
    )
    op.create_index("xref_key_idx", "xref", ["kind", "key"], unique=False, schema="operations")
    op.create_index("xref_source_id_idx", "xref", ["kind", "source", "source_id"], unique=False, schema="operations")
    op.execute(
        "INSERT INTO operations.currency (code, minor_digits) SELECT code, digits FROM ("
        + " UNION ALL ".join(
            f"SELECT unnest(string_to_array('{codes}', ' ')), {digits}" for digits, codes in CURRENCIES.items()
        )
        + ") AS iso (code, digits)"
    )
    op.execute("INSERT INTO operations.party (party_id, kind, name) VALUES ('pty_own', 'own', 'Own company')")


# ISO 4217, by digits after the point.
CURRENCIES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD "
    "KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL "
    "THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
