{{ config(materialized='view') }}
-- Every version of every stated stock level, in base units.
{{ dated_lines('stg_landing__stock_levels', 'counted_at') }}

select
    {{ resolved_columns('stock_level_key', 'counted_at', quantity='on_hand') }},
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
