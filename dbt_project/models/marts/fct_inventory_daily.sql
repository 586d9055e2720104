-- depends_on: {{ ref('int_stock__restated') }}
{{ config(
    materialized='incremental', incremental_strategy='delete+insert',
    unique_key=['item_key', 'location_key', 'business_date'],
    pre_hook=[
        "{{ delete_touched_from(ref('int_stock__restated')) }}",
        "{{ delete_outside(ref('int_stock__series')) }}",
    ]
) }}
-- The ledger: opening + movements = closing, for every item, stock location and day since its first movement.
-- A count resets the balance and the difference is an adjustment; a stated book balance only shows its difference.
-- A series whose stock is stated but never opened is opened such that the first statement comes true.
with daily as (
    select * from {{ ref('int_stock_movements__daily') }}
),

stated as (
    select * from {{ ref('int_stock_levels__daily') }}
),

series as (
    select * from {{ ref('int_stock__series') }}
),

{% if is_incremental() %}
days_since as (
    -- Untouched series go on from the last build; touched ones from the day that changed.
    select
        s.*,
        greatest(s.first_date, case
            when b.last_date is null then s.first_date
            else least(coalesce(t.from_date, date '9999-12-31'), b.last_date + 1)
        end) as from_date
    from series as s
    left join {{ ref('int_stock__restated') }} as t using (item_key, location_key)
    left join (
        select item_key, location_key, max(business_date) as last_date from {{ this }} group by all
    ) as b using (item_key, location_key)
),
{% else %}
days_since as (
    select *, first_date as from_date from series
),
{% endif %}

opened as (
    select
        d.item_key,
        d.location_key,
        d.from_date,
        d.is_known,
        case
            when d.from_date > d.first_date then before.closing
            when d.is_opened_by_statement then d.stated_on_hand - coalesce(moved.quantity, 0)
            else 0
        end as balance
    from days_since as d
    left join (
        select m.item_key, m.location_key,
            sum(m.sales + m.returns + m.receipts + m.transfers + m.adjustments + m.write_offs + m.production) as quantity
        from daily as m
        inner join series as s using (item_key, location_key)
        where s.is_opened_by_statement and m.business_date <= s.stated_date
        group by all
    ) as moved using (item_key, location_key)
    left join {% if is_incremental() %}{{ this }}{% else %}(
        select null::varchar as item_key, null::varchar as location_key, null::date as business_date, 0 as closing
    ){% endif %} as before
        on before.item_key = d.item_key and before.location_key = d.location_key and before.business_date = d.from_date - 1
),

spine as (
    select o.*, cast(day.day as date) as business_date
    from opened as o
    cross join unnest(generate_series(
        cast(o.from_date as timestamp), cast({{ cycle_date() }} - 1 as timestamp), interval 1 day
    )) as day(day)
),

moved as (
    select
        s.item_key,
        s.location_key,
        s.business_date,
        s.balance,
        s.is_known,
        s.business_date = s.from_date as is_first,
        coalesce(d.opening, 0) as opening_entry,
        coalesce(d.sales, 0) as sales,
        coalesce(d.returns, 0) as returns,
        coalesce(d.receipts, 0) as receipts,
        coalesce(d.transfers, 0) as transfers,
        coalesce(d.adjustments, 0) as adjustments,
        coalesce(d.write_offs, 0) as write_offs,
        coalesce(d.production, 0) as production,
        l.on_hand as stated_on_hand,
        case when l.is_count then l.on_hand end as counted
    from spine as s
    left join daily as d using (item_key, location_key, business_date)
    left join stated as l using (item_key, location_key, business_date)
),

segments as (
    select
        *,
        opening_entry + sales + returns + receipts + transfers + adjustments + write_offs + production as net,
        count(counted) over series_to_date as segment
    from moved
    window series_to_date as (partition by item_key, location_key order by business_date)
),

balanced as (
    select
        *,
        coalesce(first_value(counted) over in_segment, balance)
            + sum(case when counted is null then net else 0 end) over in_segment as closing
    from segments
    window in_segment as (partition by item_key, location_key, segment order by business_date)
),

chained as (
    select
        *,
        coalesce(lag(closing) over (partition by item_key, location_key order by business_date), balance) as carried
    from balanced
)

select
    item_key,
    location_key,
    business_date,
    -- Stock entered as an opening balance belongs to the day's opening, not to its movements.
    cast(carried + opening_entry as decimal(18, 6)) as opening,
    cast(sales as decimal(18, 6)) as sales,
    cast(returns as decimal(18, 6)) as returns,
    cast(receipts as decimal(18, 6)) as receipts,
    cast(transfers as decimal(18, 6)) as transfers,
    cast(adjustments + (closing - carried - net) as decimal(18, 6)) as adjustments,
    cast(write_offs as decimal(18, 6)) as write_offs,
    cast(production as decimal(18, 6)) as production,
    cast(closing as decimal(18, 6)) as closing,
    cast(stated_on_hand as decimal(18, 6)) as stated_on_hand,
    cast(stated_on_hand - closing as decimal(18, 6)) as difference,
    is_known
from chained
