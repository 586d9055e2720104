-- depends_on: {{ ref('int_stock_value__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_from(ref('int_stock_value__touched')) }}"
) }}
-- What came in at a known price, by kind, in base units and in the reporting currency.
with stated as (
    select
        m.stock_location_key as location_key,
        m.moved_at,
        m.item_key,
        m.kind,
        m.business_date,
        m.quantity_base,
        m.currency,
        m.quantity * m.unit_cost as amount
    from {{ ref('int_stock_movements__resolved') }} as m
    where m.superseded_load is null and m.unit_cost is not null and m.quantity > 0
        and m.kind in ('opening', 'transfer_in', 'adjustment', 'production')
        and {{ within_touched('m.moved_at', ref('int_stock_value__touched'), 'from_date', open_end=true) }}
),

inflows as (
    select item_key, location_key, business_date, 'receipts' as kind, quantity_base, cost
    from {{ ref('int_receipt_costs') }}
    where superseded_load is null
        and {{ within_touched('received_at', ref('int_stock_value__touched'), 'from_date', open_end=true) }}
    union all
    select l.item_key, l.location_key, l.business_date, l.kind, l.quantity_base,
        {{ to_reporting('l.amount', 'l.currency', 'rate.rate') }}
    from stated as l
    {{ with_rate() }}
)

select
    i.item_key,
    i.location_key,
    i.business_date,
    i.kind,
    sum(i.quantity_base) as quantity,
    sum(i.cost) as cost
from inflows as i
{% if is_incremental() %}
inner join {{ ref('int_stock_value__touched') }} as t
    on t.item_key = i.item_key and t.location_key = i.location_key and i.business_date >= t.from_date
{% endif %}
where i.cost is not null and i.item_key <> 'unmatched' and i.location_key <> 'unmatched' and i.business_date < {{ cycle_date() }}
group by all
