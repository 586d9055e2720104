-- Items whose costs depend on each other: a kit that is assembled into stock, and what it is assembled from.
with recursive assembled as (
    select k.kit_key, k.item_key
    from {{ ref('int_kit_components') }} as k
    semi join (
        select item_key as kit_key from {{ ref('int_stock_movements__resolved') }} where kind = 'production'
    ) using (kit_key)
),

pairs as (
    select kit_key as a, item_key as b from assembled
    union
    select item_key, kit_key from assembled
),

reached as (
    select a, b from pairs
    union
    select reached.a, pairs.b from reached inner join pairs on pairs.a = reached.b
)

select item_key, least(item_key, min(reached.b)) as group_key
from {{ ref('int_items') }}
left join reached on reached.a = item_key
group by item_key
