-- depends_on: {{ ref('int_demand__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_places(ref('int_demand__touched')) }}"
) }}
-- How many lines each location sold in each quarter of an hour of a business day, counted from its start. Only of products
-- that were in stock all day: when the customers of a day came says nothing of how many they were, so that leaving out the days
-- that ran out does not bend the profile, while their missing evenings would.
with lines as (
    select l.location_key, l.item_key, l.business_date, {{ business_minute('l.ordered_at', 'loc') }} // 15 as quarter
    from {{ ref('int_demand_lines') }} as l
    inner join {{ ref('int_locations') }} as loc using (location_key)
    {% if is_incremental() %}
    semi join {{ ref('int_demand__touched') }} as t
        on t.location_key = l.location_key and t.business_date = l.business_date
    {% endif %}
    where l.superseded_load is null and not l.from_kit and l.business_date < {{ cycle_date() }}
        and {{ within_touched('l.ordered_at', ref('int_demand__touched')) }}
)

select l.location_key, l.business_date, l.quarter, count(*) as lines
from lines as l
inner join {{ ref('fct_demand_daily') }} as d
    on d.item_key = l.item_key and d.location_key = l.location_key and d.business_date = l.business_date
    and {{ within_touched('d.business_date', ref('int_demand__touched')) }}
where d.in_stock_share >= 1 and l.quarter is not null
group by all
