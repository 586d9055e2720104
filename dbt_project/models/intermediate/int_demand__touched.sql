-- depends_on: {{ source('landing', 'touched_code') }}
-- depends_on: {{ ref('int_exchange_rates__changed') }}
-- The (item, location, business date) keys that this build must restate: what changed, and the days since the last.
with changed as (
    select item_key, location_key, business_date from {{ ref('int_demand_lines') }} as l
    where {{ changed('l') }} or {{ rate_changed('l', 'ordered_at') }}
    {% if codes_moved() %}
    union
    -- Under a code whose key changed: both the old item's and the new one's days.
    select unnest([t.old_key, t.new_key]), l.location_key, l.business_date
    from {{ ref('int_demand_lines') }} as l
    inner join {{ source('landing', 'touched_code') }} as t
        on t.kind = 'item' and t.source = l.source and t.code = l.item_code
    union
    select l.item_key, unnest([t.old_key, t.new_key]), l.business_date
    from {{ ref('int_demand_lines') }} as l
    inner join {{ source('landing', 'touched_code') }} as t
        on t.kind = 'location' and t.source = l.source and t.code = l.location_code
    {% endif %}
    union
    select item.key, place.key, a.date_on
    from {{ ref('stg_landing__availability') }} as a
    {{ resolve('item', 'a', 'item_code', 'a.date_on', 'item') }}
    {{ resolve('location', 'a', 'location_code', 'a.date_on', 'place') }}
    where {{ changed('a') }}
    union
    select s.item_key, s.location_key, o.date_on
    from {{ ref('stg_landing__opening_days') }} as o
    {{ resolve('location', 'o', 'location_code', 'o.date_on', 'place') }}
    inner join {{ ref('int_item_location__active') }} as s on s.location_key = place.key
    where {{ changed('o') }}
    union
    select s.item_key, s.location_key, cast(d.day as date)
    from {{ ref('stg_landing__promotions') }} as p
    {{ resolve('item', 'p', 'item_code', 'p.starts_on', 'item') }}
    {{ resolve('location', 'p', 'location_code', 'p.starts_on', 'place') }}
    inner join {{ ref('int_item_location__active') }} as s
        on (p.item_code = '' or s.item_key = item.key) and (p.location_code = '' or s.location_key = place.key)
    cross join unnest(generate_series(
        cast(p.starts_on as timestamp), least(p.ends_on, {{ cycle_date() }}), interval 1 day
    )) as d(day)
    where {{ changed('p') }}
    union
    -- Stock that was restated says anew on which days there was any.
    select s.item_key, s.location_key, cast(d.day as date)
    from {{ ref('int_stock__restated') }} as t
    inner join {{ ref('int_item_location__active') }} as s
        on s.item_key = t.item_key and s.stock_location_key = t.location_key
    cross join unnest(generate_series(
        cast(greatest(t.from_date, s.first_date) as timestamp),
        cast({{ cycle_date() }} - 1 as timestamp), interval 1 day
    )) as d(day)
    {% if built_to() %}
    union
    select s.item_key, s.location_key, cast(d.day as date)
    from {{ ref('int_item_location__active') }} as s
    cross join unnest(generate_series(
        cast('{{ built_to() }}' as timestamp), {{ cycle_date() }} - 1, interval 1 day
    )) as d(day)
    {% endif %}
)

select item_key, location_key, business_date
from changed
where item_key is not null and location_key is not null and not {{ is_anew() }}
