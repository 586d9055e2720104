-- One row per location of ours, described by the most believed source that describes it.
with keys as (
    select distinct key as location_key from {{ source('operations', 'xref') }} where kind = 'location'
),

described as (
    select
        x.key as location_key,
        l.*
    from {{ ref('stg_landing__locations') }} as l
    inner join {{ source('operations', 'xref') }} as x
        on x.kind = 'location' and x.source = l.source and x.source_id = l.location_code
    left join {{ source('operations', 'source') }} as s on s.source = l.source
    where l.superseded_load is null
    qualify row_number() over (partition by x.key order by s.priority nulls last, l.source, l.location_code) = 1
)

select
    k.location_key,
    coalesce(d.name, k.location_key) as name,
    coalesce(d.kind, 'store') as kind,
    coalesce(d.timezone, '{{ requested("timezone") }}') as timezone,
    coalesce(d.business_day_start, 0) as business_day_start,
    d.country,
    d.currency,
    -- Where its stock is: a web shop sells from the warehouse that supplies it.
    case when d.kind = 'web' then coalesce(supplied.key, k.location_key) else k.location_key end as stock_location_key,
    supplied.key as supplied_from_key
from keys as k
left join described as d using (location_key)
left join {{ source('operations', 'xref') }} as supplied
    on supplied.kind = 'location' and supplied.source = d.source and supplied.source_id = d.supplied_from
