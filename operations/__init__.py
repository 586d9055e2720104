"""State that people act on, kept in PostgreSQL: identity, proposals, approvals, orders, outbox, inbox, audit; HTTP API.

Belongs here: tables and their migrations, explicit state machines whose every transition is one transaction that also
appends to the audit log, and the FastAPI application. Does not belong here: talking to other systems (a delivery
target is injected), computing numbers, or scheduling. Nothing here imports `connectors`, `ml` or dagster.
"""
