-- depends_on: {{ ref('int_demand__weighed') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook=[
        "{{ delete_rescored(ref('int_demand__weighed')) }}",
        "{{ delete_outside_stocked(ref('int_item_location__active')) }}",
    ]
) }}
-- Every issued forecast whose day has come, against what then happened. On a day that ran out sales are a lower bound of
-- demand: what was forecast for the part of the day in stock is set against them, and the day is flagged.
{% set levels = [0.01, 0.025] %}
{% for n in range(1, 20) %}{% do levels.append(n * 5 / 100) %}{% endfor %}
{% do levels.extend([0.975, 0.99]) %}
with issued as (
    select i.* from {{ source('planning', 'issued_forecast') }} as i
    {% if is_incremental() %}
    left join planning.issued_cycle as c on c.cycle_date = i.cycle_date and c.is_new
    left join (select *, true as is_touched from {{ ref('int_demand__weighed') }}) as t
        on t.item_key = i.item_key and t.location_key = i.location_key and t.business_date = i.business_date
    where (c.is_new or t.is_touched) and {{ to_score('i.business_date') }}
    {% else %}
    where i.business_date < {{ cycle_date() }}
    {% endif %}
),

happened as (
    select
        item_key, location_key, business_date, quantity as sales, cast(quantity as double) as y,
        cast(in_stock_share as double) as share
    from {{ ref('int_demand__stocked') }}
    where {{ to_score('business_date') }}
)

select
    i.item_key,
    i.location_key,
    i.business_date,
    i.cycle_date,
    cast(i.business_date - i.cycle_date + 1 as integer) as lead_day,
    i.model,
    i.model_id,
    cast(h.sales as decimal(18, 6)) as sales,
    h.share as in_stock_share,
    h.share < 0.999 as ran_out,
    i.mean as forecast,
    i.q50 as forecast_median,
    i.q10 as forecast_low,
    i.q90 as forecast_high,
    i.mean * h.share - h.y as error,
    abs(i.q50 * h.share - h.y) as absolute_error,
    (
        {%- for level in levels %}
        {%- set q = 'q' ~ ('%.3f' % level)[2:] -%}
        {%- set q = q[:-1] if q.endswith('0') else q %}
        greatest({{ level }} * (h.y - i.{{ q }} * h.share), {{ level - 1 }} * (h.y - i.{{ q }} * h.share))
        {%- if not loop.last %} + {% endif %}
        {%- endfor %}
    ) / {{ levels | length }} as pinball,
    h.y between i.q10 * h.share and i.q90 * h.share as within_80
from issued as i
inner join happened as h using (item_key, location_key, business_date)
