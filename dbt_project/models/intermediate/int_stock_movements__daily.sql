-- depends_on: {{ ref('int_stock__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_from(ref('int_stock__touched')) }}"
) }}
-- Signed quantities by kind of movement, for each item, stock location and business day on which something moved.
with movements as (
    select item_key, stock_location_key as location_key, business_date, 'sales' as kind, -quantity_base as quantity,
        ordered_at as sold_at
    from {{ ref('int_stock_sales') }}
    where superseded_load is null and {{ within_touched('ordered_at', ref('int_stock__touched'), 'from_date', open_end=true) }}
    union all
    select item_key, stock_location_key, business_date, 'returns', quantity_base, null
    from {{ ref('int_return_lines__resolved') }}
    where superseded_load is null and is_restocked
        and {{ within_touched('returned_at', ref('int_stock__touched'), 'from_date', open_end=true) }}
    union all
    select item_key, stock_location_key, business_date, 'receipts', quantity_base, null
    from {{ ref('int_receipt_lines__resolved') }}
    where superseded_load is null and {{ within_touched('received_at', ref('int_stock__touched'), 'from_date', open_end=true) }}
    union all
    select item_key, stock_location_key, business_date, kind, quantity_base, null
    from {{ ref('int_stock_movements__resolved') }}
    where superseded_load is null and {{ within_touched('moved_at', ref('int_stock__touched'), 'from_date', open_end=true) }}
)

select
    m.item_key,
    m.location_key,
    m.business_date,
    coalesce(sum(m.quantity) filter (m.kind = 'opening'), 0) as opening,
    coalesce(sum(m.quantity) filter (m.kind = 'sales'), 0) as sales,
    coalesce(sum(m.quantity) filter (m.kind = 'returns'), 0) as returns,
    coalesce(sum(m.quantity) filter (m.kind = 'receipts'), 0) as receipts,
    coalesce(sum(m.quantity) filter (m.kind in ('transfer_in', 'transfer_out')), 0) as transfers,
    coalesce(sum(m.quantity) filter (m.kind = 'transfer_out'), 0) as transfers_out,
    coalesce(sum(m.quantity) filter (m.kind = 'adjustment'), 0) as adjustments,
    coalesce(sum(m.quantity) filter (m.kind = 'write_off'), 0) as write_offs,
    coalesce(sum(m.quantity) filter (m.kind in ('production', 'consumption')), 0) as production,
    coalesce(sum(m.quantity) filter (m.kind = 'consumption'), 0) as consumption,
    max(m.sold_at) as last_sold_at
from movements as m
{% if is_incremental() %}
inner join {{ ref('int_stock__touched') }} as t
    on t.item_key = m.item_key and t.location_key = m.location_key and m.business_date >= t.from_date
{% endif %}
where m.item_key <> 'unmatched' and m.location_key <> 'unmatched'
    and m.business_date < {{ cycle_date() }}
group by all
