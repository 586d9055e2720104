-- The (item, stock location) series of which something happened that is not in the ledger as it stands, and since which
-- day; `has_opening`: an opening entry is among it.
with places as (
    select distinct stock_location_key from {{ ref('int_locations') }}
),

changed as (
    {% for lines, at in [
        ('int_stock_sales', 'ordered_at'),
        ('int_return_lines__resolved', 'returned_at'),
        ('int_receipt_lines__resolved', 'received_at'),
        ('int_stock_levels__resolved', 'counted_at'),
    ] -%}
    select item_key, stock_location_key, business_date, false as is_opening
    from {{ ref(lines) }} as l where {{ changed_or_due('l', at) }}
    union all
    {% endfor -%}
    select item_key, stock_location_key, business_date, kind = 'opening'
    from {{ ref('int_stock_movements__resolved') }} as l where {{ changed_or_due('l', 'moved_at') }}
    union all
    -- Whether a kit leaves as itself or as its components may be another since then, wherever it is sold.
    select unnest([k.kit_key, k.item_key]), s.stock_location_key, l.business_date, false
    from {{ ref('int_stock_movements__resolved') }} as l
    inner join {{ ref('int_kit_components') }} as k on k.kit_key = l.item_key
    cross join places as s
    where l.kind in ('opening', 'production') and {{ changed_or_due('l', 'moved_at') }}
    union all
    -- A code that now means another item restates both ledgers from the start.
    select unnest([old_key, new_key]), s.stock_location_key, date '0001-01-01', false
    from {{ source('landing', 'touched_code') }} as t
    cross join places as s
    where t.kind = 'item'
    union all
    select i.item_key, unnest([old_key, new_key]), date '0001-01-01', false
    from {{ source('landing', 'touched_code') }} as t
    cross join {{ ref('int_items') }} as i
    where t.kind = 'location'
)

select item_key, stock_location_key as location_key, min(business_date) as from_date, bool_or(is_opening) as has_opening
from changed
where item_key <> 'unmatched' and stock_location_key <> 'unmatched' and not {{ is_anew() }}
group by all
