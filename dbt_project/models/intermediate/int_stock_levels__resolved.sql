{{ config(materialized='view') }}
-- Every version of every stated stock level, in base units.
with keyed as (
    select
        l.*,
        coalesce(item.key, 'unmatched') as item_key,
        coalesce(place.key, 'unmatched') as location_key
    from {{ ref('stg_landing__stock_levels') }} as l
    {{ resolve('item', 'l', 'item_code', 'cast(l.counted_at as date)', 'item') }}
    {{ resolve('location', 'l', 'location_code', 'cast(l.counted_at as date)', 'place') }}
),

dated as (
    select
        k.*,
        {{ business_date('k.counted_at', 'loc') }} as business_date,
        loc.stock_location_key,
        unit.numerator,
        unit.denominator
    from keyed as k
    left join {{ ref('int_locations') }} as loc using (location_key)
    left join {{ ref('int_item_units') }} as unit on unit.item_key = k.item_key and unit.unit = k.unit
)

select
    md5(l.source || chr(31) || l.record_id) as stock_level_key,
    l.source,
    l.item_key,
    l.location_key,
    coalesce(l.stock_location_key, l.location_key) as stock_location_key,
    coalesce(l.business_date, cast(l.counted_at as date)) as business_date,
    -- A unit without a conversion counts as base units and is listed in rpt_data_issues.
    cast(l.on_hand * coalesce(l.numerator, 1) / coalesce(l.denominator, 1) as decimal(18, 6)) as quantity_base,
    l.numerator is not null or l.item_key = 'unmatched' as has_conversion,
    l.item_code,
    l.location_code,
    l.counted_at,
    l.on_hand,
    l.unit,
    l.expires_on,
    l.is_count,
    l.valid_load,
    l.superseded_load
from dated as l
