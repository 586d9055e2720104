-- Every unit sold of a known item at a known location is in the demand of exactly one series and day.
{{ config(meta={'dagster': {'ref': {'name': 'fct_demand_daily'}}}) }}
with demand as (
    select item_key, sum(quantity) as quantity from {{ ref('fct_demand_daily') }} group by all
),

sold as (
    select coalesce(kit.item_key, l.item_key) as item_key, sum(l.quantity_base * coalesce(kit.quantity, 1)) as quantity
    from {{ ref('fct_order_line') }} as l
    left join {{ ref('int_kit_components') }} as kit on kit.kit_key = l.item_key
    inner join {{ ref('int_items') }} as i on i.item_key = coalesce(kit.item_key, l.item_key)
    where l.status <> 'cancelled' and l.location_key <> 'unmatched' and not i.is_kit
        and l.business_date < {{ cycle_date() }}
    group by all
)

select item_key, d.quantity as demand, s.quantity as sold
from demand as d
full join sold as s using (item_key)
where abs(coalesce(d.quantity, 0) - coalesce(s.quantity, 0)) > 0.00001
