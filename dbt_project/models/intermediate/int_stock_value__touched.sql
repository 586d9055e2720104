-- The series whose unit cost may have changed, and from which day on. All places and all items whose costs depend on each
-- other begin on the same day, for what one sends is what the other receives.
with receipts as (
    select item_key, business_date from {{ ref('int_receipt_costs') }} as l where {{ changed('l') }} or price_load > {{ requested('since_load') }}
    union all
    select r.item_key, r.business_date
    from {{ ref('int_receipt_costs') }} as r
    inner join {{ ref('stg_landing__exchange_rates') }} as e on r.currency in (e.from_currency, e.to_currency)
    where r.business_date >= e.date_on and {{ changed('e') }}
),

received as (
    select item_key, min(received_on) as received_on from {{ ref('int_stock__first_cost') }} group by all
),

-- Offers only matter to what was never received.
never_received as (
    select item_key from received where received_on is null
),

changed as (
    -- A ledger that is opened by its first statement is restated from its first day when anything before that changes.
    select
        t.item_key,
        case when s.is_opened_by_statement and t.from_date <= s.stated_date then s.first_date else t.from_date end as from_date
    from {{ ref('int_stock__touched') }} as t
    left join {{ ref('int_stock__series') }} as s using (item_key, location_key)
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
    select o.item_key, e.date_on
    from {{ ref('int_supplier_offers') }} as o
    inner join {{ ref('stg_landing__exchange_rates') }} as e on o.currency in (e.from_currency, e.to_currency)
    semi join never_received using (item_key)
    where {{ changed('e') }}
    union all
    select m.item_key, m.business_date
    from {{ ref('int_stock_movements__resolved') }} as m
    inner join {{ ref('stg_landing__exchange_rates') }} as e on m.currency in (e.from_currency, e.to_currency)
    where m.unit_cost is not null and m.business_date >= e.date_on and {{ changed('e') }}
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
