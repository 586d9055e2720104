{{ config(materialized='view') }}
-- Every version of every order line, in our keys, base units, business dates and money.
{{ dated_lines('stg_landing__order_lines', 'ordered_at') }}

select
    {{ resolved_columns('order_line_key', 'ordered_at') }},
    l.order_code,
    l.line_code,
    l.item_code,
    l.location_code,
    l.channel,
    l.status,
    l.ordered_at,
    l.quantity,
    l.unit,
    l.unit_price,
    l.discount_amount,
    l.tax_amount,
    cast(l.quantity * l.unit_price - l.discount_amount as decimal(18, 4)) as line_amount,
    cast(l.quantity * l.unit_price - l.discount_amount + (case when l.tax_included then 0 else l.tax_amount end) as decimal(18, 4)) as gross_amount,
    {{ to_reporting('(l.quantity * l.unit_price - l.discount_amount - (case when l.tax_included then l.tax_amount else 0 end))', 'l.currency', 'rate.rate') }} as net_reporting_amount,
    l.currency,
    l.tax_included,
    l.customer_hash,
    l.valid_load,
    l.superseded_load
from dated as l
{{ with_rate() }}
