{{ config(materialized='view') }}
-- Every version of every receipt line, in our keys and base units.
{{ dated_lines('stg_landing__receipt_lines', 'received_at') }}

select
    {{ resolved_columns('receipt_line_key', 'received_at') }},
    l.receipt_code,
    l.line_code,
    l.purchase_order_code,
    l.purchase_order_line_code,
    l.supplier_code,
    l.item_code,
    l.location_code,
    l.received_at,
    l.quantity,
    l.unit,
    l.unit_cost,
    l.currency,
    {{ to_reporting('l.quantity * coalesce(l.unit_cost, 0)', 'l.currency', 'rate.rate') }} as cost_reporting_amount,
    l.expires_on,
    l.valid_load,
    l.superseded_load
from dated as l
{{ with_rate() }}
