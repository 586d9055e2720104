-- The (item, stock location, day) keys whose demand or in-stock share may be another than it was: what this build restates,
-- and days partly in stock that are weighed by the profile of a month that learns from a restated day.
with weighed as (
    select distinct t.location_key, cast(date_trunc('month', t.business_date) + to_months(ahead.months) as date) as month_on
    from {{ ref('int_demand__touched') }} as t
    cross join unnest(generate_series(1, {{ profile_months() }})) as ahead(months)
)

select t.item_key, l.stock_location_key as location_key, t.business_date
from {{ ref('int_demand__touched') }} as t
inner join {{ ref('dim_location') }} as l using (location_key)
union
select d.item_key, l.stock_location_key, d.business_date
from {{ ref('fct_demand_daily') }} as d
inner join weighed as w
    on w.location_key = d.location_key and w.month_on = date_trunc('month', d.business_date)
inner join {{ ref('dim_location') }} as l on l.location_key = d.location_key
where d.in_stock_share > 0 and d.in_stock_share < 1
    and {{ in_later_months('d.business_date', ref('int_demand__touched')) }}
