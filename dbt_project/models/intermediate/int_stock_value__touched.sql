-- depends_on: {{ ref('int_exchange_rates__changed') }}
-- The series whose unit cost may have changed, and from which day on. All places and all items whose costs depend on each
-- other begin on the same day, for what one sends is what the other receives.
with receipts as (
    select item_key, business_date from {{ ref('int_receipt_costs') }} as l
    where {{ changed_or_due('l', 'received_at') }}
    union all
    select item_key, business_date from {{ ref('int_receipt_costs') }} as l
    where price_load > {{ requested('since_load') }} or {{ rate_changed('l', 'received_at') }}
),

received as (
    select item_key, min(received_on) as received_on from {{ ref('int_stock__first_cost') }} group by all
),

-- Offers only matter to what was never received.
never_received as (
    select item_key from received where received_on is null
),

changed as (
    select item_key, from_date from {{ ref('int_stock__restated') }}
    union all
    -- The first receipt also tells what the stock before it cost.
    select r.item_key, case when r.business_date > first.received_on then r.business_date else date '0001-01-01' end
    from receipts as r
    left join received as first using (item_key)
    union all
    select never.item_key, o.valid_from
    from {{ ref('stg_landing__supplier_offers') }} as o
    inner join {{ source('operations', 'xref') }} as item
        on item.kind = 'item' and item.source = o.source and item.source_id = o.item_code
    inner join never_received as never on never.item_key = item.key
    where {{ changed('o') }}
    union all
    select o.item_key, e.from_date
    from {{ ref('int_supplier_offers') }} as o
    inner join {{ ref('int_exchange_rates__changed') }} as e using (currency)
    semi join never_received using (item_key)
    union all
    select item_key, business_date
    from {{ ref('int_stock_movements__resolved') }} as m
    where m.unit_cost is not null and {{ rate_changed('m', 'moved_at') }}
    union all
    select kit.key, date '0001-01-01'
    from {{ ref('stg_landing__kit_components') }} as k
    inner join {{ source('operations', 'xref') }} as kit
        on kit.kind = 'item' and kit.source = k.source and kit.source_id = k.kit_code
    where {{ changed('k') }}
),

from_days as (
    select g.group_key, min(c.from_date) as from_date
    from changed as c
    inner join {{ ref('int_stock__groups') }} as g using (item_key)
    group by all
)

select s.item_key, s.location_key, f.from_date
from from_days as f
inner join {{ ref('int_stock__groups') }} as g using (group_key)
inner join {{ ref('int_stock__series') }} as s using (item_key)
where not {{ is_anew() }}
union all
-- A ledger that is no more has no value either.
select item_key, location_key, from_date
from {{ ref('int_stock__restated') }}
anti join {{ ref('int_stock__series') }} using (item_key, location_key)
