-- depends_on: {{ ref('int_stock__restated') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook=["{{ delete_touched_from(ref('int_stock__restated')) }}", "{{ delete_days_since() }}"]
) }}
-- The ledger: opening + movements = closing, for every item, stock location and day since its first movement.
-- A count resets the balance and the difference is an adjustment; a stated book balance only shows its difference.
-- A series whose stock is stated but never opened is opened such that the first statement comes true.
with daily as (
    select * from {{ ref('int_stock_movements__daily') }} where business_date >= {{ restated_since(ref('int_stock__restated')) }}
),

stated as (
    select * from {{ ref('int_stock_levels__daily') }} where business_date >= {{ restated_since(ref('int_stock__restated')) }}
),

series as (
    {{ going_on(ref('int_stock__series'), ref('int_stock__restated'), 'closing') }}
),

opened as (
    select
        s.item_key,
        s.location_key,
        s.from_date,
        s.is_known,
        coalesce(s.before, case when s.is_opened_by_statement then s.stated_on_hand - coalesce(moved.quantity, 0) end, 0) as balance
    from series as s
    left join (
        select m.item_key, m.location_key,
            sum(m.sales + m.returns + m.receipts + m.transfers + m.adjustments + m.write_offs + m.production) as quantity
        from daily as m
        inner join series as s using (item_key, location_key)
        where s.before is null and s.is_opened_by_statement and m.business_date <= s.stated_date
        group by all
    ) as moved using (item_key, location_key)
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
