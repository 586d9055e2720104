-- The cost of what was sold, by where it was sold, is what the sales took from stock, but for rounding.
{{ config(meta={'dagster': {'ref': {'name': 'rpt_margin'}}}) }}
with reported as (
    select sum(cost_of_goods_sold) as cost from {{ ref('rpt_margin') }}
),

valued as (
    select sum(cost_of_goods_sold) as cost from {{ ref('fct_inventory_value_daily') }}
)

select reported.cost, valued.cost as taken
from reported
cross join valued
where abs(coalesce(reported.cost, 0) - coalesce(valued.cost, 0)) > 0.01 + abs(valued.cost) / 100000
    -- A line of which one part has no known cost has none.
    and not exists (select 1 from {{ ref('fct_inventory_value_daily') }} where unit_cost is null)
