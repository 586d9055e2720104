-- The (item, stock location) series whose ledger changed, and from which day on it must be restated.
with changed as (
    select item_key, stock_location_key, business_date from {{ ref('int_stock_sales') }} as l where {{ changed('l') }}
    union all
    select item_key, stock_location_key, business_date from {{ ref('int_return_lines__resolved') }} as l where {{ changed('l') }}
    union all
    select item_key, stock_location_key, business_date from {{ ref('int_receipt_lines__resolved') }} as l where {{ changed('l') }}
    union all
    select item_key, stock_location_key, business_date from {{ ref('int_stock_movements__resolved') }} as l where {{ changed('l') }}
    union all
    select item_key, stock_location_key, business_date from {{ ref('int_stock_levels__resolved') }} as l where {{ changed('l') }}
    union all
    -- A code that now means another item restates both ledgers from the start.
    select unnest([old_key, new_key]), s.stock_location_key, date '0001-01-01'
    from {{ source('landing', 'touched_code') }} as t
    cross join (select distinct stock_location_key from {{ ref('int_locations') }}) as s
    where t.kind = 'item'
    union all
    select i.item_key, unnest([old_key, new_key]), date '0001-01-01'
    from {{ source('landing', 'touched_code') }} as t
    cross join {{ ref('int_items') }} as i
    where t.kind = 'location'
)

select item_key, stock_location_key as location_key, min(business_date) as from_date
from changed
where item_key <> 'unmatched' and stock_location_key <> 'unmatched' and not {{ is_anew() }}
group by all
