-- depends_on: {{ ref('int_stock__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_from(ref('int_stock__touched')) }}"
) }}
-- What each source stated as on hand on a business day: its last statement of the day, summed over expiry batches.
with levels as (
    select item_key, stock_location_key as location_key, business_date, source, counted_at, is_count, quantity_base
    from {{ ref('int_stock_levels__resolved') }}
    where superseded_load is null and item_key <> 'unmatched' and location_key <> 'unmatched'
        and business_date < {{ cycle_date() }}
        and {{ within_touched('counted_at', ref('int_stock__touched'), 'from_date', open_end=true) }}
),

latest as (
    select * from levels
    qualify counted_at = max(counted_at) over (partition by item_key, location_key, business_date, source)
)

select
    item_key,
    location_key,
    business_date,
    sum(quantity_base) as on_hand,
    bool_or(is_count) as is_count
from latest
{% if is_incremental() %}
inner join {{ ref('int_stock__touched') }} as t using (item_key, location_key)
where business_date >= t.from_date
{% endif %}
group by item_key, location_key, business_date, source
-- Two systems that state the same stock do not add up; the count, else the first source by name, is believed.
qualify row_number() over (partition by item_key, location_key, business_date order by bool_or(is_count) desc, source) = 1
