{{ config(materialized='view') }}
-- Demand where the stock is that serves it: what a web shop sells is demand on its warehouse. One row per item, stock
-- location and open day.
select
    d.item_key,
    l.stock_location_key as location_key,
    d.business_date,
    sum(d.quantity) as quantity,
    -- What could not be bought anywhere counts as much as what used to be sold there; equal shares are a fair start.
    avg(d.in_stock_share) as in_stock_share,
    max(d.discount) as discount,
    bool_or(d.is_open) as is_open
from {{ ref('fct_demand_daily') }} as d
inner join {{ ref('dim_location') }} as l using (location_key)
group by all
