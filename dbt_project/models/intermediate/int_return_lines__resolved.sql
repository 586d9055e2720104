{{ config(materialized='view') }}
-- Every version of every return line, in our keys, base units, business dates and money.
{{ dated_lines('stg_landing__return_lines', 'returned_at') }}

select
    {{ resolved_columns('return_line_key', 'returned_at') }},
    l.return_code,
    l.line_code,
    l.order_code,
    l.item_code,
    l.location_code,
    l.returned_at,
    l.quantity,
    l.unit,
    l.refund_amount,
    {{ to_reporting('l.refund_amount', 'l.currency', 'rate.rate') }} as refund_reporting_amount,
    l.currency,
    l.tax_included,
    l.is_restocked,
    l.customer_hash,
    l.valid_load,
    l.superseded_load
from dated as l
{{ with_rate() }}
