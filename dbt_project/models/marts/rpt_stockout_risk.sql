{{ config(tags=['planning']) }}
-- The newest plan's view of the coming days: how likely each series runs out, and what that would cost.
select
    cast(r.cycle_date as date) as cycle_date,
    r.item as item_key,
    i.name as item_name,
    i.category,
    r.location as location_key,
    l.name as location_name,
    cast(r.date as date) as business_date,
    r.stockout_risk_without,
    r.stockout_risk_with,
    r.lost_units_without,
    r.lost_units_with,
    r.lost_value_without,
    r.lost_value_with,
    r.currency
from {{ source('planning', 'stockout_risk') }} as r
left join {{ ref('dim_item') }} as i on i.item_key = r.item
left join {{ ref('dim_location') }} as l on l.location_key = r.location
