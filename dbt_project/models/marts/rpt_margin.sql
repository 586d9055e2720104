{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_weeks(ref('int_margin__touched')) }}"
) }}
-- depends_on: {{ ref('int_margin__touched') }}
-- What was sold in a week where, what that cost, and what lies there. A kit that is picked costs what its parts cost.
with lines as (
    select
        l.order_line_key,
        l.sold_item_key as item_key,
        l.location_key,
        cast(date_trunc('week', l.business_date) as date) as week_on,
        any_value(l.sold_quantity_base) as quantity,
        any_value(l.net_reporting_amount) as net_sales,
        -- Of unknown cost as soon as any part is.
        case when count(*) = count(v.unit_cost) then sum(cast(l.quantity_base as double) * cast(v.unit_cost as double)) end as cost
    from {{ ref('int_stock_sales') }} as l
    {% if is_incremental() %}
    inner join {{ ref('int_margin__touched') }} as t on t.item_key = l.sold_item_key and l.business_date >= t.from_week
    {% endif %}
    left join {{ ref('fct_inventory_value_daily') }} as v
        on v.item_key = l.item_key and v.location_key = l.stock_location_key and v.business_date = l.business_date
    where l.superseded_load is null and l.sold_item_key <> 'unmatched' and l.location_key <> 'unmatched'
        and l.business_date < {{ cycle_date() }}
        and {{ within_touched('l.ordered_at', ref('int_margin__touched'), 'from_week', open_end=true) }}
    group by all
),

sold as (
    select
        item_key,
        location_key,
        week_on,
        sum(quantity) as quantity,
        sum(net_sales) as net_sales,
        case when count(*) = count(cost) then round(sum(cost), 4) end as cost_of_goods_sold
    from lines
    group by all
),

-- Four weeks back, for what leaves in a day.
weeks as (
    select
        v.item_key,
        v.location_key,
        cast(date_trunc('week', v.business_date) as date) as week_on,
        any_value({% if is_incremental() %} t.from_week {% else %} date '0001-01-01' {% endif %}) as from_week,
        count(*) as days,
        sum(v.cost_of_goods_sold - v.transfers_out_value) as left_value,
        arg_max(v.closing, v.business_date) as closing,
        max(v.business_date) as last_date
    from {{ ref('fct_inventory_value_daily') }} as v
    {% if is_incremental() %}
    inner join {{ ref('int_margin__touched') }} as t using (item_key)
    where v.business_date >= t.from_week - 21
        and {{ within_touched('v.business_date + 21', ref('int_margin__touched'), 'from_week', open_end=true) }}
    {% endif %}
    group by all
),

stocked as (
    select
        w.*,
        v.closing_value as stock_value,
        sum(w.left_value) over four_weeks / sum(w.days) over four_weeks as left_in_a_day
    from weeks as w
    inner join {{ ref('fct_inventory_value_daily') }} as v
        on v.item_key = w.item_key and v.location_key = w.location_key and v.business_date = w.last_date
    window four_weeks as (
        partition by w.item_key, w.location_key order by w.week_on rows between 3 preceding and current row
    )
    qualify w.week_on >= w.from_week
)

select
    item_key,
    location_key,
    week_on,
    '{{ requested("reporting_currency") }}' as currency,
    cast(coalesce(s.quantity, 0) as decimal(18, 6)) as quantity,
    cast(case when s.week_on is null then 0 else s.net_sales end as decimal(18, 4)) as net_sales,
    cast(case when s.week_on is null then 0 else s.cost_of_goods_sold end as decimal(18, 4)) as cost_of_goods_sold,
    cast(case when s.week_on is null then 0 else s.net_sales - s.cost_of_goods_sold end as decimal(18, 4)) as gross_margin,
    cast(k.closing as decimal(18, 6)) as closing,
    cast(k.stock_value as decimal(18, 4)) as stock_value,
    case when k.stock_value >= 0 then round(k.stock_value / nullif(k.left_in_a_day, 0), 1) end as days_of_stock
from sold as s
full join stocked as k using (item_key, location_key, week_on)
