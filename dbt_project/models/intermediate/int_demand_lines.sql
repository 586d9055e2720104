{{ config(materialized='view') }}
-- Sold lines as demand on what is kept in stock: a kit's line becomes its components'. Cancelled lines are no demand.
with lines as (
    select * from {{ ref('int_order_lines__resolved') }} where status <> 'cancelled'
)

select
    l.* exclude (item_key, quantity_base),
    coalesce(kit.item_key, l.item_key) as item_key,
    cast(l.quantity_base * coalesce(kit.quantity, 1) as decimal(18, 6)) as quantity_base,
    kit.item_key is not null as from_kit
from lines as l
left join {{ ref('int_kit_components') }} as kit on kit.kit_key = l.item_key
