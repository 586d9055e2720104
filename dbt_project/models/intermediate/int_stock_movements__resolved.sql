{{ config(materialized='view') }}
-- Every version of every stock movement other than sales, returns and receipts, signed, in base units.
{{ dated_lines('stg_landing__stock_movements', 'moved_at') }}

select
    {{ resolved_columns('stock_movement_key', 'moved_at') }},
    l.movement_code,
    l.kind,
    l.item_code,
    l.location_code,
    l.moved_at,
    l.quantity,
    l.unit,
    l.unit_cost,
    l.currency,
    l.document_code,
    l.expires_on,
    l.valid_load,
    l.superseded_load
from dated as l
