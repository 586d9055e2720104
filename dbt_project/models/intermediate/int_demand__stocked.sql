{{ config(materialized='view') }}
-- Demand where the stock is that serves it: what a web shop sells is demand on its warehouse. One row per item, stock
-- location and open day. `in_stock_share` is the part of a usual day's customers who found it in stock: the share of the opening
-- hours, taken to be their first part, by what the location has usually sold by then. Where no profile tells, hours count alike.
with placed as (
    select
        d.*,
        l.stock_location_key,
        p.sold_by,
        -- Quarters of an hour since the opening. The half a day of a ledger that knows no time is a guess and no such number.
        coalesce(
            {{ business_minute('d.ran_dry_at', 'l') }} / 15 - p.opens,
            case when d.availability_basis = 'stated' then d.in_stock_share * (len(p.sold_by) - 1) end
        ) as ran_dry
    from {{ ref('fct_demand_daily') }} as d
    inner join {{ ref('dim_location') }} as l using (location_key)
    left join {{ ref('int_day_profile') }} as p
        on p.location_key = d.location_key and p.month_on = date_trunc('month', d.business_date)
        and p.weekday = isodow(d.business_date)
        and d.in_stock_share > 0 and d.in_stock_share < 1
),

weighed as (
    select
        *,
        case
            when ran_dry is null then in_stock_share
            when ran_dry <= 0 then 0
            when ran_dry >= len(sold_by) - 1 then 1
            else sold_by[floor(ran_dry)::int + 1]
                + (ran_dry - floor(ran_dry)) * (sold_by[floor(ran_dry)::int + 2] - sold_by[floor(ran_dry)::int + 1])
        end as share
    from placed
)

select
    item_key,
    stock_location_key as location_key,
    business_date,
    sum(quantity) as quantity,
    -- What could not be bought anywhere counts as much as what used to be sold there; equal shares are a fair start.
    round(avg(share), 6) as in_stock_share,
    max(discount) as discount,
    bool_or(is_open) as is_open
from weighed
group by all
