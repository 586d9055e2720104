{{ config(materialized='view') }}
-- Sold lines as they leave stock. A kit that is assembled into stock of its own leaves as itself, and its components
-- left when it was assembled; any other kit is picked from its components.
with stocked_kits as (
    select distinct item_key as kit_key
    from {{ ref('int_stock_movements__resolved') }}
    where superseded_load is null and kind in ('opening', 'production')
),

picked_kits as (
    select k.* from {{ ref('int_kit_components') }} as k anti join stocked_kits using (kit_key)
),

lines as (
    select * from {{ ref('int_order_lines__resolved') }} where status in ('paid', 'fulfilled')
)

select
    l.* exclude (item_key, quantity_base),
    l.item_key as sold_item_key,
    l.quantity_base as sold_quantity_base,
    coalesce(kit.item_key, l.item_key) as item_key,
    cast(l.quantity_base * coalesce(kit.quantity, 1) as decimal(18, 6)) as quantity_base
from lines as l
left join picked_kits as kit on kit.kit_key = l.item_key
