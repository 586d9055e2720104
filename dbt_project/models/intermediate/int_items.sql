-- One row per item of ours, described by the most believed source that describes it.
with keys as (
    select distinct key as item_key from {{ source('operations', 'xref') }} where kind = 'item'
),

described as (
    select
        x.key as item_key,
        p.*
    from {{ ref('stg_landing__products') }} as p
    inner join {{ source('operations', 'xref') }} as x
        on x.kind = 'item' and x.source = p.source and x.source_id = p.item_code
    left join {{ source('operations', 'source') }} as s on s.source = p.source
    where p.superseded_load is null
    qualify row_number() over (partition by x.key order by s.priority nulls last, p.source, p.item_code) = 1
)

select
    k.item_key,
    d.item_code,
    coalesce(d.name, k.item_key) as name,
    d.gtin,
    d.category,
    d.brand,
    coalesce(d.base_unit, 'each') as base_unit,
    d.shelf_life_days,
    coalesce(d.is_kit, false) as is_kit,
    coalesce(d.is_active, true) as is_active,
    d.launched_on,
    d.list_price,
    d.currency
from keys as k
left join described as d using (item_key)
