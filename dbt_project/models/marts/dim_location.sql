select
    location_key,
    name,
    kind,
    timezone,
    business_day_start,
    country,
    currency,
    stock_location_key,
    supplied_from_key
from {{ ref('int_locations') }}
union all
select 'unmatched', 'Codes that match no location', 'store', 'UTC', 0, null, null, 'unmatched', null
