-- Every unit sold of a known item at a known location is in the demand of exactly one series and day.
{{ config(meta={'dagster': {'ref': {'name': 'fct_demand_daily'}}}) }}
with demand as (
    select item_key, sum(quantity) as quantity from {{ ref('fct_demand_daily') }} group by all
),

sold as (
    select item_key, sum(quantity_base) as quantity
    from {{ ref('int_demand_lines') }}
    where superseded_load is null and item_key <> 'unmatched' and location_key <> 'unmatched'
        and business_date < {{ cycle_date() }}
        and item_key not in (select item_key from {{ ref('int_items') }} where is_kit)
    group by all
)

select item_key, d.quantity as demand, s.quantity as sold
from demand as d
full join sold as s using (item_key)
where coalesce(d.quantity, 0) <> coalesce(s.quantity, 0)
