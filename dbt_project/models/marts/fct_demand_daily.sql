-- depends_on: {{ ref('int_demand__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook=[
        "{{ delete_touched_days(ref('int_demand__touched')) }}",
        "{{ delete_outside(ref('int_item_location__active')) }}",
    ]
) }}
-- One row per series and open day: zero where nothing was sold, none where the location was closed.
with series as (
    select * from {{ ref('int_item_location__active') }}
),

{% if is_incremental() %}
touched as (
    select * from {{ ref('int_demand__touched') }}
    union
    -- A late fact may be older than everything known of its series.
    select s.item_key, s.location_key, cast(d.day as date)
    from series as s
    inner join (
        select item_key, location_key, min(business_date) as first_built from {{ this }} group by all
    ) as b using (item_key, location_key)
    cross join unnest(generate_series(
        cast(s.first_date as timestamp), cast(b.first_built - 1 as timestamp), interval 1 day
    )) as d(day)
    where s.first_date < b.first_built
),

spine as (
    select t.* from touched as t
    inner join series as s using (item_key, location_key)
    where t.business_date between s.first_date and s.last_date
        and t.business_date < {{ cycle_date() }}
),
{% else %}
spine as (
    select s.item_key, s.location_key, cast(d.day as date) as business_date
    from series as s
    cross join unnest(generate_series(
        cast(s.first_date as timestamp), least(s.last_date, {{ cycle_date() }} - 1), interval 1 day
    )) as d(day)
),
{% endif %}

sold as (
    select
        l.item_key,
        l.location_key,
        l.business_date,
        sum(l.quantity_base) as quantity,
        sum(l.net_reporting_amount) filter (not l.from_kit) as net_reporting_amount,
        sum(l.line_amount) filter (not l.from_kit) as line_amount,
        sum(l.quantity_base) filter (not l.from_kit) as quantity_outside_kits,
        count(*) as lines
    from {{ ref('int_demand_lines') }} as l
    {% if is_incremental() %}
    semi join touched using (item_key, location_key, business_date)
    {% endif %}
    where l.superseded_load is null and l.business_date < {{ cycle_date() }}
        and {{ within_touched('l.ordered_at', ref('int_demand__touched')) }}
    group by all
),

opening as (
    select place.key as location_key, o.date_on as business_date, bool_or(o.is_open) as is_open
    from {{ ref('stg_landing__opening_days') }} as o
    {{ resolve('location', 'o', 'location_code', 'o.date_on', 'place') }}
    where o.superseded_load is null and place.key is not null
        and {{ within_touched('o.date_on', ref('int_demand__touched')) }}
    group by all
),

stated as (
    select item.key as item_key, place.key as location_key, a.date_on as business_date, min(a.in_stock_share) as in_stock_share
    from {{ ref('stg_landing__availability') }} as a
    {{ resolve('item', 'a', 'item_code', 'a.date_on', 'item') }}
    {{ resolve('location', 'a', 'location_code', 'a.date_on', 'place') }}
    where a.superseded_load is null and {{ within_touched('a.date_on', ref('int_demand__touched')) }}
    group by all
)

select
    spine.item_key,
    spine.location_key,
    spine.business_date,
    coalesce(sold.quantity, 0) as quantity,
    coalesce(sold.lines, 0) as lines,
    -- Stated by the source; else out all day when the ledger is known and nothing was there; half a day when it ran out.
    coalesce(stated.in_stock_share, case
        when not coalesce(inv.is_known, false) then 1
        when inv.opening <= 0 and inv.closing <= 0 and inv.receipts + inv.transfers + inv.returns <= 0 then 0
        when inv.closing <= 0 then 0.5
        else 1
    end) as in_stock_share,
    case
        when stated.in_stock_share is not null then 'stated'
        when coalesce(inv.is_known, false) then 'ledger'
        else 'assumed'
    end as availability_basis,
    -- The ledger knows no hours, but what was sold out at noon was in stock until noon. What was written off was not sold out.
    case
        when stated.in_stock_share is null and inv.is_known and inv.closing <= 0 and inv.opening + inv.sales + inv.returns + inv.receipts
            + greatest(inv.transfers, 0) + greatest(inv.adjustments, 0) + greatest(inv.production, 0) <= 0
        then moved.last_sold_at
    end as ran_dry_at,
    coalesce(opening.is_open, true) as is_open,
    greatest(
        coalesce(p_exact.discount, 0), coalesce(p_item.discount, 0),
        coalesce(p_place.discount, 0), coalesce(p_all.discount, 0)
    ) as discount,
    cast(coalesce(sold.line_amount / nullif(sold.quantity_outside_kits, 0), i.list_price) as decimal(18, 6)) as unit_price,
    cast(coalesce(sold.net_reporting_amount, 0) as decimal(18, 4)) as net_reporting_amount
from spine
left join sold using (item_key, location_key, business_date)
left join opening using (location_key, business_date)
left join stated using (item_key, location_key, business_date)
left join series using (item_key, location_key)
left join {{ ref('fct_inventory_daily') }} as inv
    on inv.item_key = spine.item_key and inv.location_key = series.stock_location_key
    and inv.business_date = spine.business_date
    and {{ within_touched('inv.business_date', ref('int_demand__touched')) }}
left join {{ ref('int_stock_movements__daily') }} as moved
    on moved.item_key = spine.item_key and moved.location_key = series.stock_location_key
    and moved.business_date = spine.business_date
    and {{ within_touched('moved.business_date', ref('int_demand__touched')) }}
left join {{ ref('int_items') }} as i on i.item_key = spine.item_key
left join {{ ref('int_promotion_days') }} as p_exact
    on p_exact.item_key = spine.item_key and p_exact.location_key = spine.location_key and p_exact.business_date = spine.business_date
left join {{ ref('int_promotion_days') }} as p_item
    on p_item.item_key = spine.item_key and p_item.location_key = '' and p_item.business_date = spine.business_date
left join {{ ref('int_promotion_days') }} as p_place
    on p_place.item_key = '' and p_place.location_key = spine.location_key and p_place.business_date = spine.business_date
left join {{ ref('int_promotion_days') }} as p_all
    on p_all.item_key = '' and p_all.location_key = '' and p_all.business_date = spine.business_date
where coalesce(opening.is_open, true) or coalesce(sold.quantity, 0) > 0
