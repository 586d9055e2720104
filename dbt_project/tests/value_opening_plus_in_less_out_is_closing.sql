-- Each day opens with the value it closed with before, ends with its stock at its cost, and what it is not told by movements
-- is no more than rounding: a ten-thousandth for each of them. Only stock below zero, or of a cost unknown before, is revalued.
{{ config(meta={'dagster': {'ref': {'name': 'fct_inventory_value_daily'}}}) }}
{% set since = restated_since(ref('int_stock_value__touched')) %}
with chained as (
    select
        *,
        lag(closing_value) over series as value_before,
        lag(closing) over series as closing_before,
        lag(business_date) over series is null as is_first
    from {{ ref('fct_inventory_value_daily') }}
    where business_date >= {{ since }} - 1
    window series as (partition by item_key, location_key order by business_date)
)

select *
from chained
where business_date >= {{ since }}
    and (
        opening_value is distinct from (case when is_first then 0 else value_before end)
        or (unit_cost is null) <> (closing_value is null)
        or abs(cast(closing_value as double) - cast(closing as double) * cast(unit_cost as double)) > 0.0001
        or coalesce(opening_value, 0) + entered_value + receipts_value + returns_value + transfers_in_value
            + transfers_out_value + production_value + adjustments_value + write_offs_value - cost_of_goods_sold
            + revaluation <> closing_value
        or (
            abs(revaluation) > 0.001 + cast(abs(closing) + coalesce(abs(closing_before), 0) as double) / 50000000
            and opening_value is not null and coalesce(closing_before, 0) >= 0
            -- More was sent on than was there before the same day's arrivals.
            and not (transfers_out_value + least(production_value, 0) < 0 and transfers_in_value + greatest(production_value, 0) > 0)
        )
    )
