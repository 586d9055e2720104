{{ config(materialized='view') }}
-- Every version of every receipt line with what it cost in the reporting currency, at the rate of its day: its own unit
-- cost, else the price of the order line it belongs to; NULL where neither, or no rate, is known.
with priced as (
    select
        r.item_key,
        r.stock_location_key as location_key,
        r.business_date,
        r.received_at,
        r.quantity_base,
        r.valid_load,
        r.superseded_load,
        case
            when r.unit_cost is not null then cast(r.quantity as double) * cast(r.unit_cost as double)
            else cast(r.quantity_base as double) * cast(p.line_amount as double) / cast(nullif(p.quantity_base, 0) as double)
        end as amount,
        case when r.unit_cost is not null then coalesce(r.currency, p.currency) else p.currency end as currency,
        -- Another price on the order line is another cost of the goods.
        case when r.unit_cost is null then p.valid_load end as price_load
    from {{ ref('int_receipt_lines__resolved') }} as r
    left join {{ ref('int_purchase_order_lines__resolved') }} as p
        on p.source = r.source and p.purchase_order_code = r.purchase_order_code
        and p.line_code = r.purchase_order_line_code and p.superseded_load is null
)

select
    l.*,
    {{ to_reporting('l.amount', 'l.currency', 'rate.rate') }} as cost
from priced as l
{{ with_rate() }}
