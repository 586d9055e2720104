-- What to count first: stock on the books that has stopped selling as only an empty shelf does.
{% set days = 84 %}
-- How many of all series may be listed by mistake, and what would be too likely even among few of them.
{% set mistaken = 0.1 %}
{% set likely = 0.001 %}
with lately as (
    -- Days on which, by the books, it could be bought all day.
    select item_key, location_key, business_date, quantity
    from {{ ref('int_demand__stocked') }}
    where business_date >= {{ cycle_date() }} - {{ days }} and business_date < {{ cycle_date() }}
        and in_stock_share >= 1 and is_open
),

with_last_sale as (
    select *, max(business_date) filter (quantity > 0) over (partition by item_key, location_key) as last_sold_on
    from lately
),

runs as (
    select
        item_key,
        location_key,
        any_value(last_sold_on) as last_sold_on,
        count(*) filter (business_date > last_sold_on) as days_without_sale,
        count(*) filter (business_date <= last_sold_on) as days_before,
        count(*) filter (business_date <= last_sold_on and quantity > 0) as selling_days,
        coalesce(sum(quantity) filter (business_date <= last_sold_on), 0) as sold_before
    from with_last_sale
    where last_sold_on is not null
    group by item_key, location_key
),

judged as (
    -- Of n days none sells, when s of d did before: the posterior predictive of a Beta(1/2, 1/2) share of selling days.
    -- By days and not by units, so that one large sale promises nothing.
    select
        *,
        count(*) over () as series,
        exp(
            lgamma(days_before - selling_days + 0.5 + days_without_sale) - lgamma(days_before - selling_days + 0.5)
            + lgamma(days_before + 1.0) - lgamma(days_before + 1.0 + days_without_sale)
        ) as probability
    from runs
)

select
    j.item_key,
    j.location_key,
    i.business_date,
    i.closing as on_hand,
    j.last_sold_on,
    j.days_without_sale,
    cast(j.sold_before / j.days_before as decimal(18, 6)) as sold_per_day,
    cast(j.sold_before / j.days_before * j.days_without_sale as decimal(18, 6)) as missed,
    j.probability,
    v.closing_value as value
from judged as j
inner join {{ ref('fct_inventory_daily') }} as i
    on i.item_key = j.item_key and i.location_key = j.location_key and i.business_date = {{ cycle_date() }} - 1
inner join {{ ref('dim_item') }} as item on item.item_key = j.item_key and item.is_active and not item.is_kit
left join {{ ref('fct_inventory_value_daily') }} as v
    on v.item_key = j.item_key and v.location_key = j.location_key and v.business_date = i.business_date
where i.is_known and i.closing > 0 and j.days_without_sale > 0
    and j.probability < least({{ likely }}, {{ mistaken }} / j.series)
