-- The series: an item at a location, from its first sale, stock or launch there to its end.
with first_seen as (
    select item_key, location_key, min(business_date) as first_date, max(business_date) as last_sold
    from {{ ref('fct_order_line') }} where status <> 'cancelled' group by all
    union all
    select kit.item_key, f.location_key, min(f.business_date), max(f.business_date)
    from {{ ref('fct_order_line') }} as f
    inner join {{ ref('int_kit_components') }} as kit on kit.kit_key = f.item_key
    where f.status <> 'cancelled' group by all
    union all
    select item.key, place.key, min(a.date_on), null
    from {{ ref('stg_landing__availability') }} as a
    {{ resolve('item', 'a', 'item_code', 'a.date_on', 'item') }}
    {{ resolve('location', 'a', 'location_code', 'a.date_on', 'place') }}
    where a.superseded_load is null group by all
)

select
    f.item_key,
    f.location_key,
    loc.stock_location_key,
    min(f.first_date) as first_date,
    -- A discontinued item ends with its last sale; the others go on.
    case when any_value(i.is_active) then date '9999-12-31' else coalesce(max(f.last_sold), min(f.first_date)) end as last_date
from first_seen as f
inner join {{ ref('int_items') }} as i using (item_key)
inner join {{ ref('int_locations') }} as loc using (location_key)
where not i.is_kit
group by all
