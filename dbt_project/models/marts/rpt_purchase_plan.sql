{{ config(tags=['planning']) }}
-- The purchases that the newest plan expects over the coming four weeks, today's first.
select
    cast(p.cycle_date as date) as cycle_date,
    p.item as item_key,
    i.name as item_name,
    p.location as location_key,
    l.name as location_name,
    p.supplier as party_key,
    s.name as supplier_name,
    cast(p.order_on as date) as order_on,
    cast(p.arrive_on as date) as arrive_on,
    cast(p.quantity as decimal(18, 6)) as quantity,
    cast(p.amount as decimal(18, 4)) as amount,
    p.currency,
    cast(p.risk as double) as stockout_risk
from {{ source('planning', 'purchase_plan') }} as p
left join {{ ref('dim_item') }} as i on i.item_key = p.item
left join {{ ref('dim_location') }} as l on l.location_key = p.location
left join {{ ref('dim_party') }} as s on s.party_key = p.supplier
