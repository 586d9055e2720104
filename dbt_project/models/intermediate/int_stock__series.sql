-- The (item, stock location) pairs that have a ledger: since when, and what was first stated of them.
with first_seen as (
    select item_key, location_key, min(business_date) as first_date, sum(opening) <> 0 as has_opening
    from {{ ref('int_stock_movements__daily') }} group by all
),

first_stated as (
    select item_key, location_key, min(business_date) as stated_date, arg_min(on_hand, business_date) as stated_on_hand
    from {{ ref('int_stock_levels__daily') }} group by all
)

select
    item_key,
    location_key,
    least(coalesce(f.first_date, s.stated_date), coalesce(s.stated_date, f.first_date)) as first_date,
    s.stated_date,
    s.stated_on_hand,
    s.stated_date is not null or coalesce(f.has_opening, false) as is_known,
    s.stated_date is not null and not coalesce(f.has_opening, false) as is_opened_by_statement
from first_seen as f
full join first_stated as s using (item_key, location_key)
