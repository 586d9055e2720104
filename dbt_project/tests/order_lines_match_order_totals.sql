-- Where a source states the order's total, its lines add up to it, to the cent.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_order_line'}}}) }}
with totals as (
    select source, order_code, total_amount
    from {{ ref('stg_landing__orders') }}
    where superseded_load is null and status <> 'cancelled'
),

lines as (
    select source, order_code, sum(gross_amount) as amount
    from {{ ref('fct_order_line') }}
    where status <> 'cancelled'
    group by all
)

select source, order_code, t.total_amount, l.amount
from totals as t
left join lines as l using (source, order_code)
where abs(t.total_amount - coalesce(l.amount, 0)) >= 0.01
