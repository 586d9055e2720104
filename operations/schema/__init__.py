"""The tables of the operational database, all in the PostgreSQL schema `operations`.

Belongs here: columns, keys and constraints. Does not belong here: what is done with them, nor how a database of an
earlier release becomes this one (`operations.migrations`); a test proves that both lead to the same database.

    master     parties, locations, items, units, currencies, exchange rates, and the identity of all of them (xref)
    stock      movements people post, landing's manifest and cursors, publications
    planning   cycles, proposals, what was withheld, decisions, purchase orders
    delivery   outbox, inbox and notices
    people     users, roles, tokens, logins, audit log, alerts, settings
"""

from operations.schema.base import metadata
from operations.schema.delivery import inbox, notice, outbox
from operations.schema.master import (
    currency,
    declared_pair,
    exchange_rate,
    item,
    item_unit,
    location,
    party,
    unmatched,
    xref,
)
from operations.schema.people import alert, api_token, app_user, audit_log, login, role_grant, setting
from operations.schema.planning import cycle, decision, proposal, purchase_order, purchase_order_line, withheld
from operations.schema.stock import landing_cursor, landing_manifest, movement_kind, publication, stock_movement

APPEND_ONLY = (audit_log, decision)
"""Tables to which the application may only add."""

OWN_PARTY = "pty_own"
"""The company that runs this deployment: the party of every document that is shared with nobody else."""

__all__ = [
    "APPEND_ONLY",
    "OWN_PARTY",
    "alert",
    "api_token",
    "app_user",
    "audit_log",
    "currency",
    "cycle",
    "decision",
    "declared_pair",
    "exchange_rate",
    "inbox",
    "item",
    "item_unit",
    "landing_cursor",
    "landing_manifest",
    "location",
    "login",
    "metadata",
    "movement_kind",
    "notice",
    "outbox",
    "party",
    "proposal",
    "publication",
    "purchase_order",
    "purchase_order_line",
    "role_grant",
    "setting",
    "stock_movement",
    "unmatched",
    "withheld",
    "xref",
]
