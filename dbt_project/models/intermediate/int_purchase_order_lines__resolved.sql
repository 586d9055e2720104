{{ config(materialized='view') }}
-- Every version of every purchase order line, in our keys, base units and money.
{{ dated_lines('stg_landing__purchase_order_lines', 'ordered_at', has_party=true) }}

select
    {{ resolved_columns('purchase_order_line_key', 'ordered_at') }},
    l.party_key,
    l.purchase_order_code,
    l.line_code,
    l.supplier_code,
    l.item_code,
    l.location_code,
    l.ordered_at,
    l.expected_on,
    l.status,
    l.quantity,
    l.unit,
    l.unit_price,
    l.currency,
    l.reference,
    cast(l.quantity * l.unit_price as decimal(18, 4)) as line_amount,
    {{ to_reporting('l.quantity * l.unit_price', 'l.currency', 'rate.rate') }} as line_reporting_amount,
    l.valid_load,
    l.superseded_load
from dated as l
{{ with_rate() }}
