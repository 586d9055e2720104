-- The best discount of each (item or all, location or all) and day; '' stands for all.
select
    case when p.item_code = '' then '' else item.key end as item_key,
    case when p.location_code = '' then '' else place.key end as location_key,
    cast(d.day as date) as business_date,
    max(p.discount) as discount
from {{ ref('stg_landing__promotions') }} as p
{{ resolve('item', 'p', 'item_code', 'p.starts_on', 'item') }}
{{ resolve('location', 'p', 'location_code', 'p.starts_on', 'place') }}
cross join unnest(generate_series(cast(p.starts_on as timestamp), cast(p.ends_on as timestamp), interval 1 day)) as d(day)
where p.superseded_load is null
    and p.ends_on - p.starts_on < 400
    and (p.item_code = '' or item.key is not null)
    and (p.location_code = '' or place.key is not null)
group by all
