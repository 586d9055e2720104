{{ config(materialized='view') }}
-- Demand where the stock is that serves it: what a web shop sells is demand on its warehouse. One row per item, stock
-- location and open day. `in_stock_share` is the part of a usual day's customers who found it in stock: the share of the opening
-- hours, taken to be their first part, by what the location has usually sold by then. Where no profile tells, hours count alike.
with placed as (
    select
        d.*,
        l.stock_location_key,
        p.sold_by,
        least(greatest(
            coalesce(
                {{ business_minute('d.ran_dry_at', 'l') }} / 15 - p.opens,
                d.in_stock_share * (len(p.sold_by) - 1)
            ), 0
        ), len(p.sold_by) - 1) as until
    from {{ ref('fct_demand_daily') }} as d
    inner join {{ ref('dim_location') }} as l using (location_key)
    left join {{ ref('int_day_profile') }} as p
        on p.location_key = d.location_key and p.month_on = date_trunc('month', d.business_date)
        and p.weekday = isodow(d.business_date)
        and d.in_stock_share > 0 and d.in_stock_share < 1
)

select
    item_key,
    stock_location_key as location_key,
    business_date,
    sum(quantity) as quantity,
    -- What could not be bought anywhere counts as much as what used to be sold there; equal shares are a fair start.
    round(avg(coalesce(
        sold_by[floor(until)::int + 1] + (until - floor(until)) * (sold_by[ceil(until)::int + 1] - sold_by[floor(until)::int + 1]),
        in_stock_share
    )), 6) as in_stock_share,
    max(discount) as discount,
    bool_or(is_open) as is_open
from placed
group by all
