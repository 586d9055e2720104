{{ config(materialized='view') }}
-- Sold lines as they leave stock. Since a kit is assembled into stock of its own it leaves as itself, and its components
-- left when it was assembled; any other kit is picked from its components.
with picked_kits as (
    select k.*, coalesce(s.stocked_since, date '9999-12-31') as picked_until
    from {{ ref('int_kit_components') }} as k
    left join {{ ref('int_kits__stocked') }} as s using (kit_key)
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
left join picked_kits as kit on kit.kit_key = l.item_key and l.business_date < kit.picked_until
